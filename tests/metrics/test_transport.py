"""Cost and straightness against a quadrature of the definition along known paths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.metrics.flow_measures import transport


@pytest.mark.parametrize("duration", [1.0, 2.5])
def test_straightness_is_the_quadrature_of_its_definition(duration: float) -> None:
    # circular arcs run through at growing speed: x(s) = r (cos(a s^2), sin(a s^2)), s = t / T
    radius, angle = np.array([1.0, 2.0, 0.5]), np.array([0.3, 1.0, 2.0])
    nodes, weights = np.polynomial.legendre.leggauss(60)
    s, w = (nodes + 1) / 2, weights / 2
    phase = angle[:, None] * s**2
    speed = radius[:, None] * angle[:, None] * 2 * s
    velocity = np.stack((-np.sin(phase), np.cos(phase)), -1) * speed[..., None]  # per unit of s
    x0 = np.stack((radius, 0 * radius), -1)
    x1 = np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1)
    deviation = ((velocity - (x1 - x0)[:, None]) ** 2).sum(-1)
    kinetic = (speed**2 / duration**2) @ w * duration  # in the path's own time

    result = transport(torch.tensor(x0), torch.tensor(x1), torch.tensor(kinetic), duration=duration)
    chord = 2 * radius * np.sin(angle / 2)
    assert result.cost == pytest.approx(float((chord**2).mean()), rel=1e-12)
    assert result.straightness == pytest.approx(float((deviation @ w).mean()), rel=1e-10)


def test_straight_paths_at_constant_speed_have_none_in_either_direction() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, x1 = torch.randn(2, 100, 5, generator=generator, dtype=torch.float64)
    kinetic = (x1 - x0).pow(2).sum(1)
    forth, back = transport(x0, x1, kinetic), transport(x1, x0, kinetic)
    assert forth == back
    assert forth.straightness == pytest.approx(0.0, abs=1e-12)
    assert forth.cost == pytest.approx(float(kinetic.mean()))


def test_wrong_calls_are_refused() -> None:
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="shapes are"):
        transport(x, x[:2], torch.zeros(3))
    with pytest.raises(ValueError, match="shapes are"):
        transport(x, x, torch.zeros(3, 1))
    with pytest.raises(ValueError, match="positive"):
        transport(x, x, torch.zeros(3), duration=0.0)
    with pytest.raises(ValueError, match="1 of 3 paths"):
        transport(x, x, torch.tensor([0.0, math.nan, 0.0]))
