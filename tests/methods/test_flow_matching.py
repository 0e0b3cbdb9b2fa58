"""Flow matching: its path, its target, and what the regression tends to."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.method import Field
from bench.stream import Stream
from bench_methods.flow_matching import FlowMatching, FlowMatchingConfig
from bench_methods.optimisation import cosine, update

sigmas = pytest.mark.parametrize("sigma_min", [0.0, 1e-4, 0.3, 0.9])


def method(d: int = 3, **config: Any) -> FlowMatching:
    return FlowMatching(d, FlowMatchingConfig(width=8, **config)).double()


def pairs(n: int, d: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    x0, x1 = torch.randn(2, n, d).double()
    return x0, x1, torch.rand(n).double()


@sigmas
def test_the_target_is_the_paths_velocity(sigma_min: float) -> None:
    """d x_t / dt by central differences, at a time of its own for every row."""
    flow, (x0, x1, t), h = method(sigma_min=sigma_min), pairs(20), 1e-6
    _, target = flow.interpolate(x0, x1, t)
    ahead, behind = (flow.interpolate(x0, x1, t + s)[0] for s in (h, -h))
    torch.testing.assert_close(target, (ahead - behind) / (2 * h), rtol=1e-7, atol=1e-8)


@sigmas
def test_the_ends_of_the_path(sigma_min: float) -> None:
    """Noise at t = 0; at t = 1 the data row, blurred by sigma_min."""
    flow, (x0, x1, _) = method(sigma_min=sigma_min), pairs(5)
    start, _ = flow.interpolate(x0, x1, torch.zeros(5).double())
    end, _ = flow.interpolate(x0, x1, torch.ones(5).double())
    torch.testing.assert_close(start, x0)
    torch.testing.assert_close(end, x1 + sigma_min * x0)


def test_the_flow_goes_from_data_at_one_to_noise_at_zero() -> None:
    (piece,) = method().pieces()
    assert (piece.t_data, piece.t_noise) == (1.0, 0.0)


def test_the_identity_at_the_start() -> None:
    """The field is 0, so the first loss is that of a target of variance 2 d at sigma_min = 0."""
    flow = FlowMatching(3, FlowMatchingConfig(width=8))
    rows = torch.randn(20_000, 3).numpy()
    loss = next(flow.learn(Stream(rows, 20_000, 1, seed=0)))["loss"]
    se = math.sqrt(2 * 3 * 4 / 20_000)  # |u|^2 is 2 chi^2 with 3 degrees of freedom
    assert abs(float(loss) - 6) < 5 * se


class AtOneTime(Field):
    """v(t, x) = A x + b, whatever the time."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d, d)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.linear(x)


@pytest.mark.parametrize("sigma_min", [0.0, 0.3])
@pytest.mark.parametrize("time", [0.25, 0.8])
def test_the_regression_tends_to_the_marginal_velocity(sigma_min: float, time: float) -> None:
    """Between N(0, I) and N(m, S) the marginal velocity E[u | x_t] is linear:

    x_t ~ N(t m, C) with C = (1 - s t)^2 I + t^2 S, s = 1 - sigma_min, so that
    E[u | x_t] = m + (t S - s (1 - s t) I) C^-1 (x_t - t m). Least squares on 200,000 pairs at one
    time, through `interpolate`, gives its matrix and offset within 5 standard errors.
    """
    n, slope = 200_000, 1 - sigma_min
    mean = torch.tensor([1.0, -2.0]).double()
    covariance = torch.tensor([[1.5, 0.7], [0.7, 0.6]]).double()
    x1 = torch.distributions.MultivariateNormal(mean, covariance).sample((n,))
    x0, t = torch.randn(n, 2).double(), torch.full((n,), time).double()
    x_t, target = method(2, sigma_min=sigma_min).interpolate(x0, x1, t)
    design = torch.cat([x_t, torch.ones(n, 1).double()], 1)
    fit = torch.linalg.lstsq(design, target).solution
    spread = torch.linalg.inv(design.T @ design).diagonal()[:, None]
    residual = (target - design @ fit).var(0)
    eye = torch.eye(2).double()
    c = (1 - slope * time) ** 2 * eye + time**2 * covariance
    a = (time * covariance - slope * (1 - slope * time) * eye) @ torch.linalg.inv(c)
    oracle = torch.cat([a.T, (mean - a @ (time * mean))[None]])
    assert ((fit - oracle).abs() < 5 * (spread * residual).sqrt()).all()


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


def test_the_loss_is_the_mean_of_squared_distances() -> None:
    """Recomputed from the same draws: noise `(n, d)` first, then times `(n,)`."""
    flow = FlowMatching(2, FlowMatchingConfig(width=8))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.normal_()
    rows = torch.randn(50, 2)
    twin = FlowMatching(2, FlowMatchingConfig(width=8))
    twin.load_state_dict(flow.state_dict())
    torch.manual_seed(4)
    loss = float(next(flow.learn(Stream(rows.numpy(), 50, 1, seed=0)))["loss"])
    x1 = next(Stream(rows.numpy(), 50, 1, seed=0))
    torch.manual_seed(4)
    x0, t = torch.randn(50, 2), torch.rand(50)
    total = 0.0
    with torch.no_grad():
        for k in range(50):
            x_t = (1 - t[k]) * x0[k] + t[k] * x1[k]
            v = twin.field(t[k], x_t[None])[0]
            total += float((v - (x1[k] - x0[k])).square().sum())
    assert loss == pytest.approx(total / 50, rel=1e-4)


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
    ],
)
def test_bad_values(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"width|sigma_min|learning_rate"):
        FlowMatchingConfig(**config)
