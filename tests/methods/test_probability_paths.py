"""Probability paths: their velocity, their ends, and the marginal velocity between Gaussians."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, nn

from bench.api.method import Field
from bench.numerics.divergence import exact
from bench.numerics.ode import Solver, integrate
from bench_methods.networks import FourierMLP
from bench_methods.probability_flow import PredictedNoise, ProbabilityFlow
from bench_methods.probability_paths import Diffusion, Path, Straight

PATHS = [Straight(), Straight(1e-4), Straight(0.3), Straight(0.9), Diffusion(1e-3), Diffusion(0.1)]
paths = pytest.mark.parametrize("path", PATHS, ids=str)

MEAN = torch.tensor([1.0, -2.0]).double()
COVARIANCE = torch.tensor([[1.5, 0.7], [0.7, 0.6]]).double()


def at(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


def pairs(n: int, d: int = 3) -> tuple[Tensor, Tensor]:
    x0, x1 = torch.randn(2, n, d).double()
    return x0, x1


def gaussian(n: int) -> Tensor:
    return torch.distributions.MultivariateNormal(MEAN, COVARIANCE).sample((n,))


def moments(path: Path, t: float) -> tuple[Tensor, Tensor]:
    """The mean and the covariance of x_t with x1 ~ N(MEAN, COVARIANCE)."""
    a, b = path.position(at(t))
    return a * MEAN, a * a * COVARIANCE + b * b * torch.eye(2).double()


def marginal(path: Path, t: float) -> tuple[Tensor, Tensor]:
    """The matrix and the offset of E[dx_t/dt | x_t], which is linear for Gaussian data."""
    time = at(t)
    (a, b), (a_slope, b_slope) = path.position(time), path.velocity(time)
    mean, c = moments(path, t)
    cross = a_slope * a * COVARIANCE + b_slope * b * torch.eye(2).double()
    matrix = cross @ torch.linalg.inv(c)
    return matrix, a_slope * MEAN - matrix @ mean


@paths
def test_the_velocity_is_the_points_derivative(path: Path) -> None:
    """By central differences, at a time of its own for every row."""
    (x0, x1), h = pairs(40), 1e-6
    t = 0.01 + 0.98 * path.t_data * torch.rand(40).double()
    _, velocity = path.interpolate(x0, x1, t)
    ahead, behind = (path.interpolate(x0, x1, t + s)[0] for s in (h, -h))
    torch.testing.assert_close(velocity, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("sigma_min", [0.0, 1e-4, 0.3, 0.9])
def test_the_ends_of_the_straight_path(sigma_min: float) -> None:
    """Noise at t = 0; at t = 1 the data row, blurred by sigma_min."""
    path, (x0, x1) = Straight(sigma_min), pairs(5)
    assert path.t_data == 1
    start, _ = path.interpolate(x0, x1, torch.zeros(5).double())
    end, _ = path.interpolate(x0, x1, torch.ones(5).double())
    torch.testing.assert_close(start, x0)
    torch.testing.assert_close(end, x1 + sigma_min * x0)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.7, 0.99, 1 - 1e-5])
def test_the_diffusion_is_the_closed_form(t: float) -> None:
    """Song et al.'s closed form, from a quadrature of beta; the variance is preserved."""
    path = Diffusion(1e-5)
    integral = quad(lambda s: 0.1 + 19.9 * s, 0, 1 - t, epsrel=1e-12)[0]
    a, b = path.position(at(t))
    assert float(a) == pytest.approx(math.exp(-integral / 2), rel=1e-10)
    assert float(a**2 + b**2) == pytest.approx(1, rel=1e-10)
    assert float(path.rate(at(t))) == pytest.approx(0.1 + 19.9 * (1 - t))


def test_the_ends_of_the_diffusion() -> None:
    """0.0066 of the data at t = 0, noise of 0.0105 at t = 0.999; past that nothing changes."""
    path = Diffusion(1e-3)
    assert path.t_data == 0.999
    (x0, x1), past = pairs(2), torch.tensor([1.0, 1.3]).double()
    for beyond, end in zip(
        path.interpolate(x0, x1, past), path.interpolate(x0, x1, 0 * past + 0.999), strict=True
    ):
        torch.testing.assert_close(beyond, end)
    assert float(path.position(at(0.0)).data) == pytest.approx(0.0066, abs=5e-5)
    assert float(path.position(at(0.999)).noise) == pytest.approx(0.0105, abs=5e-5)


def test_single_precision_is_enough() -> None:
    """Up to the end of the diffusion path, where 1 - a^2 is a small difference."""
    path, t = Diffusion(1e-5), torch.tensor([0.0, 0.5, 0.999, 1 - 1e-5])
    for single, double in zip(path.position(t), path.position(t.double()), strict=True):
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)


