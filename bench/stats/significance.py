"""Tests of methods: which are the best on one data set, and which pairs differ over many."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pandas import Series
from scipy.special import ndtr, stdtr, stdtrit

#: The level of all tests, and how it is written.
LEVEL = 0.05
PERCENT = f"{100 * LEVEL:g} %"

#: The least p-value given: below it a t-distribution says nothing about any real error.
LEAST_P = 1e-100

#: How two methods were compared, the strongest first: paired over seeds and rows; Welch's t over
#: seeds; paired over rows on the one seed that all have; each one's standard error
#: over rows, as if the rows were not the same; not at all.
Test = Literal["paired", "welch", "paired rows", "rows", "none"]


@dataclass(frozen=True)
class Scores:
    """What one method scored on a data set; a lower NLL is better.

    `nll` holds the test NLL of each seed, in nats; `se` the mean of their standard errors over
    rows. `log_prob` holds each seed's log-densities, `(rows,)`, the same rows in the same order
    for all methods that are compared, or nothing; `groups` their groups, None where rows are
    independent.
    """

    nll: Mapping[int, float]
    se: float = math.nan
    log_prob: Mapping[int, NDArray[np.floating]] = field(default_factory=dict)
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
    mean NLLs, `pairs` the corrected p-values of all pairs (the lower place first).
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

    def second(self, out: Collection[int] = ()) -> tuple[int, ...]:
        """The best of the methods that are neither kept nor `out`, and all that tie with it.

        By the same tests as the best; none where nothing could be tested.
        """
        left = [j for j in range(len(self.means)) if j not in self.kept and j not in out]
        if not left or not self.kept:
            return ()
        best = min(left, key=lambda j: self.means[j])
        return tuple(j for j in left if j == best or self.pairs[min(j, best), max(j, best)] > LEVEL)


def decide(scores: Sequence[Scores]) -> Decision:
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
    adjusted = _corrected(len(scores), compare)
    p = tuple(adjusted.get((min(j, best), max(j, best)), 1.0) for j in range(len(scores)))
    kept = tuple(j for j in range(len(scores)) if p[j] > LEVEL)
    rows = groups = 0
    if test.startswith("paired"):
        rows = len(next(iter(scores[0].log_prob.values())))
        groups = rows if scores[0].groups is None else len(np.unique(scores[0].groups))
    return Decision(best, kept, p, test, seeds, rows, groups, tuple(means), adjusted)


def _strongest(
    scores: Sequence[Scores],
) -> tuple[Test, Callable[[int, int], float] | None, int]:
    """The strongest test that every pair allows, what it makes of a pair, and its seeds."""
    kept = all(one.log_prob for one in scores)
    common = sorted(set.intersection(*({*one.nll} for one in scores)))
    fewest = min(len(one.nll) for one in scores)
    most = max(len(one.nll) for one in scores)
    if kept and common and (fewest == 1 or len(common) == most):
        parts = [_parts([each.log_prob[s] for s in common], each.groups) for each in scores]
        test: Test = "paired" if len(common) > 1 else "paired rows"
        return test, lambda i, j: _p_of(parts[i] - parts[j]), len(common)
    if fewest > 1:
        seeds = [[*one.nll.values()] for one in scores]
        return "welch", lambda i, j: welch(seeds[i], seeds[j]), fewest
    if all(math.isfinite(one.se) for one in scores):
        return "rows", lambda i, j: _unpaired(scores[i], scores[j]), fewest
    return "none", None, 0


def _unpaired(a: Scores, b: Scores) -> float:
    size = abs(a.mean - b.mean)
    se = math.hypot(a.se, b.se)
    return 2 * float(ndtr(-size / se)) if se else float(size == 0)


def welch(a: ArrayLike, b: ArrayLike) -> float:
    """Welch's two-sided p-value of equal means of independent values, `(n,)` and `(m,)`.

    B. L. Welch, The generalization of Student's problem when several different population
    variances are involved, Biometrika 34 (1947).

    Raises:
        ValueError: fewer than two values on a side.
    """
    x, y = np.asarray(a, dtype="float64"), np.asarray(b, dtype="float64")
    if min(len(x), len(y)) < 2:
        raise ValueError("Welch's test needs two values or more on each side")
    v, w = _variance_of_mean(x), _variance_of_mean(y)
    difference = float(x.mean() - y.mean())
    if v + w <= 0:
        return float(difference == 0)
    spread = v**2 / (len(x) - 1) + w**2 / (len(y) - 1)
    df = (v + w) ** 2 / spread if spread > 0 else float(len(x) + len(y) - 2)
    return 2 * float(stdtr(df, -abs(difference) / math.sqrt(v + w)))


def paired(differences: ArrayLike, groups: Any = None) -> float:
    r"""The two-sided p-value of a mean difference of zero over seeds and rows, random and crossed.

    Row i of seed s differs by D_si = μ + a_s + b_i + e_si (two-way crossed random effects; S. R.
    Searle, G. Casella, C. E. McCulloch, Variance Components, 1992, chapter 4). With mean squares
    MS of seeds, rows and residuals,

        Var D.. = (MS_seed + MS_row - MS_res) / (S n) = σ²_a / S + σ²_b / n + σ²_e / (S n).

    Its parts are V_seed = MS_seed / (S n), with S - 1 degrees of freedom, and V_row = (MS_row -
    MS_res) / (S n), not below zero, with n - 1. Where rows come in groups (the patches of one
    photograph), b_i and e_si may be correlated inside a group: the mean squares are then of the
    groups' sums (cluster-robust, with the factor G / (G - 1)), and n - 1 becomes G - 1.

    The critical value is Cochran's, the parts' own t-quantiles weighted by the parts (W. G.
    Cochran, Biometrics 20, 1964, 191-195); p is the level at which it equals the mean over its
    standard error. Satterthwaite's degrees of freedom, estimated from few seeds, reject too often:
    up to 8 % with three seeds and 13 % with two, where 5 are asked for. Cochran's reject 3 to 5 %
    with three seeds or more, 2 to 6 % with two. With one seed, p is of the two trained models; of
    the methods it says nothing.

    Args:
        differences: `(seeds, rows)`, the same rows in the same order for each seed.
        groups: `(rows,)` labels; None where rows are independent.

    Raises:
        ValueError: another shape, values that are not finite, or fewer than two rows or groups.
    """
    return _p_of(_parts(differences, groups))


@dataclass(frozen=True)
class _Parts:
    """What `paired` needs of values `(seeds, rows)`; that of a difference is the difference.

    `by_seed` are the means `(seeds,)`, `by_row` those of rows, less the mean of all, summed over
    the G groups, `(G,)`, `rest` the residuals summed so, `(seeds, G)`; `size` bounds the values.
    """

    rows: int
    by_seed: NDArray[np.float64]
    by_row: NDArray[np.float64]
    rest: NDArray[np.float64]
    size: float

    def __sub__(self, other: _Parts) -> _Parts:
        by_seed, by_row = self.by_seed - other.by_seed, self.by_row - other.by_row
        size = max(self.size, other.size)
        return _Parts(self.rows, by_seed, by_row, self.rest - other.rest, size)


def _parts(values: ArrayLike, groups: Any) -> _Parts:
    d = np.asarray(values, dtype="float64")
    if d.ndim != 2 or d.shape[0] < 1:
        raise ValueError(f"differences are (seeds, rows), not {d.shape}")
    size = float(np.maximum(d.max(initial=0.0), -d.min(initial=0.0)))
    if not math.isfinite(size):
        raise ValueError("differences are not finite")
    seeds, rows = d.shape
    sums = _sums_over(groups, rows)
    by_seed, by_row, mean = d.mean(1, keepdims=True), d.mean(0, keepdims=True), d.mean()
    centred = sums(by_row - mean)
    if centred.shape[1] < 2:
        raise ValueError("a paired test needs two rows or groups at least")
    rest = sums(d - by_row - (by_seed - mean)) if seeds > 1 else np.zeros((1, 1))
    return _Parts(rows, by_seed[:, 0], centred[0], rest, size)


def _p_of(d: _Parts) -> float:
    seeds, groups = len(d.by_seed), len(d.by_row)
    mean = float(d.by_seed.mean())
    scale = groups / (groups - 1) / d.rows**2
    v_seed, v_row = 0.0, scale * float(d.by_row @ d.by_row)
    if seeds > 1:
        v_seed = _variance_of_mean(d.by_seed)
        v_res = scale * float(np.vdot(d.rest, d.rest)) / (seeds * (seeds - 1))
        v_row = max(v_row - v_res, 0.0)
    # Constant data leave rounding errors, not a variance.
    rounding = (np.finfo("float64").eps * d.size) ** 2
    v_seed, v_row = (v if v > rounding else 0.0 for v in (v_seed, v_row))
    if v_seed + v_row <= 0 or mean == 0:
        return float(mean == 0)
    parts = [(v, df) for v, df in ((v_seed, seeds - 1), (v_row, groups - 1)) if v > 0]
    size = abs(mean) / math.sqrt(v_seed + v_row)
    # The mean of the parts' quantiles lies between them, and so does p between theirs.
    least, *most = sorted({max(2 * float(stdtr(df, -size)), LEAST_P) for _, df in parts})
    if not most:
        return least

    def beyond(log_p: float) -> float:
        p = math.exp(log_p) / 2
        critical = sum(v / (v_seed + v_row) * -float(stdtrit(df, p)) for v, df in parts)
        return math.log(max(critical, 1e-300) / size)  # nearly straight

    return math.exp(root(beyond, math.log(least), math.log(*most)))


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """The root of a falling function within these bounds, or the nearest bound, to rounding.

    By the false position; an end that stays twice has its value halved (the Illinois algorithm,
    M. Dowell and P. Jarratt, BIT 11, 1971).
    """
    above, below = function(low), function(high)
    if above <= 0 or below >= 0:
        return low if above <= 0 else high
    side = 0
    for _ in range(200):
        x = (low * below - high * above) / (below - above)
        if not low < x < high:
            x = (low + high) / 2
        value = function(x)
        if value == 0 or high - low <= 1e-14 * max(1.0, abs(x)):
            break
        if value > 0:
            low, above, below = x, value, below / (2 if side > 0 else 1)
        else:
            high, below, above = x, value, above / (2 if side < 0 else 1)
        side = 1 if value > 0 else -1
    return x


def _variance_of_mean(x: NDArray[np.float64]) -> float:
    return float(x.var(ddof=1)) / len(x)


def _sums_over(groups: Any, rows: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """What sums the columns of `(m, rows)` over each group: `(m, G)`."""
    if groups is None:
        return lambda x: x
    labels = np.asarray(groups)
    if labels.shape != (rows,):
        raise ValueError(f"groups are ({rows},), not {labels.shape}")
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    return lambda x: np.add.reduceat(x[:, order], starts, axis=1)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: reject what is at most the level.

    >>> holm([0.04, 0.01])
    [0.04, 0.02]

    S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    adjusted = [0.0] * len(p)
    highest = 0.0
    for done, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - done) * p[i]))
        adjusted[i] = highest
    return adjusted


def signed_rank(differences: ArrayLike) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test, exact, given the ties.

    Differences of zero are left out, as Wilcoxon did (Biometrics Bulletin 1, 1945); an infinite one
    has the largest rank. The distribution of the sum of the positive ranks is found by convolution
    over the 2^N signs. (SciPy's exact distribution is for ranks without ties.)
    """
    d = np.asarray(differences, dtype="float64")
    d = d[d != 0]
    # Twice the mean ranks, so that ties leave integers.
    doubled = np.rint(2 * Series(np.abs(d)).rank().to_numpy()).astype(int)
    chances = np.ones(1)
    for rank in doubled:
        chances = np.convolve(chances, np.r_[0.5, np.zeros(rank - 1), 0.5])
    total = int(doubled.sum())
    off_centre = abs(2 * int(doubled[d > 0].sum()) - total)
    sums = np.arange(total + 1)
    return min(1.0, float(chances[np.abs(2 * sums - total) >= off_centre].sum()))


