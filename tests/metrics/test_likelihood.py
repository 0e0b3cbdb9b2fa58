"""The mean log-likelihood against numpy and a known entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.metrics.likelihood import nll


def test_mean_and_standard_error_are_numpys() -> None:
    log_prob = torch.randn(1001, generator=torch.Generator().manual_seed(0)) * 3 - 20
    result = nll(log_prob)
    values = log_prob.double().numpy()
    assert result.nll == pytest.approx(-values.mean(), rel=1e-12)
    assert result.se == pytest.approx(np.std(values, ddof=1) / math.sqrt(1001), rel=1e-12)
    assert result.rows == 1001


def test_a_gaussian_scores_its_entropy() -> None:
    d, n = 4, 40_000
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result = nll(-0.5 * (x**2).sum(1) - d / 2 * math.log(2 * math.pi))
    assert result.nll == pytest.approx(d / 2 * math.log(2 * math.pi * math.e), abs=4 * result.se)
    assert result.se == pytest.approx(math.sqrt(d / 2 / n), rel=0.05)


def test_float32_sums_lose_nothing() -> None:
    # a float32 running sum of these would stop at 2^24
    log_prob = torch.full((2**16,), -12345.678)
    assert nll(log_prob).nll == float(torch.tensor(12345.678))
    assert nll(log_prob).se == 0.0


def test_rows_that_are_not_finite_are_counted_and_refused() -> None:
    with pytest.raises(ValueError, match="2 of 4 rows"):
        nll(torch.tensor([0.0, math.nan, -math.inf, 1.0]))


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 1), ()])
def test_what_is_no_vector_of_rows_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 2 rows"):
        nll(torch.zeros(shape))
