"""The aggregated two-sample test against enumeration by hand, its level and its power."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.metrics.kernel_sums import balanced_signs
from bench.metrics.mmd import median_distance, two_sample
from bench.metrics.two_sample_tests import FACTORS, aggregated


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) + shift


def by_hand(x: Tensor, y: Tensor, gammas: list[float], permutations: int) -> tuple[float, float]:
    """p and the statistic by loops over bandwidths and labellings, from the whole kernel matrix."""
    pooled = torch.cat([x, y]).numpy()
    distances = ((pooled[:, None] - pooled[None]) ** 2).sum(-1)
    n = len(x)
    observed = np.concatenate([np.ones(n), -np.ones(n)])
    labellings = [observed, *balanced_signs(n, permutations, 0).double().numpy()]
    largest = np.full(len(labellings), -np.inf)
    for gamma in gammas:
        kernel = np.exp(-distances / (2 * gamma**2))
        np.fill_diagonal(kernel, 0)
        values = [s @ kernel @ s for s in labellings]
        for i, value in enumerate(values):
            largest[i] = max(largest[i], (value - np.mean(values)) / np.std(values))
    return float(np.mean(largest >= largest[0] - 1e-9)), float(largest[0])


@pytest.mark.parametrize("shift", [0.0, 0.3, 3.0])
def test_it_is_that_of_loops(shift: float) -> None:
    x, y = normal(30, 2, 1), normal(30, 2, 2, shift)
    gammas = [0.3, 1.0, 3.0]
    found = aggregated(x, y, gammas, permutations=60, tile=16)
    p, largest = by_hand(x, y, gammas, 60)
    assert found["p_aggregated"] == pytest.approx(p, abs=1e-12)
    assert found["aggregated_largest"] == pytest.approx(largest, rel=1e-4)
    assert found["aggregated_n"] == 30


def test_of_one_bandwidth_it_is_the_plain_test() -> None:
    for seed in range(5):
        x, y = normal(40, 3, seed), normal(40, 3, seed + 100, 0.2)
        plain = two_sample(x, y, y, {"m": 1.0}, permutations=199)
        found = aggregated(x, y, [1.0], permutations=199)
        assert found["p_aggregated"] == pytest.approx(plain["p_m"])


def test_it_finds_what_the_median_bandwidth_does_not() -> None:
    """Stripes of width 0.1: the median distance smooths over them, a narrow one does not."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(400, 1, generator=generator, dtype=torch.float64)
    y = torch.rand(400, 1, generator=generator, dtype=torch.float64)
    y = (torch.floor(10 * y) + 0.5 * (10 * y % 1)) / 10  # the left half of each stripe
    median = median_distance(x)
    plain = two_sample(x, y, x + 1e-9, {"m": median}, permutations=199)
    found = aggregated(x, y, [f * median for f in FACTORS], permutations=199)
    assert plain["p_m"] > 0.05
    assert found["p_aggregated"] <= 0.01
    assert found["aggregated_gamma"] < 0.15


def test_a_bandwidth_that_no_pair_reaches_takes_no_part() -> None:
    x, y = normal(20, 2, 1), normal(20, 2, 2, 0.4)
    assert aggregated(x, y, [1e-9, 1.0], permutations=99)["p_aggregated"] == pytest.approx(
        aggregated(x, y, [1.0], permutations=99)["p_aggregated"]
    )
    assert aggregated(x, y, [1e-9], permutations=99)["p_aggregated"] == 1


def level(repetitions: int, n: int, permutations: int) -> float:
    rejected = 0
    for k in range(repetitions):
        x, y = normal(n, 2, 2 * k), normal(n, 2, 2 * k + 1)
        gammas = [f * median_distance(torch.cat([x, y])) for f in FACTORS]
        rejected += (
            aggregated(x, y, gammas, permutations=permutations, seed=k)["p_aggregated"] <= 0.05
        )
    return rejected / repetitions


@pytest.mark.slow
def test_the_level_over_a_thousand_repetitions() -> None:
    found = level(1_000, 60, 199)
    print(f"level of the aggregated test: {found:.4f}")
    assert 0.04 <= found <= 0.06


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gammas": []}, "positive bandwidths"),
        ({"gammas": [0.0]}, "positive bandwidths"),
        ({"permutations": 0}, "one permutation"),
        ({"y": torch.zeros(4, 2)}, "have shapes"),
        ({"x": torch.full((5, 2), torch.nan)}, "5 of 5 rows of x are not finite"),
    ],
)
def test_wrong_calls(change: dict[str, object], words: str) -> None:
    given = {"x": normal(5, 2, 0), "y": normal(5, 2, 1), "gammas": [1.0], "permutations": 9}
    with pytest.raises(ValueError, match=words):
        aggregated(**(given | change))  # type: ignore[arg-type]
