"""The power of the two-sample tests on one known shift, beside that of the best test for it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from scipy.stats import nct, t, ttest_ind
from torch import Tensor

from bench.metrics.mmd import median_distance, two_sample
from bench.metrics.two_sample_tests import FACTORS, aggregated, classifier_test

#: The means are so far apart, in standard deviations of one of two independent columns.
SHIFT = 0.5


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small samples gain nothing from threads, and lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(n: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    rows[:, 0] += shift
    return rows


def powers(n: int, repetitions: int) -> dict[str, float]:
    """The share of repetitions in which each test rejects at 5 %, by 199 relabellings."""
    rejected: Counter[str] = Counter()
    for k in range(repetitions):
        x, y, h = normal(n, 3 * k), normal(n, 3 * k + 1, SHIFT), normal(n, 3 * k + 2)
        bandwidths = {"MMD-m": median_distance(x), "MMD-1": 1.0}
        plain = two_sample(x, y, h, bandwidths, permutations=199, seed=k)
        gammas = [factor * median_distance(torch.cat([x, y])) for factor in FACTORS]
        p = {name: plain[f"p_{name}"] for name in bandwidths} | {
            "aggregated": aggregated(x, y, gammas, permutations=199, seed=k)["p_aggregated"],
            "classifier": classifier_test(x.float().numpy(), y.float().numpy(), seed=k)["p_c2st"],
            "t-test": float(ttest_ind(x[:, 0], y[:, 0]).pvalue),
        }
        rejected.update(name for name, value in p.items() if value <= 0.05)
    return {name: rejected[name] / repetitions for name in p}


def best(n: int) -> float:
    """The power of the two-sided t-test on the shifted column alone."""
    edge = float(t.ppf(0.975, 2 * n - 2))
    found = nct(2 * n - 2, SHIFT * math.sqrt(n / 2))
    return float(found.sf(edge) + found.cdf(-edge))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (60, {"MMD-m": 0.62, "MMD-1": 0.51, "aggregated": 0.58, "classifier": 0.31}),
        (200, {"MMD-m": 0.99, "MMD-1": 0.97, "aggregated": 0.99, "classifier": 0.36}),
    ],
)
def test_the_power_on_a_known_shift(n: int, expected: dict[str, float]) -> None:
    """As measured, within three standard errors of 300 repetitions."""
    found = powers(n, 300)
    print(f"power at n = {n}: {', '.join(f'{k} {v:.3f}' for k, v in found.items())}")
    for name, power in (expected | {"t-test": best(n)}).items():
        error = math.sqrt(max(power * (1 - power), 0.01) / 300)
        assert found[name] == pytest.approx(power, abs=3 * error), name
