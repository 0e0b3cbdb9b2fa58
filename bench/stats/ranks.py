"""Ranks of methods over data sets: Friedman's test and Nemenyi's critical difference.

J. Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006), 1-30.
Everywhere N data sets are compared by k methods, and a lower score is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pandas import DataFrame
from scipy.special import chdtrc, fdtrc, ndtr

Array = NDArray[np.float64]

#: Up to so many relabellings all are tried; beyond, so many random ones.
ALL, RANDOM = 20_000, 9_999


@dataclass(frozen=True)
class Friedman:
    """Friedman's test that all methods rank alike.

    `chi2` has k - 1 degrees of freedom; `f` is Iman and Davenport's, with k - 1 and (k - 1)(N - 1).
    Both distributions are approximations for many data sets; `p` needs none: it is the share of
    relabellings within data sets whose statistic is at least this large, of all where `exact`, else
    of `RANDOM` random ones. `least_p` is the least that N and k allow.
    """

    chi2: float
    p_chi2: float
    f: float
    p_f: float
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
        return Friedman(0.0, 1.0, 0.0, 1.0, 1.0, True, 1.0)
    spread = float((r.mean(0) ** 2).sum()) - k * (k + 1) ** 2 / 4
    statistic = max(12 * n / (k * (k + 1)) * spread / correction, 0.0)
    rest = n * (k - 1) - statistic
    f = (n - 1) * statistic / rest if rest > 1e-9 else math.inf
    p, exact = _relabelled(r)
    return Friedman(
        chi2=statistic,
        p_chi2=float(chdtrc(k - 1, statistic)),
        f=f,
        p_f=float(fdtrc(k - 1, (k - 1) * (n - 1), f)),
        p=p,
        exact=exact,
        least_p=float(math.factorial(k)) ** (1 - n),
    )


def critical_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """Nemenyi's: two average ranks differ that are this far apart or farther (Demšar, 3.2.2).

    CD = q sqrt(k (k + 1) / (6 N)); q is the range's quantile over sqrt(2).
    """
    return range_quantile(alpha, k) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * n))


def range_quantile(alpha: float, k: int) -> float:
    """What the range of `k` standard normal draws exceeds with probability `alpha`.

    It is at most q where all lie within q below the largest, z: with probability

        k ∫ φ(z) (Φ(z) - Φ(z - q))^(k - 1) dz,

    by the trapezoidal rule, which converges geometrically here. (SciPy's studentized range with
    infinitely many degrees of freedom is the same, and takes half a second to import.)
    """
    z, step = np.linspace(-9.0, 9.0, 1_001, retstep=True)
    weights = k * step * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    low, high = 0.0, 18.0
    while high - low > 1e-12 * high:
        q = (low + high) / 2
        within = float(weights @ (ndtr(z) - ndtr(z - q)) ** (k - 1))
        low, high = (q, high) if within < 1 - alpha else (low, q)
    return high


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
