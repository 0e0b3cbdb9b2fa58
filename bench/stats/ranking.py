"""A ranking of methods over data sets: its numbers, and the words that say what they can bear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.stats.pairwise import Pair, least_p, needed, wilcoxon
from bench.stats.ranks import RANDOM, Friedman, cliques, critical_difference, friedman, ranks

#: The least number of methods and data sets that are ranked.
METHODS, DATASETS = 3, 2

#: From so many data sets on, the normal approximation behind the critical difference is trusted.
_MANY = 10


@dataclass(frozen=True)
class Ranking:
    """Methods on data sets by a score of which a lower one is better.

    `scores` are `(N, k)`; NaN where a method has no result, which takes the worst rank there.

    Raises:
        ValueError: fewer than three methods or two data sets, or scores of another shape.
    """

    title: str
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    scores: NDArray[np.float64]
    alpha: float = 0.05

    def __post_init__(self) -> None:
        n, k = len(self.datasets), len(self.methods)
        if n < DATASETS or k < METHODS:
            raise ValueError(too_few(k, n))
        if self.scores.shape != (n, k):
            raise ValueError(f"scores are {(n, k)}, not {self.scores.shape}")

    @cached_property
    def ranks(self) -> NDArray[np.float64]:
        """`(N, k)`, from 1, the best."""
        return ranks(self.scores)

    @cached_property
    def average(self) -> tuple[float, ...]:
        """Each method's mean rank."""
        return tuple(float(r) for r in self.ranks.mean(0))

    @cached_property
    def friedman(self) -> Friedman:
        """Friedman's test that all rank alike."""
        return friedman(self.ranks)

    @cached_property
    def cd(self) -> float:
        """Nemenyi's critical difference at `alpha`."""
        return critical_difference(len(self.methods), len(self.datasets), self.alpha)

    @cached_property
    def wilcoxon(self) -> list[Pair]:
        """The signed-rank test of each pair, with Holm's correction."""
        return wilcoxon(self.scores)

    @property
    def order(self) -> list[int]:
        """The methods' places in `methods`, the best average rank first."""
        return sorted(range(len(self.methods)), key=lambda j: (self.average[j], self.methods[j]))

    @property
    def cliques(self) -> list[tuple[int, ...]]:
        """Sets of methods that are not told apart; all of them where Friedman's test is silent."""
        if self.friedman.p > self.alpha:
            return [tuple(self.order)]
        return cliques(self.average, self.cd)

    @property
    def missing(self) -> list[tuple[str, str]]:
        """Method and data set of each cell without a result."""
        places = np.argwhere(np.isnan(self.scores))
        return [(self.methods[j], self.datasets[i]) for i, j in places]


def too_few(k: int, n: int) -> str:
    """What is missing for a ranking of `k` methods on `n` data sets."""
    return (
        f"{_count(k, 'method')} on {_count(n, 'data set')}: average ranks need {METHODS} methods "
        f"and {DATASETS} data sets at least."
    )


def explain(ranking: Ranking) -> Iterator[str]:
    """Sentences: the average ranks, Friedman's test, and what Nemenyi's can tell."""
    names, k, n = ranking.methods, len(ranking.methods), len(ranking.datasets)
    level = _percent(ranking.alpha)
    shown = ", ".join(f"{names[j]} {ranking.average[j]:.2f}" for j in ranking.order)
    yield (
        f"Average ranks by {ranking.title} over {_count(n, 'data set')} "
        f"({', '.join(ranking.datasets)}; 1 is best): {shown}."
    )
    test = ranking.friedman
    how = "exact" if test.exact else f"{RANDOM:,} relabellings"
    yield (
        f"Friedman's test that all rank alike: χ²({k - 1}) = {test.chi2:.2f}, Iman–Davenport "
        f"F({k - 1}, {(k - 1) * (n - 1)}) = {test.f:.2f}, p {_p(test.p)} ({how})."
    )
    yield from _nemenyi(ranking, f"{_count(k, 'method')} on {_count(n, 'data set')}", level)
    yield from _without(ranking)


def explain_pairs(ranking: Ranking) -> Iterator[str]:
    """Sentences on Wilcoxon's signed-rank test of each pair, Holm-corrected."""
    n, pairs, names = len(ranking.datasets), ranking.wilcoxon, ranking.methods
    least = least_p(n)
    enough = needed(len(pairs), ranking.alpha)
    start = f"Wilcoxon's signed-rank test of {_count(len(pairs), 'pair')}, Holm-corrected"
    if n < enough:
        alone = "" if least > ranking.alpha else ", enough for one pair and not for so many"
        yield (
            f"{start}: can't tell. On {_count(n, 'data set')} its least p-value is "
            f"{least:.2g}{alone}; it takes {enough} data sets to reach "
            f"{_percent(ranking.alpha)} after the correction."
        )
        return
    told = [pair for pair in pairs if pair.holm <= ranking.alpha]
    if not told:
        yield f"{start}: no pair differs at {_percent(ranking.alpha)}."
        return
    texts = []
    for pair in told:
        better, worse = sorted((pair.first, pair.second), key=lambda j: ranking.average[j])
        texts.append(f"{names[better]} and {names[worse]} (p {_p(pair.holm)})")
    yield f"{start}: at {_percent(ranking.alpha)} these differ: {'; '.join(texts)}."


def _nemenyi(ranking: Ranking, size: str, level: str) -> Iterator[str]:
    k, n, cd = len(ranking.methods), len(ranking.datasets), ranking.cd
    if ranking.friedman.least_p > ranking.alpha:
        yield (
            f"{size}: too few for any test; the least p-value that Friedman's can give is "
            f"{ranking.friedman.least_p:.2g}."
        )
        return
    if cd > k - 1:
        yield (
            f"{size}: too few for Nemenyi's test, whose critical difference at {level} is "
            f"{cd:.2f} where ranks can differ by {k - 1} at most; no two methods can be told apart."
        )
        return
    if ranking.friedman.p > ranking.alpha:
        yield (
            f"At {level} they are not shown to differ, so no pair is tested (Nemenyi's critical "
            f"difference would be {cd:.2f})."
        )
        return
    told = [
        f"{ranking.methods[i]} from {_and([ranking.methods[j] for j in behind])}"
        for i in ranking.order
        if (behind := [j for j in ranking.order if ranking.average[j] - ranking.average[i] >= cd])
    ]
    rough = f"; with {n} data sets it is a rough approximation" if n < _MANY else ""
    yield (
        f"Nemenyi's critical difference at {level} is {cd:.2f}{rough}. "
        + (f"It tells {'; '.join(told)}." if told else "No two methods are that far apart.")
    )


def _without(ranking: Ranking) -> Iterator[str]:
    if ranking.missing:
        cells = ", ".join(f"{method} on {dataset}" for method, dataset in ranking.missing)
        yield f"Without a result, and so with the worst rank there: {cells}."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _percent(level: float) -> str:
    return f"{100 * level:g} %"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
