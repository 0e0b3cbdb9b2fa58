"""The right-hand side of the score: against closed forms, autograd and differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.numerics.divergence import exact
from bench.numerics.ode import Solver, integrate, with_score

TIGHT = Solver(rtol=1e-10, atol=1e-10)
RK4 = Solver("rk4", steps=8)

WithDivergence = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def field(weight: Tensor) -> WithDivergence:
    """v(t, x) = tanh(W x) cos t, with its exact divergence."""
    return lambda t, x: exact(lambda y: torch.tanh(y @ weight.T) * torch.cos(t), x)


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(3, 3, dtype=torch.float64)


def test_a_linear_field_in_closed_form(weight: Tensor) -> None:
    """dx/dt = A x gives s(t) = exp(-A' t) s(0): the divergence is constant."""

    def linear(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ weight.T, weight.trace().expand(len(x))

    x, s = torch.randn(2, 7, 3, dtype=torch.float64)
    _, end = integrate(with_score(linear), (x, s), 0.0, 0.7, TIGHT)
    expected = s @ torch.matrix_exp(-0.7 * weight)
    torch.testing.assert_close(end, expected, rtol=1e-7, atol=1e-7)


def test_a_field_that_is_the_same_everywhere_leaves_the_score() -> None:
    def constant(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(x), torch.zeros(len(x), dtype=x.dtype)

    x, s = torch.randn(2, 4, 3, dtype=torch.float64)
    moved, end = integrate(with_score(constant), (x, s), 0.0, 1.0, RK4)
    torch.testing.assert_close(moved, x + 1)
    torch.testing.assert_close(end, s)


def test_the_score_is_the_gradient_of_the_log_density(weight: Tensor) -> None:
    """From a standard normal at t = 0, the density at t = 1 differentiated by autograd."""
    f = field(weight)
    z = torch.randn(5, 3, dtype=torch.float64)
    x, score = integrate(with_score(f), (z, -z), 0.0, 1.0, TIGHT)
    x = x.requires_grad_()
    start = (x, torch.zeros(5, dtype=torch.float64))
    back, gain = integrate(lambda t, state: f(t, state[0]), start, 1.0, 0.0, TIGHT)
    # solved backwards, `gain` is minus the integral of the divergence from 0 to 1
    log_prob = -0.5 * back.square().sum(1) + gain
    (gradient,) = torch.autograd.grad(log_prob.sum(), x)
    torch.testing.assert_close(score, gradient, rtol=1e-6, atol=1e-6)


def test_no_graph_is_kept_unless_asked(weight: Tensor) -> None:
    weight.requires_grad_()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    for kept in (False, True):
        derivative = with_score(field(weight), create_graph=kept)
        parts = derivative(torch.tensor(0.3, dtype=torch.float64), (x, -x))
        assert [part.requires_grad for part in parts] == [kept, kept]


def test_a_loss_on_the_score_trains_the_field(weight: Tensor) -> None:
    """Its gradient, through the solver, against central differences in every weight."""
    z = torch.randn(6, 3, dtype=torch.float64)

    def loss(w: Tensor, *, create_graph: bool) -> Tensor:
        derivative = with_score(field(w), create_graph=create_graph)
        x, s = integrate(derivative, (z, -z), 0.0, 1.0, RK4)
        return (s * x.cos()).sum() + s.square().sum()

    trained = weight.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(trained, create_graph=True), trained)
    step = 1e-5
    for i in range(3):
        for j in range(3):
            change = torch.zeros_like(weight)
            change[i, j] = step
            up, down = (loss(weight + c, create_graph=False) for c in (change, -change))
            assert gradient[i, j].item() == pytest.approx(
                ((up - down) / (2 * step)).item(), rel=1e-6, abs=1e-7
            )
