"""Flow matching: its loss, its options, and what the regression tends to."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from bench.api.stream import Stream
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver
from bench.registry import plugins
from bench.study import presets
from bench_methods.flow_matching import FlowMatching, FlowMatchingConfig
from bench_methods.optimisation import cosine, update


def method(d: int = 3, **config: Any) -> FlowMatching:
    """With a field that is not 0."""
    flow = FlowMatching(d, FlowMatchingConfig(width=8, **config))
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.5)
    return flow


@pytest.mark.parametrize(
    ("config", "end"), [({}, 1.0), ({"path": "diffusion"}, 0.999), ({"sigma_min": 0.1}, 1.0)]
)
def test_the_flow_goes_from_data_to_noise(config: dict[str, Any], end: float) -> None:
    (piece,) = method(**config).pieces()
    assert (piece.t_data, piece.t_noise) == (end, 0.0)


def test_the_flow_starts_as_the_identity() -> None:
    """The field is 0, so the first loss is that of a target of variance 2 d at sigma_min = 0."""
    flow = FlowMatching(3, FlowMatchingConfig(width=8))
    rows = torch.randn(20_000, 3).numpy()
    loss = next(flow.learn(Stream(rows, 20_000, 1, seed=0)))["loss"]
    se = math.sqrt(2 * 3 * 4 / 20_000)  # |u|^2 is 2 chi^2 with 3 degrees of freedom
    assert abs(float(loss) - 6) < 5 * se


@pytest.mark.slow
def test_a_trained_field_is_the_marginal_velocity() -> None:
    """The network itself, over all times: within 0.15 r.m.s. of the closed form on the path."""
    torch.manual_seed(0)
    flow = FlowMatching(2, FlowMatchingConfig(width=64, learning_rate=5e-3))
    mean = torch.tensor([1.0, -2.0])
    covariance = torch.tensor([[1.5, 0.7], [0.7, 0.6]])
    rows = torch.distributions.MultivariateNormal(mean, covariance).sample((50_000,))
    for _ in flow.learn(Stream(rows.numpy(), 1_024, 1_500, seed=0)):
        pass
    eye = torch.eye(2)
    for time in (0.1, 0.5, 0.9):
        c = (1 - time) ** 2 * eye + time**2 * covariance
        a = (time * covariance - (1 - time) * eye) @ torch.linalg.inv(c)
        x = torch.distributions.MultivariateNormal(time * mean, c).sample((2_000,))
        oracle = mean + (x - time * mean) @ a.T
        with torch.no_grad():
            error = (flow.field(torch.tensor(time), x) - oracle).square().sum(-1).mean().sqrt()
        assert error < 0.15
        assert oracle.square().sum(-1).mean().sqrt() > 1


@pytest.mark.parametrize(
    ("path", "coupling"),
    [
        ("straight", "independent"),
        ("straight", "ot"),
        ("diffusion", "independent"),
        ("diffusion", "ot"),
        ("score", "independent"),
    ],
)
def test_the_loss_is_the_mean_of_squared_distances(path: str, coupling: str) -> None:
    """Recomputed row by row from the same draws: noise `(n, d)` first, then times `(n,)`."""
    config = {"path": "diffusion", "objective": "score"} if path == "score" else {"path": path}
    flow, rows = method(2, coupling=coupling, **config), torch.randn(6, 2)
    twin = copy.deepcopy(flow, {id(flow.optimizer): None})
    torch.manual_seed(4)
    loss = float(next(flow.learn(Stream(rows.numpy(), 6, 1, seed=0)))["loss"])
    x1 = next(Stream(rows.numpy(), 6, 1, seed=0))
    torch.manual_seed(4)
    x0, t = torch.randn(6, 2), torch.rand(6)
    if coupling == "ot":
        x0 = min(
            (x0[list(p)] for p in itertools.permutations(range(6))),
            key=lambda noise: float((noise - x1).square().sum()),
        )
    total = 0.0
    with torch.no_grad():
        for k in range(6):
            if path == "straight":
                a, b, a_slope, b_slope = t[k], 1 - t[k], 1.0, -1.0
            else:
                s = 1 - 0.999 * t[k]
                a = torch.exp(-0.25 * 19.9 * s**2 - 0.5 * 0.1 * s)
                b = (1 - a**2).sqrt()
                a_slope = 0.5 * (0.1 + 19.9 * s) * a
                b_slope = -a * a_slope / b  # a^2 + b^2 = 1
                t[k] = 1 - s
            target = a_slope * x1[k] + b_slope * x0[k]
            network = twin.field
            if path == "score":
                network, target = twin.field.noise, x0[k]
            v = network(t[k], (a * x1[k] + b * x0[k])[None])[0]
            total += float((v - target).square().sum())
    assert loss == pytest.approx(total / 6, rel=1e-4)


def test_an_optimal_coupling_shortens_the_paths() -> None:
    """A shift between noise and data is the whole of the target, once the coupling knows it."""
    torch.manual_seed(1)
    rows = (torch.randn(128, 2) + torch.tensor([10.0, 0.0])).numpy()
    losses = {}
    for coupling in ("independent", "ot"):
        flow = FlowMatching(2, FlowMatchingConfig(width=8, coupling=coupling))
        losses[coupling] = float(next(flow.learn(Stream(rows, 128, 1, seed=0)))["loss"])
    assert losses["independent"] == pytest.approx(104, abs=8)
    assert losses["ot"] == pytest.approx(100, abs=6)
    assert losses["ot"] < losses["independent"] - 2


@pytest.mark.parametrize("d", [3, 12])
def test_gradients_are_those_of_the_plain_formula(d: int) -> None:
    """W x + U e + b layer by layer in float64, at a time for each row; hidden width 8."""
    flow = method(d).double()
    x, t, target = (torch.randn(*shape, dtype=torch.float64) for shape in ((50, d), (50,), (50, d)))
    angles = t[:, None] * math.pi * torch.arange(1, 9)
    e, v = torch.cat([t[:, None], angles.sin(), angles.cos()], dim=1), x
    for i, layer in enumerate(flow.field.layers):
        v = nn.functional.silu(v) if i else v
        v = v @ layer.space.weight.T + e @ layer.time.weight.T + layer.space.bias
    flow.field.frequencies = math.pi * torch.arange(1, 9, dtype=torch.float64)
    parameters = list(flow.parameters())
    plain = torch.autograd.grad((v - target).square().sum(-1).mean(), parameters)
    loss = (flow.field(t, x) - target).square().sum(-1).mean()
    for found, wanted in zip(torch.autograd.grad(loss, parameters), plain, strict=True):
        assert (found - wanted).norm() <= 1e-12 * wanted.norm()


@pytest.mark.parametrize("name", ["flow-matching", "rectified-flow", "ot-flow", "ffjord", "jko"])
def test_updates_are_adams(name: str) -> None:
    """Kingma & Ba 2015, algorithm 1, in float64 with the method's own optimiser."""
    kind = plugins.method(name)
    optimizer = kind(2, kind.Config()).optimizer
    (group,) = optimizer.param_groups
    parameter = nn.Parameter(torch.linspace(-2, 2, 41, dtype=torch.float64))
    group["params"] = [parameter]
    x, m, v = parameter.detach().clone(), 0.0, 0.0
    for step in range(1, 6):
        rate = 0.1 / step
        gradient = 2 * x * step + group["weight_decay"] * x
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        x = x - rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        update(optimizer, (step * parameter**2).sum(), rate)
        assert (parameter.detach() - x).norm() <= 1e-12 * x.norm()