def least_p(n: int) -> float:
    """The least p-value that the signed-rank test can give on `n` data sets."""
    return min(1.0, 2.0 ** (1 - n))


def needed(pairs: int) -> int:
    """The fewest data sets on which one of so many pairs can be significant after Holm."""
    return 1 + math.ceil(math.log2(pairs / LEVEL))


def wilcoxon(scores: ArrayLike) -> dict[tuple[int, int], float]:
    """The p-value of every pair of methods on `(N, k)` scores by Holm; a lower score is better.

    The signed-rank test takes the size of a difference to mean the same on every data set. A method
    without a result (NaN) is worse than any other there by more than all differences seen; two
    without are equal.
    """
    values = np.asarray(scores, dtype="float64")
    values = np.where(np.isnan(values), np.inf, values)

    def compare(i: int, j: int) -> float:
        differ = values[:, i] != values[:, j]
        return signed_rank(values[differ, i] - values[differ, j])

    return _corrected(values.shape[1], compare)


def _corrected(methods: int, compare: Callable[[int, int], float]) -> dict[tuple[int, int], float]:
    """The p-values of all pairs of methods (the lower place first) after Holm's correction."""
    pairs = list(combinations(range(methods), 2))
    return dict(zip(pairs, holm([compare(i, j) for i, j in pairs]), strict=True))
