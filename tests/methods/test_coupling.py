"""The mini-batch coupling against brute force, a plain assignment, and closed forms."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from bench_methods.coupling import optimal, seconds


def cost(x0: Tensor, x1: Tensor) -> float:
    return float((x0.double() - x1.double()).square().sum())


def brute_force(x0: Tensor, x1: Tensor) -> float:
    """The least cost over all permutations."""
    return min(cost(x0[list(p)], x1) for p in itertools.permutations(range(len(x0))))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4), st.floats(1e-6, 1e6))
def test_the_cost_is_that_of_brute_force(seed: int, n: int, d: int, scale: float) -> None:
    """Over the 720 permutations at n = 6, and over those of fewer rows."""
    generator = torch.Generator().manual_seed(seed)
    x0, x1 = torch.randn(2, n, d, generator=generator)
    x1 = scale * (x1 + 3)
    coupled = optimal(x0, x1)
    assert cost(coupled, x1) == pytest.approx(brute_force(x0, x1), rel=1e-5)
    assert torch.equal(coupled.sort(0).values, x0.sort(0).values), "a permutation of the rows"


@pytest.mark.parametrize("rows", ["equal", "grid", "noise is data"])
def test_ties_give_an_optimal_permutation(rows: str) -> None:
    """Where many permutations are optimal, one of them is found."""
    x0 = torch.randn(6, 2)
    x1 = {
        "equal": torch.ones(6, 2),
        "grid": torch.tensor([[0.0, 0], [0, 0], [0, 1], [1, 0], [1, 1], [1, 1]]),
        "noise is data": x0.flip(0),
    }[rows]
    assert cost(optimal(x0, x1), x1) == pytest.approx(brute_force(x0, x1), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("data", ["two modes", "outlier", "heavy tails", "thin", "tiny"])
@pytest.mark.parametrize("d", [2, 20])
def test_prices_do_not_change_the_cost(data: str, d: int) -> None:
    """The cost is that of SciPy's assignment on plain squared distances."""
    x0, x1 = torch.randn(2, 200, d)
    if data == "two modes":
        x1[:100] += 8
    elif data == "outlier":
        x1[0] += 1e5
    elif data == "heavy tails":
        x1 = x1 / torch.rand(200, 1) ** 2
    elif data == "thin":
        x1[:, 1:] *= 1e-4
    else:
        x1 = x1 * 1e-12
    distances = (x0.double()[:, None] - x1.double()[None]).square().sum(-1).numpy()
    oracle = distances[linear_sum_assignment(distances)].sum()
    assert cost(optimal(x0, x1), x1) == pytest.approx(oracle, rel=1e-9)


def test_on_a_line_the_coupling_is_the_order() -> None:
    x0, x1 = torch.randn(300, 1), torch.randn(300, 1).exp()
    assert torch.equal(optimal(x0, x1)[x1[:, 0].argsort()], x0.sort(0).values)


def test_a_shift_couples_each_row_with_its_image() -> None:
    x0, order = torch.randn(50, 3), torch.randperm(50)
    torch.testing.assert_close(optimal(x0[order], 2 * x0 + 1), x0)


def test_estimated_seconds_agree_with_measured_ones() -> None:
    """What was measured: 23, 178, 1,337 and 8,315 ms."""
    for n, measured in {512: 0.023, 1_024: 0.178, 2_048: 1.337, 4_096: 8.315}.items():
        assert seconds(n) == pytest.approx(measured, rel=0.4)
