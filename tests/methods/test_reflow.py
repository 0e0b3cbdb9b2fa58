"""The pairs a flow makes: ends, cost and straightness in closed form, and what a reflow does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from bench.api.method import Field
from bench.numerics.ode import Solver
from bench_methods.networks import FourierMLP
from bench_methods.optimisation import cosine, update
from bench_methods.probability_paths import Straight
from bench_methods.reflow import ROWS_AT_ONCE, follow

TIGHT = Solver("dopri5", 1e-9, 1e-9)


class Growth(Field):
    """v = a x."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return 0.7 * x


class Rotation(Field):
    """v = w J x."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return 1.2 * torch.stack([-x[:, 1], x[:, 0]], 1)


class Stretch(Field):
    """Straight paths x_t = (1 + (s - 1) t) x0 with s = 3."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return 2 * x / (1 + 2 * t)


class Mixtures(Field):
    """The marginal velocity between mixtures of spherical Gaussians, paired independently.

    Given the components i and j, x_t is Gaussian about (1 - t) m_i + t n_j with the variance
    c = (1 - t)^2 s^2 + t^2 r^2, and the velocity is linear in x_t; Bayes gives the components.
    """

    def __init__(self, starts: Tensor, s: float, ends: Tensor, r: float) -> None:
        super().__init__()
        self.starts, self.s, self.ends, self.r = starts, s, ends, r

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        c = (1 - t) ** 2 * self.s**2 + t**2 * self.r**2
        means = (1 - t) * self.starts[:, None] + t * self.ends[None]
        off = x[:, None, None] - means
        weights = torch.softmax((-0.5 * off.square().sum(-1) / c).flatten(1), 1).view(off.shape[:3])
        slope = (t * self.r**2 - (1 - t) * self.s**2) / c
        each = self.ends[None] - self.starts[:, None] + slope * off
        return (weights[..., None] * each).sum((1, 2))


def draws(means: Tensor, deviation: float, n: int) -> Tensor:
    """Rows `(n, d)` of a mixture with equal weights."""
    return means[torch.randint(len(means), (n,))] + deviation * torch.randn(n, means.shape[1])


@pytest.mark.parametrize(
    ("field", "matrix", "cost", "energy"),
    [
        (Growth(), math.exp(0.7) * np.eye(2), (math.exp(0.7) - 1) ** 2, 0.35 * math.expm1(1.4)),
        (
            Rotation(),
            [[math.cos(1.2), -math.sin(1.2)], [math.sin(1.2), math.cos(1.2)]],
            2 - 2 * math.cos(1.2),
            1.44,
        ),
        (Stretch(), 3 * np.eye(2), 4.0, 4.0),
    ],
    ids=["growth", "rotation", "straight"],
)
def test_pairs_of_linear_fields_match_closed_forms(
    field: Field, matrix: np.ndarray, cost: float, energy: float
) -> None:
    """In closed form; cost and energy E int |v|^2 dt are per unit of E|x0|^2."""
    x0 = torch.randn(100, 2).double()
    pairs, size = follow(field, x0, TIGHT), float(x0.square().sum(-1).mean())
    assert torch.equal(pairs.x0, x0)
    torch.testing.assert_close(pairs.x1, x0 @ torch.as_tensor(matrix).double().T)
    assert pairs.cost == pytest.approx(cost * size, rel=1e-6)
    assert pairs.straightness == pytest.approx((energy - cost) * size, abs=1e-6)


def test_evaluations_of_all_parts_are_counted() -> None:
    """Rows beyond a part's size are solved apart, and every evaluation is counted."""
    x0, field = torch.randn(ROWS_AT_ONCE + 3, 2).double(), Rotation()
    whole = follow(field, x0, TIGHT)
    both, field.evaluations = field.evaluations, 0
    first = follow(field, x0[:ROWS_AT_ONCE], TIGHT)
    last = follow(field, x0[ROWS_AT_ONCE:], TIGHT)
    assert both == field.evaluations >= 14
    assert torch.equal(whole.x1, torch.cat([first.x1, last.x1]))
    mean = (first.cost * ROWS_AT_ONCE + last.cost * 3) / (ROWS_AT_ONCE + 3)
    assert whole.cost == pytest.approx(mean)


def test_pairs_hold_no_graph() -> None:
    assert not follow(FourierMLP(2, 8, 1, "tanh"), torch.randn(5, 2), Solver()).x1.requires_grad


def test_on_a_line_a_flow_makes_the_optimal_coupling() -> None:
    """Paths on a line can't cross: the ends are the target's quantiles at the starts' ranks."""
    starts, ends = torch.tensor([[-2.0], [1.5]]).double(), torch.tensor([[-1.0], [4.0]]).double()
    field, x0 = Mixtures(starts, 0.8, ends, 0.5), torch.linspace(-4, 3, 15).double()[:, None]

    def quantile(x: float) -> float:
        rank = norm.cdf((x - starts.numpy()[:, 0]) / 0.8).mean()
        return float(
            brentq(lambda y: norm.cdf((y - ends.numpy()[:, 0]) / 0.5).mean() - rank, -9, 9)
        )

    oracle = torch.tensor([[quantile(float(x))] for x in x0], dtype=torch.float64)
    torch.testing.assert_close(follow(field, x0, TIGHT).x1, oracle, rtol=0, atol=1e-6)


def test_a_reflow_between_two_mixtures() -> None:
    """It keeps the marginals, does not raise the cost, and straightens the paths.

    The first flow is the true one. Independent pairs cost E|x1|^2 + E|x0|^2 - 2 E[x1] E[x0]. The
    second flow is a network's regression on the first one's pairs.
    """
    torch.manual_seed(0)
    starts = torch.tensor([[0.0, -2.0], [0.0, 2.0]])
    ends = torch.tensor([[4.0, -2.0], [4.0, 2.0], [5.0, 0.0]])
    n, path = 4_096, Straight()
    solver = Solver("dopri5", 1e-4, 1e-4)
    first = follow(Mixtures(starts, 0.5, ends, 0.4), draws(starts, 0.5, n), solver)
    independent = 16 * 2 / 3 + 25 / 3 + 4 * 2 / 3 + 2 * 0.4**2 + 4 + 2 * 0.5**2
    assert first.cost < independent - 4
    assert first.straightness > 0.5

    field = FourierMLP(2, 64, 4, "silu")
    optimizer = torch.optim.Adam(field.parameters())
    for k in range(1_000):
        rows = torch.randint(n, (256,))
        x_t, target = path.interpolate(first.x0[rows], first.x1[rows], t := torch.rand(256))
        loss = (field(t, x_t) - target).square().sum(-1).mean()
        update(optimizer, loss, 1e-2 * cosine(k / 1_000), 1.0)
    second = follow(field, draws(starts, 0.5, n), solver)
    assert second.cost < 1.01 * first.cost
    assert second.straightness < 0.1 * first.straightness
    truth = draws(ends, 0.4, n)
    for pairs in (first, second):
        assert (pairs.x1.mean(0) - truth.mean(0)).abs().max() < 0.12  # 5 standard errors are 0.13
        assert (pairs.x1.T.cov() - truth.T.cov()).abs().max() < 0.2
        near = torch.cdist(pairs.x1, ends).argmin(1).bincount() / n
        assert (near - 1 / 3).abs().max() < 0.06  # beyond 5 s.e. of sampling, 0.04