def test_the_learning_rates_schedule() -> None:
    assert cosine(0.0) == 1
    assert cosine(0.5) == pytest.approx(0.5)
    assert cosine(1.0) == pytest.approx(0)
    values = [cosine(k / 20) for k in range(21)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(("clip", "step"), [(None, 5.0), (1.0, 1.0), (100.0, 5.0)])
def test_an_update_is_clipped(clip: float | None, step: float) -> None:
    """SGD with rate 1 moves by the gradient, here of norm 5, or by `clip` of it."""
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=123.0)
    for _ in range(2):  # the second update starts from no gradient
        before = parameter.detach().clone()
        update(optimizer, (parameter * torch.tensor([3.0, -4.0])).sum(), 1.0, clip)
        assert float((parameter - before).norm()) == pytest.approx(step, rel=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        {"width": 0},
        {"frequencies": -1},
        {"sigma_min": 1.0},
        {"sigma_min": -0.1},
        {"sigma_min": math.nan},
        {"learning_rate": 0.0},
        {"clip": 0.0},
        {"scale": 0.0},
        {"eps": 0.0},
        {"eps": 1.0},
        {"path": "diffusion", "sigma_min": 0.1},
        {"objective": "score"},
        {"objective": "score", "path": "diffusion", "coupling": "ot"},
    ],
)
def test_a_bad_value_is_refused_by_its_name(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="|".join(config)):
        FlowMatchingConfig(**config)


@pytest.mark.parametrize(
    ("preset", "d", "size"),
    [("power", 6, 76e3), ("gas", 8, 76e3), ("miniboone", 43, 112e3), ("bsds300", 63, 396e3)],
)
def test_presets_have_the_posters_sizes(preset: str, d: int, size: float) -> None:
    config, found = presets.configure("flow-matching", preset, d, {})
    assert found == preset
    assert FlowMatching(d, config).size() == pytest.approx(size, rel=0.02)


def test_couplings_that_take_hours_are_refused() -> None:
    """7,600 of 10,000 rows: 94 s each. Refused with the estimate, whatever the dimension."""
    config = FlowMatchingConfig(coupling="ot")
    with pytest.raises(ValueError, match=r"7600 .* 10000 .* 198\.\d hours"):
        config.check(6, 7_600, 10_000)
    config.check(2, 5_000, 512)
    FlowMatchingConfig().check(6, 7_600, 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 8])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"coupling": "ot"},
        {"path": "diffusion"},
        {"path": "diffusion", "objective": "score"},
    ],
    ids=str,
)
def test_a_correlated_gaussian_is_recovered(config: dict[str, Any], d: int) -> None:
    """NLL on fresh rows within 0.05 nat of the true density's on the same rows."""
    true = correlated(d)
    flow = FlowMatching(d, FlowMatchingConfig(width=64, learning_rate=5e-3, **config))
    for _ in flow.learn(Stream(true.sample((50_000,)).numpy(), 256, 2_000, seed=0)):
        pass
    x = true.sample((2_000,))
    gap = true.log_prob(x) - Flow(flow, Solver("dopri5", 1e-4, 1e-4)).log_prob(x)
    assert abs(float(gap.mean())) < 0.05


def correlated(d: int) -> torch.distributions.MultivariateNormal:
    """Correlations of 0.7 between neighbours, deviations from 0.5 to 2, means from -1 to 1."""
    index, scale = torch.arange(d), torch.linspace(0.5, 2, d)
    correlation = 0.7 ** (index[:, None] - index).abs()
    return torch.distributions.MultivariateNormal(
        torch.linspace(-1, 1, d), scale[:, None] * correlation * scale
    )
