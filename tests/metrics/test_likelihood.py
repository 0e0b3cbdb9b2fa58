"""The mean log-likelihood against numpy and a known entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.metrics.flow_measures import nll


def test_mean_and_standard_error_are_numpys() -> None:
    log_prob = torch.randn(1001, generator=torch.Generator().manual_seed(0)) * 3 - 20
    result = nll(log_prob)
    values = log_prob.double().numpy()
    assert result["nll"] == pytest.approx(-values.mean(), rel=1e-12)
    assert result["nll_se"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(1001), rel=1e-12)
    assert result["nll_rows"] == 1001


def test_a_gaussian_scores_its_entropy() -> None:
    d, n = 4, 40_000
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    result = nll(-0.5 * (x**2).sum(1) - d / 2 * math.log(2 * math.pi))
    assert result["nll"] == pytest.approx(
        d / 2 * math.log(2 * math.pi * math.e), abs=4 * result["nll_se"]
    )
    assert result["nll_se"] == pytest.approx(math.sqrt(d / 2 / n), rel=0.05)


def test_float32_sums_lose_nothing() -> None:
    # a float32 running sum of these would stop at 2^24
    log_prob = torch.full((2**16,), -12345.678)
    assert nll(log_prob)["nll"] == float(torch.tensor(12345.678))
    assert nll(log_prob)["nll_se"] == 0.0


def test_rows_that_are_not_finite_are_counted_and_refused() -> None:
    with pytest.raises(ValueError, match="2 of 4 rows"):
        nll(torch.tensor([0.0, math.nan, -math.inf, 1.0]))


def test_the_clustered_standard_error_by_hand() -> None:
    """Residuals -1, 1, 3, -3 in groups of 2, 1 and 1: sums 0, 3, -3; 3/2 * 18 / 16."""
    result = nll(torch.tensor([4.0, 6.0, 8.0, 2.0]), torch.tensor([7, 7, 2, 9]))
    assert result["nll"] == -5.0
    assert result["nll_se"] == pytest.approx(math.sqrt(3 / 2 * 18 / 16))
    assert result["nll_se_rows"] == pytest.approx(math.sqrt(20 / 3 / 4))
    assert (result["nll_rows"], result["nll_groups"]) == (4, 3)


def test_groups_of_one_row_are_independent_rows() -> None:
    log_prob = torch.randn(200, generator=torch.Generator().manual_seed(3))
    result = nll(log_prob, torch.randperm(200))
    assert result["nll_se"] == pytest.approx(nll(log_prob)["nll_se"], rel=1e-12)
    assert result["nll_se"] == pytest.approx(result["nll_se_rows"], rel=1e-12)


def test_the_clustered_standard_error_is_that_of_repeated_draws() -> None:
    """400 samples of 50 groups of 20 rows: a shared part of sd 2, an own one of sd 1."""
    generator = torch.Generator().manual_seed(4)
    groups = torch.arange(50).repeat_interleave(20)
    results = []
    for _ in range(400):
        shared = 2 * torch.randn(50, generator=generator).repeat_interleave(20)
        results.append(nll(shared + torch.randn(1000, generator=generator), groups))
    seen = np.std([r["nll"] for r in results], ddof=1)
    assert np.mean([r["nll_se"] for r in results]) == pytest.approx(seen, rel=0.1)
    assert seen == pytest.approx(math.sqrt(4 / 50 + 1 / 1000), rel=0.1)
    assert np.mean([r["nll_se_rows"] for r in results]) < 0.35 * seen


def test_groups_that_tell_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="all of one group"):
        nll(torch.arange(3.0), torch.zeros(3))
    with pytest.raises(ValueError, match="3 rows have"):
        nll(torch.arange(3.0), torch.zeros(2))


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 1), ()])
def test_what_is_no_vector_of_rows_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 2 rows"):
        nll(torch.zeros(shape))
