"""Pairs of methods over data sets: Wilcoxon's signed-rank test, corrected by Holm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from pandas import Series


@dataclass(frozen=True)
class Pair:
    """Two methods (their columns), the signed-rank test's p-value, and the same after Holm."""

    first: int
    second: int
    p: float
    holm: float


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


def needed(pairs: int, level: float) -> int:
    """The fewest data sets on which one of so many pairs can be significant after Holm."""
    n = 1
    while pairs * least_p(n) > level:
        n += 1
    return n


def wilcoxon(scores: ArrayLike) -> list[Pair]:
    """The test of every pair of methods on `(N, k)` scores; a lower one is better.

    It takes the size of a difference to mean the same on every data set. A method without a result
    (NaN) is worse than any other there by more than all differences seen; two without are equal.
    """
    values = np.asarray(scores, dtype="float64")
    values = np.where(np.isnan(values), np.inf, values)
    pairs = list(combinations(range(values.shape[1]), 2))
    found = []
    for i, j in pairs:
        differ = values[:, i] != values[:, j]
        found.append(signed_rank(values[differ, i] - values[differ, j]))
    return [
        Pair(i, j, p, adjusted)
        for (i, j), p, adjusted in zip(pairs, found, holm(found), strict=True)
    ]
