"""Negative log-likelihood of test rows, with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Likelihood:
    """Mean negative log-likelihood, and how much it depends on which rows were drawn.

    Attributes:
        nll: the mean, in nats per row.
        se: its standard error over rows, or over groups of rows where they come in groups.
        se_rows: its standard error if all rows were independent.
        rows: their number.
        groups: the number of groups; None where the rows are independent.
    """

    nll: float
    se: float
    se_rows: float
    rows: int
    groups: int | None = None


def nll(log_prob: Tensor, groups: Tensor | None = None) -> Likelihood:
    r"""Average the log-densities of test rows, `(n,)`, in nats.

    The standard error is that of a mean of independent rows, sd / sqrt(n), sd with n - 1. Rows of
    one group (the patches of one photograph) are alike, so that n of them tell less than n
    independent ones; with the residuals $r_i$ and G groups it is then the cluster-robust

    $$se^2 = \frac{G}{G - 1} \frac{1}{n^2} \sum_g \Big(\sum_{i \in g} r_i\Big)^2,$$

    which takes groups for independent and nothing else. (Liang & Zeger 1986, Biometrika 73, of a
    mean.) All sums are in float64.

    >>> nll(torch.tensor([-1.0, -3.0]))
    Likelihood(nll=2.0, se=1.0, se_rows=1.0, rows=2, groups=None)

    Args:
        log_prob: `(n,)`.
        groups: the group of each row, `(n,)` integers; None where the rows are independent.

    Raises:
        ValueError: not a vector of at least 2 rows, fewer than 2 groups, or rows whose log-density
            is not finite. Such rows are never left out: the mean of the others would flatter the
            method.
    """
    if log_prob.ndim != 1 or len(log_prob) < 2:
        raise ValueError(
            f"Log-densities must be a vector of at least 2 rows, not {tuple(log_prob.shape)}."
        )
    broken = int((~torch.isfinite(log_prob)).sum())
    if broken:
        raise ValueError(f"The log-density of {broken} of {len(log_prob)} rows is not finite.")
    values = log_prob.double()
    n = len(values)
    mean, se = float(values.mean()), float(values.std()) / math.sqrt(n)
    if groups is None:
        return Likelihood(-mean, se, se, n)
    if groups.shape != log_prob.shape:
        raise ValueError(f"{len(log_prob)} rows have {tuple(groups.shape)} groups.")
    names, index = torch.unique(groups.to(values.device), return_inverse=True)
    count = len(names)
    if count < 2:
        raise ValueError("The rows are all of one group: nothing tells how much groups differ.")
    sums = values.new_zeros(count).index_add_(0, index, values - mean)
    clustered = math.sqrt(count / (count - 1) * float(sums.square().sum())) / n
    return Likelihood(-mean, clustered, se, n, count)
