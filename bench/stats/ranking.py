"""A ranking of methods over data sets: its numbers, and the words that say what they can bear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pandas import DataFrame
from scipy.special import ndtr

from bench.stats.significance import LEVEL, PERCENT, least_p, needed, root, wilcoxon

Array = NDArray[np.float64]

#: Up to so many relabellings all are tried; beyond, so many random ones.
ALL, RANDOM = 20_000, 9_999


@dataclass(frozen=True)
class Friedman:
    """Friedman's test that all methods rank alike.

    `chi2` has k - 1 degrees of freedom; `f` is Iman and Davenport's, with k - 1 and (k - 1)(N - 1).
    `p` needs no such approximation for many data sets: it is the share of
    relabellings within data sets whose statistic is at least this large, of all where `exact`, else
    of `RANDOM` random ones. `least_p` is the least that N and k allow.
    """

    chi2: float
    f: float
    p: float
    exact: bool
    least_p: float


def ranks(scores: ArrayLike) -> Array:
    """Ranks from 1 (the lowest score) within each data set, `(N, k)`; ties share their mean rank.

    A method without a result (NaN) on a data set takes the worst rank there.
    """
    values = np.asarray(scores, dtype="float64")
    return DataFrame(np.where(np.isnan(values), np.inf, values)).rank(axis=1).to_numpy("float64")


def friedman(ranked: ArrayLike) -> Friedman:
    """Friedman's test on `(N, k)` ranks.

    With average ranks R_j (Demšar 2006, section 3.2.2)

        χ² = 12 N / (k (k + 1)) · (Σ_j R_j² - k (k + 1)² / 4) / c,
        F = (N - 1) χ² / (N (k - 1) - χ²),

    where c = 1 - Σ (t³ - t) / (N (k³ - k)) over the ties of t methods within a data set (W. J.
    Conover, Practical Nonparametric Statistics, 1999, section 5.8), which is 1 without ties.

    Raises:
        ValueError: fewer than two data sets or three methods.
    """
    r = np.asarray(ranked, dtype="float64")
    n, k = r.shape
    if n < 2 or k < 3:
        raise ValueError("Friedman's test needs two data sets and three methods at least")
    tied = sum(float(t**3 - t) for row in r for t in np.unique(row, return_counts=True)[1])
    correction = 1 - tied / (n * (k**3 - k))
    if correction <= 0:  # every method ties with every other on every data set
        return Friedman(0.0, 0.0, 1.0, True, 1.0)
    spread = float((r.mean(0) ** 2).sum()) - k * (k + 1) ** 2 / 4
    statistic = max(12 * n / (k * (k + 1)) * spread / correction, 0.0)
    rest = n * (k - 1) - statistic
    f = (n - 1) * statistic / rest if rest > 1e-9 else math.inf
    p, exact = _relabelled(r)
    return Friedman(statistic, f, p, exact, least_p=float(math.factorial(k)) ** (1 - n))


def critical_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """Nemenyi's: two average ranks differ that are this far apart or farther (Demšar, 3.2.2).

    CD = q sqrt(k (k + 1) / (6 N)); q is a quantile over sqrt(2) of the range of k normal variables,

        P(range <= r) = k ∫ φ(z) (Φ(z + r) - Φ(z))^(k - 1) dz, z being the least of them.
    """
    z = np.linspace(-10, 10, 801)  # the trapezoidal rule is exact to rounding for such integrands
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])

    def rest(r: float) -> float:
        return 1 - alpha - k * float(density @ (ndtr(z + r) - ndtr(z)) ** (k - 1))

    return root(rest, 0.0, 40.0) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * n))


def cliques(average: Sequence[float], cd: float) -> list[tuple[int, ...]]:
    """The largest sets of two methods or more whose average ranks lie less than `cd` apart."""
    order = sorted(range(len(average)), key=lambda j: average[j])
    found: list[tuple[int, ...]] = []
    end = 0
    for start, first in enumerate(order):
        members = [j for j in order[start:] if average[j] - average[first] < cd]
        if len(members) > 1 and start + len(members) > end:
            found.append(tuple(members))
            end = start + len(members)
    return found


def _relabelled(r: Array) -> tuple[float, bool]:
    """The share of relabellings whose rank sums are spread at least as widely, and if all count."""
    n, k = r.shape
    centre = n * (k + 1) / 2
    seen = float(((r.sum(0) - centre) ** 2).sum()) - 1e-9
    if math.factorial(k) ** (n - 1) <= ALL:
        # The first data set can keep its labels: what counts is how the others lie to it.
        sums = r[:1]
        for row in r[1:]:
            orders = np.array(list(permutations(row)))
            sums = (sums[:, None, :] + orders[None, :, :]).reshape(-1, k)
        return float((((sums - centre) ** 2).sum(1) >= seen).mean()), True
    generator = np.random.default_rng(0)
    sums = np.zeros((RANDOM, k))
    for row in r:
        sums += generator.permuted(np.tile(row, (RANDOM, 1)), axis=1)
    count = int((((sums - centre) ** 2).sum(1) >= seen).sum())
    return (1 + count) / (1 + RANDOM), False


#: The least number of methods and data sets that are ranked.
METHODS, DATASETS = 3, 2

#: From so many data sets on, the normal approximation behind the critical difference is trusted.
_MANY = 10


@dataclass(frozen=True)
class Ranking:
    """Methods on data sets under one budget by a score; a lower one is better.

    `scores` are `(N, k)`; NaN where a method has no result, which takes the worst rank there.
    `remarks` say which rows were chosen and what was left out.
    """

    title: str
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    scores: NDArray[np.float64]
    budget: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """The numbers of methods and data sets, in words."""
        k, n = len(self.methods), len(self.datasets)
        return f"{_count(k, 'method')} on {_count(n, 'data set')}"

    @property
    def enough(self) -> bool:
        """Whether there are enough methods and data sets for ranks."""
        return len(self.methods) >= METHODS and len(self.datasets) >= DATASETS

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
        """Friedman's test that all rank alike.

        Raises:
            ValueError: there are too few methods or data sets.
        """
        return friedman(self.ranks)

    @cached_property
    def cd(self) -> float:
        """Nemenyi's critical difference."""
        return critical_difference(len(self.methods), len(self.datasets))

    @property
    def order(self) -> list[int]:
        """The methods' places in `methods`, the best average rank first."""
        return sorted(range(len(self.methods)), key=lambda j: (self.average[j], self.methods[j]))

    @property
    def cliques(self) -> list[tuple[int, ...]]:
        """Sets of methods not shown to differ; all where Friedman's test does not reject."""
        if self.friedman.p > LEVEL:
            return [tuple(self.order)]
        return cliques(self.average, self.cd)


