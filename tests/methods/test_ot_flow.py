"""OT-Flow: its costs against closed forms and a slow loop, its own steps, its presets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.api.method import evaluations
from bench.api.stream import Stream
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver, SolverFailed
from bench.registry import plugins
from bench.study import presets
from bench_methods.ot_flow import Descent, OTFlow, OTFlowConfig


def method(d: int = 3, **config: Any) -> OTFlow:
    """In float64, no parameter at its initial value."""
    torch.manual_seed(2)
    flow = OTFlow(d, OTFlowConfig(**{"width": 6, "initial": 0.2, "steps": 3} | config)).double()
    with torch.no_grad():
        for parameter in flow.field.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow


def affine(d: int, curvature: float, slope: Tensor, **config: Any) -> OTFlow:
    """Phi(x, t) = curvature |x|^2 / 2 + slope'(x, t)."""
    flow = method(d, rank=d, **config)
    with torch.no_grad():
        phi = flow.field.potential
        phi.w.zero_()
        phi.A.zero_()[:, :d].fill_diagonal_(math.sqrt(curvature))
        phi.b.copy_(slope)
    return flow


def x(n: int = 5, d: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(n, d)))


def close(one: Tensor, other: Tensor | float, tolerance: float = 1e-10) -> None:
    other = torch.as_tensor(other, dtype=one.dtype)
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def normal_nll(z: Tensor) -> Tensor:
    return -torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)


def test_a_linear_potential_solves_hjb() -> None:
    """Phi = b'x + |b|^2 t / 2 moves all rows by -b: R is 0 and L is |b|^2 / 2."""
    b = torch.tensor([0.7, -0.4, 1.1]).double()
    energy = 0.5 * b.square().sum()
    flow = affine(3, 0.0, torch.cat([b, energy[None]]))
    nll, transport, residual = flow.costs(x())
    close(residual, 0.0)
    close(transport, energy)
    close(nll, normal_nll(x() - b).mean())


def test_a_quadratic_potential_does_not_solve_hjb() -> None:
    """Phi = a |x|^2 / 2 shrinks by exp(-a), and |v|^2 / 2 is the residual all the way."""
    a = 0.6
    nll, transport, residual = affine(3, a, torch.zeros(4), steps=20).costs(x())
    energy = x().square().sum(-1).mean() * a * (1 - math.exp(-2 * a)) / 4
    close(residual, energy, 1e-6)
    close(transport, energy, 1e-6)
    close(nll, normal_nll(x() * math.exp(-a)).mean() + 3 * a, 1e-6)


class Focus(nn.Module):
    """Phi(x, t) = |x - m|^2 / (2 (c - t)): every row goes straight for m, at its own speed."""

    m, c = 0.5, 3.0

    def derivatives(self) -> Focus:
        return self

    def with_total_laplacian(self, s: Tensor) -> tuple[Tensor, Tensor]:
        to_go, left = s[:, :-1] - self.m, self.c - s[:, -1:]
        by_time = to_go.square().sum(-1, keepdim=True) / (2 * left**2)
        return torch.cat([to_go / left, by_time], 1), (to_go.shape[1] / left).sum()


def test_a_solution_of_hjb_that_moves_rows_apart() -> None:
    flow = method(3, steps=20)
    flow.field = Descent(Focus())  # type: ignore[arg-type]
    m, c = Focus.m, Focus.c
    nll, transport, residual = flow.costs(x())
    close(residual, 0.0)
    close(transport, (x() - m).square().sum(-1).mean() / (2 * c**2))
    end = m + (x() - m) * (c - 1) / c
    close(nll, normal_nll(end).mean() - 3 * math.log((c - 1) / c), 1e-6)


def slow_costs(flow: OTFlow, rows: Tensor, steps: int) -> Tensor:
    """(C, L, R): row by row, in RK4 written out, all derivatives of Phi by autograd."""

    def slopes(t: float, y: Tensor) -> tuple[Tensor, Tensor]:
        s = torch.cat([y, y.new_tensor([t])])
        if not s.requires_grad:
            s.requires_grad_()
        (g,) = torch.autograd.grad(flow.field.potential(s[None]).sum(), s, create_graph=True)
        trace = torch.zeros(()).double()
        for k in range(len(y)):
            trace = trace + torch.autograd.grad(g[k], s, create_graph=True)[0][k]
        energy = (g[:-1] ** 2).sum() / 2
        return -g[:-1], torch.stack([-trace, energy, (g[-1] - energy).abs()])

    totals, h = [], 1 / steps
    for row in rows:
        y, integrals = row, torch.zeros(3).double()
        for k in range(steps):
            v1, q1 = slopes(k * h, y)
            v2, q2 = slopes((k + 0.5) * h, y + h / 2 * v1)
            v3, q3 = slopes((k + 0.5) * h, y + h / 2 * v2)
            v4, q4 = slopes((k + 1) * h, y + h * v3)
            y = y + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
            integrals = integrals + h / 6 * (q1 + 2 * q2 + 2 * q3 + q4)
        totals.append(torch.stack([normal_nll(y) - integrals[0], integrals[1], integrals[2]]))
    return torch.stack(totals).mean(0)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_costs_and_gradients_match_a_slow_loop(layers: int) -> None:
    """C, L and R, and the gradient of their weighted sum by every parameter, to 1e-10."""
    flow, weights = method(layers=layers), torch.tensor([30.0, 1.0, 5.0]).double()
    fast, slow = torch.stack(flow.costs(x())), slow_costs(flow, x(), steps=3)
    close(fast, slow.detach())
    trained = {k: p for k, p in flow.field.named_parameters() if p.requires_grad}
    found, expected = (
        torch.autograd.grad(weights @ costs, list(trained.values())) for costs in (fast, slow)
    )
    for one, other in zip(found, expected, strict=True):
        close(one, other)
        assert other.abs().max() > 1e-3


