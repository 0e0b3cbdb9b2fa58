"""Which methods of one data set are not significantly worse than the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bench.stats.intervals import paired, welch
from bench.stats.pairwise import holm

#: How two methods were compared, the strongest first: paired over seeds and rows; Welch's t over
#: seeds; paired over rows on the one seed that all have; each one's standard error
#: over rows, as if the rows were not the same; not at all.
Test = Literal["paired", "welch", "paired rows", "rows", "none"]


@dataclass(frozen=True)
class Scores:
    """What one method scored on a data set; a lower NLL is better.

    `nll` holds the test NLL of each seed, in nats; `se` the mean of their standard errors over
    rows. `log_prob` holds each seed's log-densities, `(rows,)`, the same rows in the same order
    for all methods that are compared; `groups` their groups, None where rows are independent.
    """

    nll: Mapping[int, float]
    se: float = math.nan
    log_prob: Mapping[int, NDArray[np.floating]] | None = None
    groups: NDArray[np.generic] | None = None

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(list(self.nll.values())))


@dataclass(frozen=True)
class Decision:
    """The methods (their places) not significantly worse than the best, and how that was found.

    `p` holds each method's two-sided p-value against the best, after Holm's correction over all
    pairs; the best one's is 1, and all are NaN where nothing could be tested. `seeds`, `rows` and
    `groups` count what the test rests on; 0 where it does not use them. `means` are the methods'
    mean NLLs, `pairs` the corrected p-values of all pairs (the lower place first), and `alpha` is
    the level.
    """

    best: int
    kept: tuple[int, ...]
    p: tuple[float, ...]
    test: Test
    seeds: int
    rows: int = 0
    groups: int = 0
    means: tuple[float, ...] = ()
    pairs: Mapping[tuple[int, int], float] = field(default_factory=dict)
    alpha: float = 0.05

    def second(self, out: Collection[int] = ()) -> tuple[int, ...]:
        """The best of the methods that are neither kept nor `out`, and all that tie with it.

        By the same tests as the best; none where nothing could be tested.
        """
        left = [j for j in range(len(self.means)) if j not in self.kept and j not in out]
        if not left or not self.kept:
            return ()
        best = min(left, key=lambda j: self.means[j])
        return tuple(
            j for j in left if j == best or self.pairs[min(j, best), max(j, best)] > self.alpha
        )


def decide(scores: Sequence[Scores], alpha: float = 0.05) -> Decision:
    """The method with the lowest mean NLL, and all that are not significantly worse.

    All pairs are compared by one test, the strongest that every pair allows (see `Test`). Holm's
    correction runs over all pairs and not only over those with the best, because the best one is
    chosen by the same data: over k - 1 comparisons alone, of five equal methods one would be
    called worse in more than 5 % of studies.

    Raises:
        ValueError: fewer than two methods, or one without a finite NLL.
    """
    if len(scores) < 2:
        raise ValueError("a comparison needs two methods at least")
    means = [one.mean for one in scores]
    if not np.isfinite(means).all():
        raise ValueError("every method needs a finite NLL")
    best = int(np.argmin(means))
    test, compare, seeds = _strongest(scores)
    if compare is None:
        nothing = (math.nan,) * len(scores)
        return Decision(best, (), nothing, test, 0)
    pairs = list(combinations(range(len(scores)), 2))
    holms = holm([compare(scores[i], scores[j]) for i, j in pairs])
    adjusted = dict(zip(pairs, holms, strict=True))
    p = [1.0] * len(scores)
    for (i, j), value in adjusted.items():
        if best in (i, j):
            p[j if i == best else i] = value
    kept = tuple(j for j in range(len(scores)) if p[j] > alpha)
    rows = groups = 0
    if test.startswith("paired") and scores[0].log_prob is not None:
        rows = len(next(iter(scores[0].log_prob.values())))
        groups = rows if scores[0].groups is None else len(np.unique(scores[0].groups))
    return Decision(
        *(best, kept, tuple(p), test, seeds, rows, groups),
        means=tuple(means),
        pairs=adjusted,
        alpha=alpha,
    )


def _strongest(
    scores: Sequence[Scores],
) -> tuple[Test, Callable[[Scores, Scores], float] | None, int]:
    """The strongest test that every pair allows, what it makes of a pair, and its seeds."""
    kept = all(one.log_prob is not None for one in scores)
    common = sorted(set.intersection(*({*one.nll} for one in scores)))
    fewest = min(len(one.nll) for one in scores)
    most = max(len(one.nll) for one in scores)
    if kept and len(common) == most and most > 1:
        return "paired", lambda a, b: _paired(a, b, common), most
    if fewest > 1:
        return "welch", lambda a, b: welch([*a.nll.values()], [*b.nll.values()]).p, fewest
    if kept and common:
        return "paired rows", lambda a, b: _paired(a, b, common), 1
    if all(math.isfinite(one.se) for one in scores):
        return "rows", _unpaired, fewest
    return "none", None, 0


def _paired(a: Scores, b: Scores, seeds: Sequence[int]) -> float:
    assert a.log_prob is not None
    assert b.log_prob is not None
    x, y = (np.stack([one[s] for s in seeds]).astype("float64") for one in (a.log_prob, b.log_prob))
    return paired(x - y, a.groups).p


def _unpaired(a: Scores, b: Scores) -> float:
    size = abs(a.mean - b.mean)
    se = math.hypot(a.se, b.se)
    if se == 0:
        return float(size == 0)
    return 2 * float(ndtr(-size / se))
