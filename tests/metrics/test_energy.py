"""The energy distance against a slow loop, a closed form and its laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.api.declarations import Evaluated
from bench.metrics.energy import MAX_ROWS, energy_distance, mean_distance, squared_energy
from bench.records import catalogue


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) + shift


def slow(x: Tensor, y: Tensor) -> float:
    """By a loop over all pairs, in Python's own floats."""

    def mean(a: Tensor, b: Tensor) -> float:
        pairs = [math.dist(p, q) for p in a.tolist() for q in b.tolist()]
        return math.fsum(pairs) / len(pairs)

    return 2 * mean(x, y) - mean(x, x) - mean(y, y)


def distance(x: Tensor, y: Tensor) -> float:
    return squared_energy(x, y, mean_distance(y, y))


def test_against_a_slow_loop() -> None:
    x, y, held_out = normal(31, 3, 0), normal(31, 3, 1, 0.5), normal(31, 3, 2)
    found = energy_distance(Evaluated(y, held_out, x, None, 0))
    assert found["energy"] == pytest.approx(slow(x, y), rel=1e-12)
    assert found["energy_data"] == pytest.approx(slow(held_out, y), rel=1e-12)


def test_two_shifted_normals() -> None:
    """|N(m, 2)| has the mean 2 / sqrt(pi) exp(-m^2 / 4) + m erf(m / 2)."""
    m, n = 1.5, 4_000
    expected = 2 * (2 / math.sqrt(math.pi) * math.exp(-(m**2) / 4) + m * math.erf(m / 2))
    expected -= 2 * 2 / math.sqrt(math.pi)
    found = [distance(normal(n, 1, 2 * k), normal(n, 1, 2 * k + 1, m)) for k in range(4)]
    assert sum(found) / 4 == pytest.approx(expected, rel=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(-5, 5))
def test_moves_change_nothing_and_scales_scale(seed: int, scale: float, shift: float) -> None:
    x, y = normal(20, 2, seed), normal(20, 2, seed + 1, 0.3)
    plain = distance(x, y)
    assert plain >= -1e-12
    assert distance(x, x) == pytest.approx(0, abs=1e-12)
    assert distance(y, x) == pytest.approx(plain, rel=1e-9)
    assert distance(scale * x + shift, scale * y + shift) == pytest.approx(
        scale * plain, rel=1e-7, abs=1e-9
    )


def test_many_rows_are_cut() -> None:
    x, y = normal(MAX_ROWS + 50, 1, 0), normal(MAX_ROWS + 50, 1, 1)
    cut = energy_distance(Evaluated(y[:MAX_ROWS], x[:MAX_ROWS], x[:MAX_ROWS], None, 0))
    assert energy_distance(Evaluated(y, x, x, None, 0)) == cut


def test_it_is_one_entry_of_the_catalogue() -> None:
    assert [metric.name for metric in catalogue.metrics()] == ["energy"]
    assert catalogue.measures()["energy"].better == "lower"
    assert {"energy", "energy_data"} <= {*catalogue.sets()["samples"]}