def test_the_loss_is_the_weighted_sum() -> None:
    flow = method(alpha_c=7.0, alpha_r=3.0).float()
    (log,) = flow.learn(Stream(x(40).float().numpy(), 20, 1, seed=0))
    parts = {name: float(value) for name, value in log.items()}
    assert parts["loss"] == pytest.approx(7 * parts["C"] + parts["L"] + 3 * parts["R"], rel=1e-5)
    assert evaluations(flow) == 4 * 3


def test_its_own_steps_are_those_of_training() -> None:
    """The native solver makes `test_steps` steps of RK4; with as many in training it scores C."""
    flow = method(steps=5, test_steps=5)
    (piece,) = flow.pieces()
    assert (piece.t_data, piece.t_noise) == (0.0, 1.0)
    assert piece.native == Solver("rk4", steps=5)
    with torch.no_grad():
        close(-Flow(flow, None).log_prob(x()).mean(), flow.costs(x())[0])


def test_the_round_trip_error_is_of_fourth_order() -> None:
    """The error of a round trip is small, and falls with the fourth power of the steps."""
    errors = []
    for steps in (8, 16):
        flow = Flow(method(test_steps=steps), None)
        assert (flow.encode(x()) - x()).abs().max() > 0.1
        errors.append((flow.decode(flow.encode(x())).rows - x()).abs().max().item())
    assert errors[0] < 1e-4
    assert 10 < errors[0] / errors[1] < 40


@pytest.mark.parametrize("solver", [None, Solver("dopri5", 1e-6, 1e-6)])
def test_the_density_integrates_to_one(solver: Solver | None) -> None:
    """Over a square wide enough for the flow as it starts, which spreads: 1 within 1e-3."""
    torch.manual_seed(0)
    flow = Flow(OTFlow(2, OTFlowConfig(width=8)), solver, rows_at_once=20_000)
    reach, cells = 60.0, 200
    axis = (torch.arange(cells).double() + 0.5) / cells * 2 * reach - reach
    density = flow.log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert float(density.sum()) * (2 * reach / cells) ** 2 == pytest.approx(1, abs=1e-3)


def test_parameters_are_clamped_before_an_update() -> None:
    """So they end within the bound and one step of Adam; without a bound they stay."""
    for clamp, largest in ((0.5, 0.5), (None, 5.0)):
        flow = method(clamp=clamp, learning_rate=1e-3).float()
        with torch.no_grad():
            flow.field.potential.w.fill_(5.0)
        list(flow.learn(Stream(x(40).float().numpy(), 20, 1, seed=0)))
        found = max(p.abs().max().item() for p in flow.parameters())
        assert largest - 1.1e-3 <= found <= largest + 1.1e-3


def test_learning_lowers_the_nll() -> None:
    rows = (x(400) * 0.3 + 1).float()
    flow = method(width=16, learning_rate=0.05, steps=4).float()
    losses = [float(log["C"]) for log in flow.learn(Stream(rows.numpy(), 100, 60, seed=0))]
    entropy = 3 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.3))
    assert losses[0] > entropy + 2
    assert np.mean(losses[-5:]) < entropy + 0.5


def test_a_potential_too_steep_for_its_steps_fails_in_the_solver() -> None:
    """RK4 leaves the numbers: the solver says so, which a run records as diverged."""
    flow = method().float()
    with torch.no_grad():
        flow.field.potential.A.fill_(1e9)
    with pytest.raises(SolverFailed, match="not finite"):
        list(flow.learn(Stream(x(40).float().numpy(), 40, 1, seed=0)))


@pytest.mark.parametrize(
    ("dataset", "size"),
    [("power", 76_000), ("gas", 76_000), ("miniboone", 112_000), ("bsds300", 396_000)],
)
def test_presets_have_the_posters_sizes(dataset: str, size: int) -> None:
    """Within 2 %."""
    d = plugins.dataset(dataset).d
    config, preset = presets.configure("ot-flow", dataset, d, {})
    assert preset == dataset
    assert OTFlow(d, config).size() == pytest.approx(size, rel=0.02)


@pytest.mark.parametrize(
    ("dataset", "size"),
    [("power", 17_721), ("gas", 126_791), ("miniboone", 78_053), ("bsds300", 297_153)],
)
def test_presets_have_the_papers_sizes(dataset: str, size: int) -> None:
    """Counted with c, which the paper trains though no density depends on it."""
    d = plugins.dataset(dataset).d
    config, _ = presets.configure("ot-flow", dataset, d, {"preset": f"{dataset}-paper"})
    assert sum(p.numel() for p in OTFlow(d, config).field.parameters()) == size


@pytest.mark.parametrize(
    "config",
    [
        {"width": 0},
        {"layers": 0},
        {"rank": 0},
        {"initial": 0.0},
        {"steps": 0},
        {"test_steps": 0},
        {"alpha_c": 0.0},
        {"alpha_r": -1.0},
        {"learning_rate": 0.0},
        {"clamp": 0.0},
    ],
)
def test_a_bad_value_is_refused_by_its_name(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="|".join(config)):
        OTFlowConfig(**config)
