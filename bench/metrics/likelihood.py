"""Negative log-likelihood of test rows, with its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Likelihood:
    """Mean negative log-likelihood in nats per row, its standard error over rows, their number."""

    nll: float
    se: float
    rows: int


def nll(log_prob: Tensor) -> Likelihood:
    """Average the log-densities of test rows, `(n,)`, in nats.

    The standard error is that of a mean of independent rows, sd / sqrt(n), sd with n - 1. Both are
    accumulated in float64.

    Raises:
        ValueError: not a vector of at least 2 rows, or rows whose log-density is not finite. Such
            rows are never left out: the mean of the others would flatter the method.
    """
    if log_prob.ndim != 1 or len(log_prob) < 2:
        raise ValueError(
            f"Log-densities must be a vector of at least 2 rows, not {tuple(log_prob.shape)}."
        )
    broken = int((~torch.isfinite(log_prob)).sum())
    if broken:
        raise ValueError(f"The log-density of {broken} of {len(log_prob)} rows is not finite.")
    values = log_prob.double()
    rows = len(values)
    return Likelihood(-float(values.mean()), float(values.std()) / math.sqrt(rows), rows)
