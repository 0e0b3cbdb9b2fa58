"""A block of JKO-iFlow: its objective, its gradient, its steps, its halves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver
from bench_methods.jko import JKO, JKOConfig
from bench_methods.jko_block import Block


def randomised(block: Block) -> Block:
    """The block in float64, its last layer no longer zero."""
    torch.manual_seed(1)
    block.double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(0.7 * torch.randn_like(parameter))
    return block


def chain(*blocks: Block) -> JKO:
    """A method of these blocks."""
    method = JKO(2, JKOConfig(width=2))
    method.blocks = nn.ModuleList(blocks)
    return method


def slow_objective(block: Block, x: Tensor, steps: int) -> float:
    """Kutta's 3/8 rule written out, the trace by autograd, one row at a time."""

    def f(t: float, y: Tensor) -> tuple[Tensor, float]:
        y = y.detach().requires_grad_()
        v = block.field(torch.tensor(t).double(), y[None])[0]
        trace = 0.0
        for i in range(len(y)):
            trace += float(torch.autograd.grad(v[i], y, retain_graph=True)[0][i])
        return v.detach(), trace

    total = 0.0
    start, end = float(block.start), float(block.end)
    dt = (end - start) / steps
    for x0 in x:
        y, gain = x0.clone(), 0.0
        for k in range(steps):
            t = start + k * dt
            v1, d1 = f(t, y)
            v2, d2 = f(t + dt / 3, y + dt * v1 / 3)
            v3, d3 = f(t + 2 * dt / 3, y + dt * (v2 - v1 / 3))
            v4, d4 = f(t + dt, y + dt * (v1 - v2 + v3))
            y = y + dt * (v1 + 3 * v2 + 3 * v3 + v4) / 8
            gain += dt * (d1 + 3 * d2 + 3 * d3 + d4) / 8
        penalty = float(((y - x0) ** 2).sum()) / (2 * float(block.h))
        total += float((y**2).sum()) / 2 - gain + penalty
    return total / len(x)


@pytest.mark.parametrize("h", [0.3, math.inf])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_objective_is_the_papers(h: float, steps: int) -> None:
    block = randomised(Block(3, JKOConfig(width=6, steps=steps), h))
    block.start.fill_(0.25)
    block.end.fill_(0.75)
    x = torch.randn(4, 3).double()
    own = float(block.objective(x).mean().detach())
    assert own == pytest.approx(slow_objective(block, x, steps), rel=1e-7)


@pytest.mark.parametrize("estimator", ["finite-difference", "gaussian"])
def test_an_estimated_objective_is_unbiased(estimator: str) -> None:
    """Averaged over probes; the finite difference is taken over a small sigma."""
    config = {"width": 6, "steps": 2, "sigma0": 1e-4}
    exact = randomised(Block(3, JKOConfig(**config), 0.5))
    other = randomised(Block(3, JKOConfig(divergence=estimator, **config), 0.5))
    x = torch.randn(1, 3).double().repeat(20_000, 1)
    estimates = other.objective(x).detach()
    se = float(estimates.std()) / math.sqrt(len(x))
    assert se > 1e-3
    assert abs(float(estimates.mean() - exact.objective(x[:1]).detach()[0])) < 4 * se


def test_a_probe_is_kept_within_a_sub_interval_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = []

    def draw(x: Tensor) -> Tensor:
        drawn.append(torch.randn_like(x))
        return drawn[-1]

    monkeypatch.setattr("bench_methods.jko_block.gaussian_probe", draw)
    block = Block(2, JKOConfig(width=4, steps=5, divergence="finite-difference"), 1.0)
    block.objective(torch.randn(3, 2))
    assert len(drawn) == 5


def test_the_adjoint_gives_the_gradients_of_backpropagation() -> None:
    """As the steps get many; with few, the adjoint has an error of its own."""
    x, gradients = torch.randn(5, 2).double(), []
    for gradient in ("adjoint", "backprop"):
        config = JKOConfig(width=6, steps=40, gradient=gradient)
        block = randomised(Block(2, config, 0.5))
        block.objective(x).mean().backward()
        gradients.append([p.grad for p in block.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_steps_grow_until_they_are_enough() -> None:
    """A stiff field is off by nats with one step; afterwards twice as many change little."""
    config = JKOConfig(width=16, steps=1, step_error=1e-3)
    block = randomised(Block(2, config, 1.0))
    x = torch.randn(500, 2).double()
    method = chain(block)

    def off() -> float:
        own = Flow(method, None).log_prob(x).mean()
        true = Flow(method, Solver("dopri5", 1e-8, 1e-8)).log_prob(x).mean()
        return abs(float(own - true))

    assert off() > 0.1
    block.refine_steps(x)
    assert int(block.steps) > 1
    assert off() < 3e-3


def test_no_more_steps_than_allowed() -> None:
    config = JKOConfig(width=16, steps=1, max_steps=3, step_error=1e-9)
    block = randomised(Block(2, config, 1.0))
    block.refine_steps(torch.randn(50, 2).double())
    assert int(block.steps) == 3


def test_steps_that_are_enough_stay() -> None:
    block = Block(2, JKOConfig(width=16, steps=2), 1.0)
    block.refine_steps(torch.randn(50, 2))
    assert int(block.steps) == 2


def test_refinement_keeps_the_flow_and_halves_the_steps() -> None:
    block = randomised(Block(2, JKOConfig(width=6, steps=4), 0.8))
    x = torch.randn(9, 2).double()
    halves = block.halves()
    assert [float(half.h) for half in halves] == pytest.approx([0.4, 0.4])
    tight = Solver("dopri5", 1e-10, 1e-10)
    whole, split = chain(block), chain(*halves)
    torch.testing.assert_close(Flow(whole, tight).log_prob(x), Flow(split, tight).log_prob(x))
    assert [(p.t_data, p.t_noise) for p in split.pieces()] == [(0.0, 0.5), (0.5, 1.0)]
