"""Intervals: of a mean over seeds, of a difference of two methods, paired or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

#: The least p-value given: below it a t-distribution says nothing about any real error.
LEAST_P = 1e-100

#: Mean, standard error, low, high, p.
Numbers = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Interval:
    """A mean with its standard error and confidence interval, all in the values' unit.

    `p` is two-sided, of the hypothesis that the mean is zero.
    """

    mean: float
    se: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Paired(Interval):
    """A paired difference over `seeds` seeds and `rows` rows in `groups` independent groups.

    `se_seeds` and `se_rows` are the parts of the standard error: se² = se_seeds² + se_rows². With
    one seed, the interval holds for the two trained models; of the methods it says nothing.
    """

    seeds: int
    rows: int
    groups: int
    se_seeds: float
    se_rows: float


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t-interval of the mean of independent values, `(n,)`.

    >>> found = mean_interval([2.0, 4.0, 6.0])
    >>> found.mean, round(found.low, 3), round(found.high, 3)
    (4.0, -0.968, 8.968)

    Raises:
        ValueError: fewer than two values.
    """
    x = np.asarray(values, dtype="float64")
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"an interval needs two values or more, not {x.shape}")
    return Interval(*_student(float(x.mean()), _variance_of_mean(x), len(x) - 1, level))


def welch(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """Welch's interval of mean(a) - mean(b) of independent values, `(n,)` and `(m,)`.

    B. L. Welch, The generalization of Student's problem when several different population
    variances are involved, Biometrika 34 (1947).

    Raises:
        ValueError: fewer than two values on a side.
    """
    x, y = np.asarray(a, dtype="float64"), np.asarray(b, dtype="float64")
    if min(len(x), len(y)) < 2:
        raise ValueError("an interval needs two values or more on each side")
    v, w = _variance_of_mean(x), _variance_of_mean(y)
    spread = v**2 / (len(x) - 1) + w**2 / (len(y) - 1)
    df = (v + w) ** 2 / spread if spread > 0 else float(len(x) + len(y) - 2)
    return Interval(*_student(float(x.mean() - y.mean()), v + w, df, level))


def paired(differences: ArrayLike, groups: Any = None, level: float = 0.95) -> Paired:
    r"""The interval of a mean difference over seeds and rows, both drawn at random and crossed.

    Row i of seed s differs by D_si = μ + a_s + b_i + e_si (two-way crossed random effects; S. R.
    Searle, G. Casella, C. E. McCulloch, Variance Components, 1992, chapter 4). With mean squares
    MS of seeds, rows and residuals,

        Var D.. = (MS_seed + MS_row - MS_res) / (S n) = σ²_a / S + σ²_b / n + σ²_e / (S n).

    Its parts are V_seed = MS_seed / (S n), with S - 1 degrees of freedom, and V_row = (MS_row -
    MS_res) / (S n), not below zero, with n - 1. Where rows come in groups (the patches of one
    photograph), b_i and e_si may be correlated inside a group: the mean squares are then of the
    groups' sums (cluster-robust, with the factor G / (G - 1)), and n - 1 becomes G - 1.

    The critical value is Cochran's, the parts' own t-quantiles weighted by the parts (W. G.
    Cochran, Biometrics 20, 1964, 191-195). Satterthwaite's degrees of freedom, estimated from few
    seeds, cover too little: down to 92 % with three seeds and 87 % with two, where 95 are asked
    for. Cochran's covers 95 to 97 % with three seeds or more, 94 to 98 % with two.

    Args:
        differences: `(seeds, rows)`, the same rows in the same order for each seed.
        groups: `(rows,)` labels; None where rows are independent.
        level: the confidence level.

    Raises:
        ValueError: another shape, values that are not finite, or fewer than two rows or groups.
    """
    d = np.asarray(differences, dtype="float64")
    if d.ndim != 2 or d.shape[0] < 1:
        raise ValueError(f"differences are (seeds, rows), not {d.shape}")
    if not np.isfinite(d).all():
        raise ValueError("differences are not finite")
    seeds, rows = d.shape
    sums = _sums_over(groups, rows)
    by_seed, by_row, mean = d.mean(1, keepdims=True), d.mean(0, keepdims=True), float(d.mean())
    row_sums = sums(by_row - mean)
    n_groups = row_sums.shape[1]
    if n_groups < 2:
        raise ValueError("an interval needs two rows or groups at least")
    scale = n_groups / (n_groups - 1) / rows**2
    v_seed, v_row = 0.0, scale * float((row_sums**2).sum())
    if seeds > 1:
        v_seed = _variance_of_mean(by_seed[:, 0])
        residuals = sums(d - by_seed - by_row + mean)
        v_res = scale * float((residuals**2).sum()) / (seeds * (seeds - 1))
        v_row = max(v_row - v_res, 0.0)
    # Constant data leave rounding errors, not a variance.
    rounding = (np.finfo("float64").eps * float(np.abs(d).max())) ** 2
    v_seed, v_row = (v if v > rounding else 0.0 for v in (v_seed, v_row))
    parts = [(v, df) for v, df in ((v_seed, seeds - 1), (v_row, n_groups - 1)) if v > 0]

    def cochran(alpha: float) -> float:
        return sum(v / (v_seed + v_row) * -float(stdtrit(df, alpha / 2)) for v, df in parts)

    numbers = _interval(mean, v_seed + v_row, cochran, level)
    return Paired(*numbers, seeds, rows, n_groups, math.sqrt(v_seed), math.sqrt(v_row))


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


def _student(mean: float, variance: float, df: float, level: float) -> Numbers:
    if variance <= 0:
        return _interval(mean, 0.0, lambda alpha: 0.0, level)
    half = -float(stdtrit(df, (1 - level) / 2)) * math.sqrt(variance)
    p = 2 * float(stdtr(df, -abs(mean) / math.sqrt(variance)))
    return mean, math.sqrt(variance), mean - half, mean + half, p


def _interval(
    mean: float, variance: float, critical: Callable[[float], float], level: float
) -> Numbers:
    """The interval; p is the level at which the interval just reaches zero."""
    if variance <= 0:
        return mean, 0.0, mean, mean, float(mean == 0)
    se = math.sqrt(variance)
    half = critical(1 - level) * se
    size = abs(mean) / se
    if size == 0:
        p = 1.0
    elif critical(LEAST_P) <= size:
        p = LEAST_P
    else:
        from scipy.optimize import brentq  # slow to import, and few ask

        logarithm = brentq(lambda x: critical(math.exp(x)) - size, math.log(LEAST_P), 0.0)
        p = math.exp(logarithm)
    return mean, se, mean - half, mean + half, p