@paths
def test_times_are_uniform_up_to_the_end(path: Path) -> None:
    t = path.draw_times(torch.empty(20_000, 2, dtype=torch.float64)).sort().values
    assert t.dtype == torch.float64
    assert t[0] >= 0
    assert t[-1] <= path.t_data
    uniform = (torch.arange(20_000) + 0.5) / 20_000 * path.t_data
    assert float((t - uniform).abs().max()) < 1.63 / math.sqrt(20_000), "Kolmogorov, at 1 %"


@paths
@pytest.mark.parametrize("time", [0.25, 0.8])
def test_regression_tends_to_the_marginal_velocity(path: Path, time: float) -> None:
    """Least squares on 100,000 pairs at one time, within 5 standard errors of the closed form."""
    n = 100_000
    x_t, target = path.interpolate(
        torch.randn(n, 2).double(), gaussian(n), torch.full((n,), time).double()
    )
    design = torch.cat([x_t, torch.ones(n, 1).double()], 1)
    fit = torch.linalg.lstsq(design, target).solution
    spread = torch.linalg.inv(design.T @ design).diagonal()[:, None]
    residual = (target - design @ fit).var(0)
    matrix, offset = marginal(path, time)
    oracle = torch.cat([matrix.T, offset[None]])
    assert ((fit - oracle).abs() < 5 * (spread * residual).sqrt()).all()


class TrueVelocity(Field):
    """The marginal velocity of Gaussian data."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        matrix, offset = marginal(self.path, float(t))
        return x @ matrix.T + offset


@paths
def test_the_marginal_velocity_carries_noise_to_data(path: Path) -> None:
    """Rows that start as N(0, I) arrive with the mean and the covariance of x at `t_data`.

    The flow of a linear velocity is an affine map: it is read off three rows.
    """
    field = TrueVelocity(path)
    start = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()
    (end,) = integrate(
        lambda t, s: (field(t, s[0]),), (start,), 0.0, path.t_data, Solver("dopri5", 1e-8, 1e-8)
    )
    matrix = (end[1:] - end[0]).T
    (mean0, c0), (mean, covariance) = moments(path, 0.0), moments(path, path.t_data)
    torch.testing.assert_close(end[0] + matrix @ mean0, mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(matrix @ c0 @ matrix.T, covariance, rtol=0, atol=1e-5)


class TrueNoise(Field):
    """E[x0 | x_t] for Gaussian data."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        mean, c = moments(self.path, float(t))
        return self.path.position(t).noise * (x - mean) @ torch.linalg.inv(c)


@pytest.mark.parametrize("time", [0.0, 0.3, 0.9, 0.999])
def test_the_probability_flow_of_the_true_noise(time: float) -> None:
    """It is the marginal velocity, and its divergence is the trace of the latter's matrix."""
    path = Diffusion(1e-3)
    field, t = ProbabilityFlow(TrueNoise(path), path), at(time)
    x = gaussian(20)
    velocity, divergence = field.with_divergence(t, x)
    matrix, offset = marginal(path, time)
    torch.testing.assert_close(velocity, x @ matrix.T + offset)
    torch.testing.assert_close(divergence, matrix.trace().expand(20))


def test_a_network_at_0_predicts_the_noise_in_standard_normal_data() -> None:
    """Then the marginals are N(0, I) at all times, and nothing moves."""
    path = Diffusion(1e-3)
    field = ProbabilityFlow(PredictedNoise(FourierMLP(3, 8, 2, "silu").double(), path), path)
    x, t = torch.randn(20, 3).double(), 0.999 * torch.rand(20).double()
    torch.testing.assert_close(field(t, x), torch.zeros(20, 3).double())


def test_the_network_learns_v() -> None:
    """Its errors are those of v = a x0 - b x1, times a."""
    path, network = Diffusion(1e-3), FourierMLP(3, 8, 2, "silu").double()
    nn.init.normal_(network.layers[-1].space.weight)
    (x0, x1), t = pairs(9), 0.999 * torch.rand(9).double()
    x_t, _ = path.interpolate(x0, x1, t)
    a, b = path.position(t[:, None])
    errors = PredictedNoise(network, path)(t, x_t) - x0
    torch.testing.assert_close(errors, a * (network(t, x_t) - (a * x0 - b * x1)))


@pytest.mark.parametrize("each", [False, True], ids=["one time", "a time each"])
def test_the_divergence_of_the_probability_flow_is_exact(each: bool) -> None:
    """Of a network, against differentiation; one evaluation each, none of them the network's."""
    network, path = FourierMLP(3, 8, 2, "silu").double(), Diffusion(1e-3)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    field = ProbabilityFlow(PredictedNoise(network, path), path)
    x = torch.randn(6, 3).double()
    t = torch.rand(6).double() if each else torch.tensor(0.4).double()
    velocity, divergence = field.with_divergence(t, x)
    torch.testing.assert_close(velocity, field(t, x))
    rows = zip(t.expand(6), x, strict=True)
    true = [exact(lambda y, s=s: field.forward(s, y), row[None])[1] for s, row in rows]
    torch.testing.assert_close(divergence, torch.cat(true))
    assert (field.evaluations, field.noise.evaluations, network.evaluations) == (2, 0, 0)
