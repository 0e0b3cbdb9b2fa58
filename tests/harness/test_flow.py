"""A flow's densities, samples and paths against closed forms and quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.api.method import Continuous, Discrete, Field, Log, Method, Options, Piece
from bench.api.stream import Stream
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver, SolverFailed
from bench.training.loop import train
from bench_methods.ffjord import FFJORD, FFJORDConfig
from bench_methods.flow_matching import FlowMatching, FlowMatchingConfig

TIGHT = Solver("dopri5", 1e-9, 1e-9)


class Linear(Field):
    """dx/dt = A x + b."""

    def __init__(self, a: Tensor, b: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("a", a)
        self.register_buffer("b", torch.zeros(len(a), dtype=a.dtype) if b is None else b)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return x @ self.a.T + self.b


class Given(Continuous):
    """A flow of given pieces, nothing to learn."""

    def __init__(self, d: int, pieces: Sequence[Piece]) -> None:
        super().__init__(d, Options())
        self.fields = torch.nn.ModuleList(p.field for p in pieces)
        self.times = [(p.t_data, p.t_noise) for p in pieces]

    def learn(self, batches: Stream) -> Iterator[Log]:
        yield from ()

    def pieces(self) -> Sequence[Piece]:
        return [
            Piece(field, *times)  # type: ignore[arg-type]
            for field, times in zip(self.fields, self.times, strict=True)
        ]


class Stretched(Discrete):
    """x = 2 z + 1, in each of d dimensions."""

    def learn(self, batches: Stream) -> Iterator[Log]:
        yield from ()

    def log_prob(self, x: Tensor) -> Tensor:
        normal = torch.distributions.Normal(1.0, 2.0)
        return normal.log_prob(x).sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        return 2 * z + 1


def gaussian(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)


def toy(n: int) -> np.ndarray:
    """Two unequal, correlated bumps: no Gaussian."""
    rng = np.random.default_rng(7)
    left = rng.multivariate_normal([-1, 0.5], [[0.3, 0.2], [0.2, 0.4]], n // 3)
    right = rng.multivariate_normal([1, 0], [[0.3, -0.1], [-0.1, 0.2]], n - n // 3)
    return np.concatenate([left, right]).astype(np.float32)


def trained(method: Method, minibatches: int) -> Method:
    stream = Stream(toy(1_000), 128, minibatches, seed=0)
    train(method, stream, lambda m: 0.0, 1, lambda event: None)
    return method


@dataclass
class Case:
    """A trained method and what it was before."""

    method: Method
    name: str


@pytest.fixture(scope="module", params=["flow-matching", "ffjord", "ffjord, 2 flows"])
def case(request: pytest.FixtureRequest) -> Case:
    torch.manual_seed(0)
    quick = {"hidden": 2, "width": 16, "divergence": "exact", "gradient": "backprop"}
    quick |= {"learning_rate": 3e-2, "rtol": 1e-2, "atol": 1e-2}
    makers: dict[str, Callable[[], Method]] = {
        "flow-matching": lambda: FlowMatching(2, FlowMatchingConfig(width=32, learning_rate=1e-2)),
        "ffjord": lambda: FFJORD(2, FFJORDConfig(**quick)),
        "ffjord, 2 flows": lambda: FFJORD(2, FFJORDConfig(flows=2, **quick)),
    }
    steps = 60 if request.param == "flow-matching" else 12
    return Case(trained(makers[request.param](), steps), request.param)


@pytest.mark.parametrize(("t_data", "t_noise"), [(0.0, 1.0), (1.0, 0.0), (0.2, 0.9)])
@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_density_of_a_linear_flow(d: int, t_data: float, t_noise: float) -> None:
    """x = exp(-AT) z, so p = N(0, M M') with M = exp(-AT)."""
    a, x = torch.randn(d, d).double(), torch.randn(9, d).double()
    flow = Flow(Given(d, [Piece(Linear(a), t_data, t_noise)]), TIGHT)
    m = torch.matrix_exp(-a * (t_noise - t_data))
    oracle = gaussian(x, torch.zeros(d).double(), m @ m.T)
    torch.testing.assert_close(flow.log_prob(x), oracle, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(flow.encode(x), x @ torch.inverse(m).T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(flow.decode(x).end, x @ m.T, rtol=1e-6, atol=1e-6)


def test_the_density_of_a_chain() -> None:
    """Data pass through the first piece first; the maps do not commute."""
    a, b, c = torch.randn(2, 2).double(), torch.randn(2, 2).double(), torch.randn(2).double()
    pieces = [Piece(Linear(a), 0.0, 0.7), Piece(Linear(b, c), 1.0, 0.5)]
    flow, x = Flow(Given(2, pieces), TIGHT), torch.randn(6, 2).double()
    inner, outer = torch.matrix_exp(0.7 * a), torch.matrix_exp(-0.5 * b)
    shift = -torch.inverse(b) @ (torch.eye(2).double() - outer) @ c  # int of exp(-b s) c, negated
    z = x @ inner.T @ outer.T + shift
    torch.testing.assert_close(flow.encode(x), z, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(flow.decode(z).end, x, rtol=1e-6, atol=1e-6)
    m = torch.inverse(outer @ inner)
    oracle = gaussian(x, -m @ shift, m @ m.T)
    torch.testing.assert_close(flow.log_prob(x), oracle, rtol=1e-6, atol=1e-6)


def test_samples_of_a_linear_flow_have_its_mean_and_covariance() -> None:
    """Mean and covariance of 20,000 samples within 5 standard errors."""
    a = torch.tensor([[0.3, 0.8], [-0.4, -0.2]]).double()
    n = 20_000
    samples = Flow(Given(2, [Piece(Linear(a), 0.0, 1.0)]), Solver()).sample(n, seed=3)
    m = torch.matrix_exp(-a)
    covariance = m @ m.T
    assert (samples.mean(0).abs() < 5 * (covariance.diagonal() / n).sqrt()).all()
    spread = torch.outer(covariance.diagonal(), covariance.diagonal()) + covariance**2
    assert ((samples.T.cov() - covariance).abs() < 5 * (spread / n).sqrt()).all()


def test_a_seed_gives_the_same_noise_to_every_method() -> None:
    one = Flow(Given(2, [Piece(Linear(torch.eye(2)), 0.0, 1.0)]), TIGHT, torch.float32)
    other = Flow(Stretched(2, Options()), TIGHT)
    assert torch.equal(one.noise(5, 1), other.noise(5, 1))
    assert not torch.equal(one.noise(5, 1), one.noise(5, 2))
    torch.testing.assert_close(other.sample(5, 1), 2 * one.noise(5, 1) + 1)
    assert torch.equal(one.sample(5, 1), one.sample(5, 1))


def test_a_discrete_method_uses_its_own_density_and_inverse() -> None:
    flow, x = Flow(Stretched(3, Options()), TIGHT, rows_at_once=2), torch.randn(5, 3).double()
    oracle = gaussian(x, torch.ones(3).double(), 4 * torch.eye(3).double())
    torch.testing.assert_close(flow.log_prob(x), oracle)
    path = flow.decode(x)
    assert path.kinetic is None
    assert flow.nfe is None
    torch.testing.assert_close(path.end, 2 * x + 1)
    with pytest.raises(TypeError, match="no velocity"):
        flow.encode(x)


def test_density_integrates_to_one(case: Case) -> None:
    """Midpoint rule on [-8, 8]^2, cells of 0.16; and the flow is no identity any more."""
    axis = torch.linspace(-8, 8, 101).double()
    centres = (axis[1:] + axis[:-1]) / 2
    grid = torch.cartesian_prod(centres, centres)
    density = Flow(case.method, Solver("dopri5", 1e-5, 1e-5), rows_at_once=10_000).log_prob(grid)
    assert float(density.exp().sum() * 0.16**2) == pytest.approx(1, abs=1e-3)
    identity = gaussian(grid, torch.zeros(2).double(), torch.eye(2).double())
    assert (density.exp() - identity.exp()).abs().max() > 0.02


def test_round_trip(case: Case) -> None:
    flow = Flow(case.method, Solver("dopri5", 1e-6, 1e-6))
    path = flow.decode(flow.noise(200, 0))
    assert (path.end - path.start).abs().max() > 0.1
    assert (flow.encode(path.end) - path.start).abs().max() < 1e-4
    x = torch.from_numpy(toy(200)).double()
    assert (flow.decode(flow.encode(x)).end - x).abs().max() < 1e-4


def test_log_prob_is_the_change_of_variables(case: Case) -> None:
    """log N(z) + log |det dz/dx|, the Jacobian of the map by central differences."""
    flow, x, h = Flow(case.method, TIGHT), torch.from_numpy(toy(6)).double(), 1e-4
    columns = [(flow.encode(x + h * e) - flow.encode(x - h * e)) / (2 * h) for e in torch.eye(2)]
    log_det = torch.linalg.det(torch.stack(columns, -1)).abs().log()
    z = flow.encode(x)
    oracle = gaussian(z, torch.zeros(2).double(), torch.eye(2).double()) + log_det
    torch.testing.assert_close(flow.log_prob(x), oracle, rtol=0, atol=1e-5)


def test_rows_at_once_bounds_memory_and_changes_nothing(case: Case) -> None:
    """The solver's norm is over a chunk, so that the answers agree to its tolerance only."""
    solver = Solver("dopri5", 1e-7, 1e-7)
    x = torch.from_numpy(toy(20))
    whole = Flow(case.method, solver, rows_at_once=20)
    parts = Flow(case.method, solver, rows_at_once=7)
    seen: list[int] = []
    for module in parts.method.modules():
        if isinstance(module, Field):
            module.register_forward_pre_hook(lambda m, args: seen.append(len(args[1])))
    torch.testing.assert_close(whole.log_prob(x), parts.log_prob(x), rtol=0, atol=1e-5)
    one, other = whole.decode(x), parts.decode(x)
    torch.testing.assert_close(one.end, other.end, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.kinetic, other.kinetic, rtol=0, atol=1e-5)
    assert torch.equal(one.start, other.start)
    torch.testing.assert_close(whole.encode(x), parts.encode(x), rtol=0, atol=1e-5)
    assert max(seen) == 7


def test_single_precision_agrees_with_double(case: Case) -> None:
    x = torch.from_numpy(toy(50))
    single = Flow(case.method, Solver(), torch.float32).log_prob(x)
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), Flow(case.method, TIGHT).log_prob(x), rtol=0, atol=1e-3
    )


def test_the_kinetic_energy_of_a_straight_flow() -> None:
    """A constant velocity c for a time T moves by cT: energy |cT|^2, however it is timed."""
    c = torch.tensor([3.0, -4.0]).double()
    still = torch.zeros(2, 2).double()
    for t_data, t_noise in ((0.0, 1.0), (1.0, 0.0), (0.25, 0.75)):
        flow = Flow(Given(2, [Piece(Linear(still, c), t_data, t_noise)]), TIGHT)
        path = flow.decode(flow.noise(4, 0))
        assert path.kinetic is not None
        moved = (path.end - path.start).square().sum(-1)
        oracle = torch.full((4,), (5 * (t_noise - t_data)) ** 2).double()
        torch.testing.assert_close(moved, oracle)
        torch.testing.assert_close(path.kinetic, oracle)


def test_the_kinetic_energy_of_a_curved_flow() -> None:
    """dx/dt = x decoded over T = 1.5 from z: T int |z|^2 exp(-2t) dt.

    Two pieces have half the time each, so twice the velocity: twice the sum of their integrals.
    """
    grow = Piece(Linear(torch.eye(2).double()), 0.0, 1.5)
    flow = Flow(Given(2, [grow]), TIGHT)
    path = flow.decode(z := flow.noise(4, 0))
    assert path.kinetic is not None
    oracle = 1.5 * z.square().sum(-1) * (1 - math.exp(-3)) / 2
    torch.testing.assert_close(path.kinetic, oracle, rtol=1e-6, atol=1e-6)
    assert (path.kinetic > (path.end - path.start).square().sum(-1)).all()
    still = Piece(Linear(torch.zeros(2, 2).double(), torch.ones(2).double()), 0.0, 1.0)
    both = Flow(Given(2, [grow, still]), TIGHT).decode(z).kinetic  # the still piece goes first
    assert both is not None
    shifted = (z - 1).square().sum(-1) * 1.5 * (1 - math.exp(-3)) / 2
    torch.testing.assert_close(both, 2 * (2 + shifted), rtol=1e-6, atol=1e-6)


def test_evaluations_are_counted_per_solve() -> None:
    """rk4 takes 4 a step: 3 steps, two pieces, so 24, in one chunk or in five."""
    pieces = [Piece(Linear(torch.eye(2)), 0.0, 1.0), Piece(Linear(-torch.eye(2)), 0.0, 1.0)]
    for rows_at_once in (10, 2):
        flow = Flow(Given(2, pieces), Solver("rk4", steps=3), rows_at_once=rows_at_once)
        for ask in (flow.log_prob, flow.encode, flow.decode):
            ask(torch.randn(10, 2))
            assert flow.nfe == 24


def test_the_method_itself_is_unchanged(case: Case) -> None:
    method = case.method
    before = {k: v.clone() for k, v in method.state_dict().items()}
    fields = [m for m in method.modules() if isinstance(m, Field)]
    counts = [f.evaluations for f in fields]
    flow = Flow(method, Solver())
    flow.log_prob(torch.randn(3, 2))
    assert flow.method.training is False
    assert method.training
    assert all(p.requires_grad for p in method.parameters())
    assert [f.evaluations for f in fields] == counts
    after = method.state_dict()
    assert all(torch.equal(after[k], v) and after[k].dtype == v.dtype for k, v in before.items())
    assert method.optimizer is not None


def test_a_stiff_flow_raises_solver_failed() -> None:
    stiff = Given(2, [Piece(Linear(-1e6 * torch.eye(2)), 0.0, 1.0)])
    flow = Flow(stiff, Solver("dopri5", 1e-6, 1e-6, max_num_steps=20))
    for ask in (flow.log_prob, flow.encode, flow.decode):
        with pytest.raises(SolverFailed):
            ask(torch.ones(3, 2))
    assert torch.is_grad_enabled()


def test_results_carry_no_gradient(case: Case) -> None:
    flow, x = Flow(case.method, Solver()), torch.randn(3, 2, requires_grad=True)
    answers: list[Any] = [flow.log_prob(x), flow.encode(x), flow.decode(x).end]
    assert not any(a.requires_grad for a in answers)
