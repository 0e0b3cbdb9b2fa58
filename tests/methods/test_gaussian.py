"""The Gaussian floor against numpy's covariance and scipy's density."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from bench.api.stream import Stream
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver
from bench_methods.gaussian import Gaussian, GaussianConfig


def fitted(rows: np.ndarray, batch_size: int, total: int, ridge: float = 0.0) -> Gaussian:
    method = Gaussian(rows.shape[1], GaussianConfig(ridge))
    for _ in method.learn(Stream(rows, batch_size, total, seed=0)):
        pass
    return method


def seen(rows: np.ndarray, batch_size: int, total: int) -> np.ndarray:
    batches = [b.numpy() for b in Stream(rows, batch_size, total, seed=0)]
    return np.concatenate(batches).astype(np.float64)


def correlated(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 1).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(batch_size=st.integers(1, 40), total=st.integers(2, 8), d=st.integers(1, 5))
def test_moments_are_those_of_all_rows_seen(batch_size: int, total: int, d: int) -> None:
    """Whatever the mini-batches: mean and maximum-likelihood covariance of their rows laid end to
    end, also where an epoch ends and rows come twice."""
    rows = correlated(50, d)
    method, all_rows = fitted(rows, batch_size, total, ridge=1e-3), seen(rows, batch_size, total)
    assert float(method.rows) == len(all_rows)
    np.testing.assert_allclose(method.mean.numpy(), all_rows.mean(0), rtol=1e-10, atol=1e-12)
    covariance = np.cov(all_rows.T, bias=True).reshape(d, d)
    np.testing.assert_allclose((method.scatter / method.rows).numpy(), covariance, 1e-9, 1e-12)


@pytest.mark.parametrize("d", [1, 2, 7])
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_log_prob_is_scipys(d: int, ridge: float) -> None:
    rows = correlated(300, d)
    method, all_rows = fitted(rows, 32, 20, ridge), seen(rows, 32, 20)
    covariance = np.cov(all_rows.T, bias=True).reshape(d, d)
    covariance = covariance + ridge * np.diag(covariance).mean() * np.eye(d)
    x = correlated(50, d, seed=1).astype(np.float64)
    oracle = multivariate_normal(all_rows.mean(0), covariance).logpdf(x)
    np.testing.assert_allclose(method.log_prob(torch.from_numpy(x)).numpy(), oracle, 1e-8, 1e-8)
    through_flow = Flow(method, Solver(), rows_at_once=7).log_prob(torch.from_numpy(x))
    np.testing.assert_allclose(through_flow.numpy(), oracle, 1e-8, 1e-8)


def test_ill_conditioned_rows_far_from_the_origin() -> None:
    """Standard deviations from 1e-2 to 1e2 about a mean of 1e4: sums of squares would lose all."""
    rng = np.random.default_rng(2)
    scales = np.array([1e-2, 1.0, 1e2])
    rows = (1e4 + rng.normal(size=(2_000, 3)) * scales).astype(np.float32)
    method, all_rows = fitted(rows, 100, 30), seen(rows, 100, 30)
    covariance = np.cov(all_rows.T, bias=True)
    np.testing.assert_allclose((method.scatter / method.rows).numpy(), covariance, 1e-6, 1e-10)
    oracle = multivariate_normal(all_rows.mean(0), covariance).logpdf(all_rows[:100])
    found = Flow(method, Solver()).log_prob(torch.from_numpy(all_rows[:100]))
    np.testing.assert_allclose(found.numpy(), oracle, rtol=1e-5, atol=1e-4)


def test_the_inverse_is_the_densitys() -> None:
    """x = m + L z: log p(x) = log N(z) - log |det L|, and its moments are those fitted."""
    method = fitted(correlated(300, 3), 50, 12)
    z = torch.randn(40, 3).double()
    x = method.inverse(z)
    covariance = (method.scatter / method.rows).numpy()
    log_normal = -0.5 * (z**2).sum(1) - 1.5 * math.log(2 * math.pi)
    oracle = log_normal - 0.5 * np.linalg.slogdet(covariance)[1]
    torch.testing.assert_close(method.log_prob(x), oracle, rtol=1e-8, atol=1e-8)
    factor = (method.inverse(torch.eye(3).double()) - method.mean).numpy()  # rows of L'
    np.testing.assert_allclose(factor.T @ factor, covariance, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(method.inverse(torch.zeros(1, 3).double())[0], method.mean)


def test_the_loss_is_the_nll_of_rows_not_seen_yet() -> None:
    rows = correlated(60, 2)
    method = Gaussian(2, GaussianConfig(0.0))
    batches = [b.numpy().astype(float) for b in Stream(rows, 20, 3, seed=0)]
    losses = [float(log["loss"]) for log in method.learn(Stream(rows, 20, 3, seed=0))]
    for k in (1, 2):
        before = np.concatenate(batches[:k])
        normal = multivariate_normal(before.mean(0), np.cov(before.T, bias=True))
        assert losses[k] == pytest.approx(-normal.logpdf(batches[k]).mean(), rel=1e-8)


def test_a_constant_column_needs_the_ridge_and_has_it() -> None:
    rows = correlated(100, 2)
    rows[:, 1] = 3
    method = fitted(rows, 25, 4, ridge=1e-6)
    x = torch.from_numpy(rows[:5]).double()
    assert torch.isfinite(method.log_prob(x)).all()
    assert method.log_prob(x).mean() > method.log_prob(x + torch.tensor([0.0, 1.0])).mean() + 100


@pytest.mark.parametrize("total", [1, 2])
def test_one_row_at_a_time_from_the_first_validation_on(total: int) -> None:
    """With mini-batches of one row the first has no covariance; asking must not break the run."""
    method = fitted(correlated(10, 2), 1, total, ridge=1e-6)
    log_prob = Flow(method, Solver()).log_prob(torch.randn(3, 2))
    assert log_prob.shape == (3,)


def test_size_counts_means_and_covariances() -> None:
    """Means and the upper triangle of the covariance."""
    for d in (1, 2, 7):
        assert Gaussian(d, GaussianConfig()).size() == d + len(np.triu_indices(d)[0])


@pytest.mark.parametrize("ridge", [-1e-9, -1.0])
def test_a_negative_ridge_is_refused(ridge: float) -> None:
    with pytest.raises(ValueError, match=f"ridge .*{ridge}"):
        GaussianConfig(ridge)
