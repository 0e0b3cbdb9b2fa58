"""FFJORD: its estimate against the flow's exact density, its gradients, its failures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.api.stream import Stream
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver, integrate
from bench.study import presets
from bench.training.loop import Diverged, Training, train
from bench_methods.ffjord import FFJORD, FFJORDConfig


def method(d: int = 2, **config: Any) -> FFJORD:
    """In float64, with parameters large enough for a field that bends, at a tight tolerance."""
    torch.manual_seed(3)
    given = {"hidden": 2, "width": 8, "rtol": 1e-8, "atol": 1e-8} | config
    flow = FFJORD(d, FFJORDConfig(**given)).double()
    with torch.no_grad():
        for flow_ in flow.flows:
            for parameter in flow_.field.parameters():
                parameter.mul_(1.5)
    return flow


def x(n: int = 5, d: int = 2) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(n, d)))


@pytest.mark.parametrize("flows", [1, 3])
@pytest.mark.parametrize("hidden", [1, 2, 3])
@pytest.mark.parametrize("gradient", ["adjoint", "backprop"])
def test_the_exact_estimate_is_the_density(flows: int, hidden: int, gradient: str) -> None:
    flow = method(flows=flows, hidden=hidden, divergence="exact", gradient=gradient)
    oracle = Flow(flow, Solver("dopri5", 1e-8, 1e-8)).log_prob(x())
    with torch.no_grad():
        torch.testing.assert_close(flow.estimate(x()).log_prob, oracle, rtol=0, atol=1e-6)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(x()).sum(-1)
    assert (oracle - normal).abs().max() > 0.05, "the flow is no identity"


@pytest.mark.parametrize("divergence", ["gaussian", "rademacher"])
def test_hutchinsons_estimate_is_unbiased(divergence: str) -> None:
    """The mean over 4,000 probes at each of two points, within 4 standard errors."""
    flow, n = method(d=3, divergence=divergence, rtol=1e-5, atol=1e-5), 4_000
    points = x(2, 3)
    exact = Flow(flow, Solver("dopri5", 1e-7, 1e-7)).log_prob(points)
    with torch.no_grad():
        estimates = flow.estimate(points.repeat_interleave(n, 0)).log_prob.reshape(2, n)
    se = estimates.std(1) / math.sqrt(n)
    assert ((estimates.mean(1) - exact).abs() < 4 * se + 1e-4).all()
    assert (se > 0).all()


@pytest.mark.parametrize("divergence", ["gaussian", "rademacher"])
def test_the_probe_is_fixed_in_a_solve_and_fresh_in_the_next(divergence: str) -> None:
    flow, t = method(divergence=divergence), torch.tensor(0.2).double()
    field = flow.flows[0].field
    one, other = (flow._rates(field, x()) for _ in range(2))
    state = (x(), torch.zeros(5).double())
    assert torch.equal(one(t, state)[1], one(t, state)[1])
    assert torch.equal(one(t, state)[0], field(t, x()))
    assert not torch.equal(one(t, state)[1], other(t, state)[1])


@pytest.mark.parametrize("divergence", ["exact", "gaussian", "rademacher"])
def test_the_adjoints_gradient_is_backpropagations(divergence: str) -> None:
    """For every parameter of both flows of a chain, their end times too; with the same probes."""
    gradients = []
    for gradient in ("adjoint", "backprop"):
        flow = method(flows=2, divergence=divergence, gradient=gradient)
        torch.manual_seed(8)
        flow.estimate(x()).log_prob.mean().backward()
        gradients.append({k: p.grad for k, p in flow.named_parameters()})
    for name, one in gradients[0].items():
        other = gradients[1][name]
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: n + m)
    assert any("sqrt_end_time" in k for k, g in gradients[0].items() if g is not None and g != 0)


@pytest.mark.parametrize("gradient", ["adjoint", "backprop"])
def test_the_gradient_of_the_end_time_matches_differences(gradient: str) -> None:
    """Of the mean estimate, against central differences in s, where T = s^2."""
    flow, h = method(divergence="exact", gradient=gradient, rtol=1e-10, atol=1e-10), 1e-4
    s = flow.flows[0].sqrt_end_time
    flow.estimate(x()).log_prob.mean().backward()
    assert s.grad is not None
    values = []
    with torch.no_grad():
        for step in (h, -2 * h):
            s += step
            values.append(float(flow.estimate(x()).log_prob.mean()))
    assert float(s.grad) == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-4)


def steps(flow: FFJORD, total: int = 3) -> None:
    rows = x(40).float().numpy() * 3
    for _ in flow.learn(Stream(rows, 20, total, seed=0)):
        pass


@pytest.mark.parametrize("gradient", ["adjoint", "backprop"])
@pytest.mark.parametrize("trained", [True, False])
def test_the_end_time_moves_if_it_is_trained(gradient: str, trained: bool) -> None:
    flow = FFJORD(
        2,
        FFJORDConfig(
            flows=2, hidden=1, width=4, gradient=gradient, train_end_time=trained, end_time=0.5,
            rtol=1e-3, atol=1e-3,
        ),
    )  # fmt: skip
    before = [piece.t_noise for piece in flow.pieces()]
    assert before == pytest.approx([0.5, 0.5])
    steps(flow)
    after = [piece.t_noise for piece in flow.pieces()]
    assert all((a != b) is trained for a, b in zip(after, before, strict=True))


def test_the_chain_goes_from_data_to_noise() -> None:
    """The first piece of the flow is the first that the estimate solves."""
    flow = method(flows=2)
    first, second = flow.pieces()
    assert (first.t_data, second.t_data) == (0.0, 0.0)
    assert first.field is flow.flows[0].field
    end: Tensor = x()
    for piece in (first, second):
        (end,) = integrate(
            lambda t, s, f=piece.field: (f(t, s[0]),), (end,), 0.0, piece.t_noise, flow.solver
        )
    encoded = Flow(flow, Solver("dopri5", 1e-9, 1e-9)).encode(x())
    torch.testing.assert_close(encoded, end.detach(), rtol=0, atol=1e-6)


def test_training_lowers_the_nll() -> None:
    """Rows of standard deviation 3: from about 10 nats down, for good."""
    flow = FFJORD(
        2,
        FFJORDConfig(
            hidden=2, width=8, divergence="exact", gradient="backprop", learning_rate=0.05,
            rtol=1e-2, atol=1e-2, end_time=1.0,
        ),
    )  # fmt: skip
    rows = torch.from_numpy(x(200).numpy().astype(np.float32) * 3)
    with torch.no_grad():
        before = float(flow.estimate(rows).log_prob.mean())
    for _ in flow.learn(Stream(rows.numpy(), 50, 20, seed=0)):
        pass
    with torch.no_grad():
        assert float(flow.estimate(rows).log_prob.mean()) > before + 1


@pytest.mark.parametrize("gradient", ["adjoint", "backprop"])
def test_a_field_that_is_too_stiff_is_divergence_with_its_step(gradient: str) -> None:
    """After the third update the field is made stiff by hand; the fourth solve gives up."""

    class Stiffening(FFJORD):
        def learn(self, batches: Stream) -> Any:
            for k, log in enumerate(super().learn(batches), 1):
                yield log
                if k == 3:
                    with torch.no_grad():
                        self.flows[0].field.layers[-1].space.weight.mul_(1e6)

    flow = Stiffening(
        2,
        FFJORDConfig(hidden=1, width=4, gradient=gradient, max_num_steps=30, rtol=1e-3, atol=1e-3),
    )
    done = Training()
    stream = Stream(x(40).float().numpy(), 20, 6, seed=0)
    with pytest.raises(Diverged, match=r"at mini-batch 4: .*out of steps.*30"):
        train(flow, stream, lambda m: 0.0, 1, lambda event: None, done=done)
    assert done.minibatches == 3


@pytest.mark.parametrize(
    "config",
    [
        {"flows": 0},
        {"hidden": 0},
        {"width": 0},
        {"end_time": 0.0},
        {"learning_rate": -1.0},
        {"weight_decay": -1e-9},
        {"rtol": 0.0},
        {"max_num_steps": 0},
    ],
)
def test_a_bad_value_is_refused_by_its_name(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="|".join(config)):
        FFJORDConfig(**config)


PENALISED = {"lambda_k": 0.3, "lambda_j": 0.2}


def penalties(flow: FFJORD, points: Tensor, nodes: int = 8) -> tuple[Tensor, Tensor]:
    """int |f|^2 dt and int |df/dx|_F^2 dt of rows, by Gauss-Legendre nodes in each flow's time.

    The rows move between the nodes by many steps of RK4; Jacobians are reverse-mode autograd's.
    """
    at, weights = np.polynomial.legendre.leggauss(nodes)
    kinetic, squares = torch.zeros(len(points)).double(), torch.zeros(len(points)).double()
    for piece in flow.pieces():
        now, y = 0.0, points
        for share, weight in zip((at + 1) / 2, weights / 2, strict=True):
            t = torch.tensor(share * piece.t_noise).double()
            y = solve(piece.field, y, now, float(t))
            now = float(t)
            rows = [
                torch.autograd.functional.jacobian(
                    lambda r, p=piece, t=t: p.field(t, r[None])[0], r
                )
                for r in y
            ]
            kinetic += weight * piece.t_noise * piece.field(t, y).detach().square().sum(-1)
            squares += weight * piece.t_noise * torch.stack(rows).square().sum((1, 2))
        points = solve(piece.field, y, now, piece.t_noise)
    return kinetic, squares


def solve(field: Any, y: Tensor, t0: float, t1: float) -> Tensor:
    with torch.no_grad():
        (end,) = integrate(lambda t, s: (field(t, s[0]),), (y,), t0, t1, Solver("rk4", steps=5))
    return end


@pytest.mark.parametrize("flows", [1, 2])
@pytest.mark.parametrize("hidden", [2, 3])
@pytest.mark.parametrize("gradient", ["adjoint", "backprop"])
def test_exact_penalties_against_a_quadrature(flows: int, hidden: int, gradient: str) -> None:
    flow = method(
        d=3, flows=flows, hidden=hidden, divergence="exact", gradient=gradient, **PENALISED
    )
    plain = method(d=3, flows=flows, hidden=hidden, divergence="exact")
    kinetic, squares = penalties(flow, x(4, 3))
    with torch.no_grad():
        seen = flow.estimate(x(4, 3))
        torch.testing.assert_close(
            seen.log_prob, plain.estimate(x(4, 3)).log_prob, rtol=0, atol=1e-7
        )
    assert seen.kinetic is not None
    assert seen.jacobian is not None
    assert kinetic.min() > 1e-2
    assert squares.min() > 1e-4
    torch.testing.assert_close(seen.kinetic, kinetic, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(seen.jacobian, squares, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("divergence", ["gaussian", "rademacher"])
def test_estimated_penalties_are_unbiased(divergence: str) -> None:
    """The mean over 4,000 probes within 4 standard errors; the kinetic energy needs no probe."""
    n, points = 4_000, x(2, 3)
    flow = method(d=3, divergence=divergence, rtol=1e-5, atol=1e-5, **PENALISED)
    kinetic, squares = penalties(flow, points)
    with torch.no_grad():
        seen = flow.estimate(points.repeat_interleave(n, 0))
    exact = Flow(flow, Solver("dopri5", 1e-7, 1e-7)).log_prob(points)
    assert seen.kinetic is not None
    assert seen.jacobian is not None
    torch.testing.assert_close(seen.kinetic.reshape(2, n)[:, 0], kinetic, rtol=1e-3, atol=1e-5)
    for estimates, oracle in ((seen.log_prob, exact), (seen.jacobian, squares)):
        means, se = estimates.reshape(2, n).mean(1), estimates.reshape(2, n).std(1) / math.sqrt(n)
        assert (se > 0).all()
        assert ((means - oracle).abs() < 4 * se + 1e-4).all()


@pytest.mark.parametrize("divergence", ["exact", "gaussian", "rademacher"])
def test_gradients_of_the_penalties_match_differences(divergence: str) -> None:
    """By the adjoint and by backpropagation, against central differences along a direction."""
    slopes, h = [], 1e-5

    def loss(flow: FFJORD) -> Tensor:
        torch.manual_seed(8)  # the same probes
        seen = flow.estimate(x())
        assert seen.kinetic is not None
        assert seen.jacobian is not None
        return (seen.kinetic + 0.7 * seen.jacobian - 0.1 * seen.log_prob).mean()

    for gradient in ("adjoint", "backprop"):
        flow = method(flows=2, divergence=divergence, gradient=gradient, **PENALISED)
        generator = torch.Generator().manual_seed(5)
        parameters = [p for p in flow.parameters() if p.requires_grad]
        along = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
        gradients = torch.autograd.grad(loss(flow), parameters)
        slopes.append(sum(float((g * v).sum()) for g, v in zip(gradients, along, strict=True)))
    values = []
    with torch.no_grad():
        for step in (h, -2 * h):
            for p, v in zip(parameters, along, strict=True):
                p += step * v
            values.append(float(loss(flow)))
    difference = (values[0] - values[1]) / (2 * h)
    assert slopes == pytest.approx([difference, difference], rel=1e-4)


@pytest.mark.parametrize("key", ["lambda_k", "lambda_j"])
def test_a_penalty_is_the_same_without_the_other(key: str) -> None:
    """It is what it is beside the other; the one without a weight is not solved for."""
    with torch.no_grad():
        both = method(divergence="exact", **PENALISED).estimate(x())
        alone = method(divergence="exact", **{key: 1.0}).estimate(x())
    found = (alone.kinetic, alone.jacobian)
    used = 0 if key == "lambda_k" else 1
    assert found[1 - used] is None
    torch.testing.assert_close(found[used], (both.kinetic, both.jacobian)[used])


@pytest.mark.parametrize("gradient", ["adjoint", "backprop"])
def test_what_is_logged_adds_up_to_the_loss(gradient: str) -> None:
    flow = FFJORD(
        2, FFJORDConfig(hidden=1, width=4, gradient=gradient, rtol=1e-3, atol=1e-3, **PENALISED)
    )
    for log in flow.learn(Stream(x(40).float().numpy(), 20, 3, seed=0)):
        total = float(log["nll"]) + 0.3 * float(log["kinetic"]) + 0.2 * float(log["jacobian"])
        assert float(log["loss"]) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("gradient", ["adjoint", "backprop"])
def test_penalties_make_a_field_that_is_cheaper(gradient: str) -> None:
    """After the same 25 updates: less energy, a smaller Jacobian, fewer evaluations a solve."""
    rows = np.concatenate([x(200).numpy() * 0.3 + 2, x(200).numpy() * 0.3 - 2]).astype(np.float32)
    found = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        config = FFJORDConfig(
            hidden=2, width=16, divergence="gaussian", gradient=gradient, end_time=1.0,
            learning_rate=0.03, rtol=1e-3, atol=1e-3, lambda_k=weight, lambda_j=weight,
        )  # fmt: skip
        flow = FFJORD(2, config)
        for _ in flow.learn(Stream(rows, 50, 25, seed=0)):
            pass
        flow = flow.double()
        energy, squares = penalties(flow, x(20))
        judged = Flow(flow, Solver("dopri5", 1e-6, 1e-6))
        judged.encode(torch.from_numpy(rows).double())
        found[weight] = (float(energy.mean()), float(squares.mean()), judged.nfe)
    assert found[1.0][0] < 0.8 * found[0.0][0]
    assert found[1.0][1] < 0.8 * found[0.0][1]
    assert found[1.0][2] < found[0.0][2]


@pytest.mark.parametrize("gradient", ["adjoint", "backprop"])
@pytest.mark.parametrize("broken", ["rows", "parameters"])
def test_a_nan_is_divergence_with_its_step_and_what_broke(gradient: str, broken: str) -> None:
    flow = FFJORD(2, FFJORDConfig(hidden=1, width=4, gradient=gradient))
    rows = x(40).float().numpy()
    if broken == "rows":
        rows[:, 0] = math.nan
    else:
        with torch.no_grad():
            flow.flows[0].field.layers[0].space.weight.fill_(math.nan)
    what = {"rows": "rows are", "parameters": "slope is"}[broken]
    with pytest.raises(Diverged, match=rf"at mini-batch 1: .*{what} not finite"):
        train(flow, Stream(rows, 20, 2, seed=0), lambda m: 0.0, 1, lambda event: None)


def test_an_adjoint_that_is_too_stiff_is_divergence_with_its_step() -> None:
    """The way back alone is stiff: a term whose slope, not whose value, is large near the start."""

    class Wrinkled(FFJORD):
        def _rates(self, field: Any, x: Tensor) -> Any:
            smooth = super()._rates(field, x)

            def rates(t: Tensor, state: Any) -> Any:
                velocity, *rest = smooth(t, state)
                wrinkle = 1e-7 * (1e10 * state[0]).sin() if torch.is_grad_enabled() else 0.0
                return velocity + wrinkle, *rest

            return rates

    flow = Wrinkled(2, FFJORDConfig(hidden=1, width=4, max_num_steps=25, rtol=1e-3, atol=1e-3))
    stream = Stream(x(40).float().numpy(), 20, 3, seed=0)
    with pytest.raises(Diverged, match=r"at mini-batch 1: backward, .*25"):
        train(flow, stream, lambda m: 0.0, 1, lambda event: None)


SIZES = {"power": (6, 76e3), "gas": (8, 76e3), "miniboone": (43, 112e3), "bsds300": (63, 396e3)}


@pytest.mark.parametrize("name", SIZES)
def test_presets_have_the_posters_sizes(name: str) -> None:
    d, parameters = SIZES[name]
    config, preset = presets.configure("ffjord", name, d, {})
    assert preset == name
    assert FFJORD(d, config).size() == pytest.approx(parameters, rel=0.02)