def explain(ranking: Ranking) -> str:
    """The average ranks, Friedman's test, Nemenyi's, and the remarks, in sentences."""
    names, k, n = ranking.methods, len(ranking.methods), len(ranking.datasets)
    shown = ", ".join(f"{names[j]} {ranking.average[j]:.2f}" for j in ranking.order)
    test = ranking.friedman
    how = "exact" if test.exact else f"{RANDOM:,} relabellings"
    sentences = [
        f"Average ranks by {ranking.title} over {_count(n, 'data set')} "
        f"({', '.join(ranking.datasets)}; 1 is best): {shown}.",
        f"Friedman's test that all rank alike: χ²({k - 1}) = {test.chi2:.2f}, Iman–Davenport "
        f"F({k - 1}, {(k - 1) * (n - 1)}) = {test.f:.2f}, p {_p(test.p)} ({how}).",
        _nemenyi(ranking),
    ]
    missing = np.argwhere(np.isnan(ranking.scores))
    if len(missing):
        cells = ", ".join(f"{names[j]} on {ranking.datasets[i]}" for i, j in missing)
        sentences.append(f"No result, so the worst rank there: {cells}.")
    return " ".join((*sentences, *ranking.remarks))


def explain_pairs(ranking: Ranking) -> str:
    """The outcome of Wilcoxon's signed-rank test of each pair, Holm-corrected, in a sentence."""
    n, pairs, names = len(ranking.datasets), wilcoxon(ranking.scores), ranking.methods
    enough = needed(len(pairs))
    start = f"Wilcoxon's signed-rank test of {_count(len(pairs), 'pair')}, Holm-corrected:"
    if n < enough:
        return (
            f"{start} {_count(n, 'data set')} can't show a difference (least p {least_p(n):.2g} "
            f"before the correction); it takes {enough} for {PERCENT}."
        )
    differing = []
    for pair, p in pairs.items():
        if p <= LEVEL:
            better, worse = sorted(pair, key=lambda j: ranking.average[j])
            differing.append(f"{names[better]} and {names[worse]} (p {_p(p)})")
    if not differing:
        return f"{start} no pair differs at {PERCENT}."
    return f"{start} at {PERCENT} these differ: {'; '.join(differing)}."


def _nemenyi(ranking: Ranking) -> str:
    names, average, cd = ranking.methods, ranking.average, ranking.cd
    n, widest = len(ranking.datasets), len(names) - 1
    least = ranking.friedman.least_p
    if least > LEVEL:
        return f"{ranking.size}: too few for any test; Friedman's least p-value is {least:.2g}."
    if cd > widest:
        return (
            f"{ranking.size}: too few for Nemenyi's test, whose critical difference at {PERCENT} "
            f"is {cd:.2f}; ranks differ by at most {widest}."
        )
    if ranking.friedman.p > LEVEL:
        return (
            f"No difference shown at {PERCENT}, so no pair is tested (Nemenyi's critical "
            f"difference would be {cd:.2f})."
        )
    apart = []
    for i in ranking.order:
        behind = [names[j] for j in ranking.order if average[j] - average[i] >= cd]
        if behind:
            listed = " and ".join(filter(None, (", ".join(behind[:-1]), behind[-1])))
            apart.append(f"{names[i]} from {listed}")
    rough = f" (a rough approximation with {n} data sets)" if n < _MANY else ""
    found = f"significant: {'; '.join(apart)}" if apart else "no two methods are that far apart"
    return f"Nemenyi's critical difference at {PERCENT} is {cd:.2f}{rough}; {found}."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def pareto_front(cost: NDArray[np.float64], loss: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the points `(n,)`, `(n,)` are on the front; less is better in both.

    A point is on it where no other is at most as large in both and smaller in one. Points with a
    NaN are not.
    """
    known = np.isfinite(cost) & np.isfinite(loss)
    no_worse = (cost[:, None] <= cost) & (loss[:, None] <= loss)
    better = (cost[:, None] < cost) | (loss[:, None] < loss)
    beaten = (no_worse & better & known[:, None]).any(axis=0)
    front: NDArray[np.bool_] = known & ~beaten
    return front
