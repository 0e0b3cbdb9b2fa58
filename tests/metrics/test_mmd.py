"""The two-sample metrics against slow loops, enumeration, closed forms and laws."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Iterator
from operator import itemgetter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.metrics.kernel_sums import TILE, balanced_signs, factor, pair_sums, rounding
from bench.metrics.mmd import discrepancy, median_distance, null_sums, two_sample


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small samples gain nothing from threads, and lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) + shift


#: V and U, and their thresholds, of the bandwidth `g`.
mmds, taus_of = itemgetter("mmd_g", "mmd_g_u"), itemgetter("tau_g", "tau_g_u")


def kernel(a: Tensor, b: Tensor, gamma: float) -> np.ndarray:
    """By differences in float64: nothing cancels."""
    difference = a.double().numpy()[:, None] - b.double().numpy()[None]
    return np.asarray(np.exp(-(difference**2).sum(-1) / (2 * gamma**2)))


def slow_statistics(x: Tensor, y: Tensor, gamma: float) -> tuple[float, float]:
    """V and U by a double loop over pairs."""
    n = len(x)
    kxx, kyy, kxy = kernel(x, x, gamma), kernel(y, y, gamma), kernel(x, y, gamma)
    v = u = 0.0
    for i in range(n):
        for j in range(n):
            v += (kxx[i, j] + kyy[i, j] - 2 * kxy[i, j]) / n**2
            u -= 2 * kxy[i, j] / n**2
            if i != j:
                u += (kxx[i, j] + kyy[i, j]) / (n * (n - 1))
    return v, u


def all_relabellings(x: Tensor, y: Tensor, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """V and U of every one of the C(2n, n) ways to divide the pooled rows."""
    pooled, n = torch.cat((x, y)), len(x)
    values = []
    for first in itertools.combinations(range(2 * n), n):
        rest = [i for i in range(2 * n) if i not in first]
        values.append(slow_statistics(pooled[list(first)], pooled[rest], gamma))
    v, u = np.array(values).T
    return v, u


@pytest.mark.parametrize(("n", "d"), [(2, 1), (7, 3), (30, 5)])
def test_both_statistics_at_two_bandwidths_are_those_of_a_double_loop(n: int, d: int) -> None:
    x, y, h = normal(n, d, 1), normal(n, d, 2, 0.5), normal(n, d, 3)
    gammas = {"wide": 2.0, "narrow": 0.7}
    found = two_sample(x, y, h, gammas, permutations=19)
    for name, gamma in gammas.items():
        v, u = slow_statistics(x, y, gamma)
        assert found[f"mmd_{name}"] == pytest.approx(v, abs=1e-6)
        assert found[f"mmd_{name}_u"] == pytest.approx(u, abs=1e-6)
        assert found[f"gamma_{name}"] == gamma


@pytest.mark.parametrize("n", [3, 4])
def test_threshold_and_p_value_are_those_of_all_relabellings(n: int) -> None:
    x, y, h = normal(n, 2, 4), normal(n, 2, 5, 0.7), normal(n, 2, 6)
    alpha = 0.22  # (1 - alpha) C(2n, n) is far from a whole number: the quantile is stable
    result = two_sample(x, y, h, {"g": 1.0}, permutations=20_000, alpha=alpha, seed=3)
    null_v, null_u = all_relabellings(x, h, 1.0)
    rank = math.ceil((1 - alpha) * len(null_v)) - 1
    assert result["tau_g"] == pytest.approx(np.sort(null_v)[rank], abs=1e-6)
    assert result["tau_g_u"] == pytest.approx(np.sort(null_u)[rank], abs=1e-6)
    model_v, model_u = all_relabellings(x, y, 1.0)
    exact = float((model_v >= result["mmd_g"] - 1e-6).mean())
    assert exact == float((model_u >= result["mmd_g_u"] - 1e-6).mean())
    assert result["p_g"] == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))


def test_two_separated_samples_are_matched_by_two_labellings_only() -> None:
    x, y = normal(3, 1, 7) * 0.01, normal(3, 1, 8, 1000.0) * 0.01
    p = two_sample(x, y, x, {"g": 1.0}, permutations=20_000)["p_g"]
    assert p == pytest.approx(2 / 20, abs=4 * math.sqrt(0.09 / 20_000))


def test_relabellings_that_change_nothing_are_ties() -> None:
    x = torch.full((6, 2), 0.1)
    x[::2] = 0.3
    result = two_sample(x[:2], x[2:4], x[4:], {"g": 0.37}, permutations=99)
    # {a, b} against {a, b} is the smallest value: every relabelling reaches it
    assert result["p_g"] == 1.0
    assert result["mmd_g"] == pytest.approx(0.0, abs=1e-7)


def test_p_is_one_where_the_bandwidth_kills_every_pair() -> None:
    x, y, h = (1000 * normal(40, 8, s) for s in (1, 2, 3))
    result = two_sample(x, y, h, {"g": 1.0}, permutations=199)
    assert result["p_g"] == 1.0
    assert result["mmd_g_u"] == pytest.approx(0.0, abs=1e-15)


def test_v_is_its_floor_in_43_dimensions_at_unit_bandwidth() -> None:
    n = 500
    x, y, h = normal(n, 43, 1), normal(n, 43, 2, 3.0), normal(n, 43, 3)
    result = two_sample(x, y, h, {"g": 1.0}, permutations=19)
    assert result["mmd_g"] == pytest.approx(1 / n + 1 / n, rel=1e-3)
    assert abs(result["mmd_g_u"]) < 1e-3 * result["mmd_g"]


@pytest.mark.parametrize("n", [2, 3, 4, 5, 38, 150, 151])
def test_median_is_that_of_the_whole_matrix(n: int) -> None:
    x = normal(n, 3, n, shift=50.0)
    full = np.linalg.norm(x.numpy()[:, None] - x.numpy()[None], axis=-1)
    exact = float(np.median(full[np.triu_indices(n, 1)]))
    assert median_distance(x, tile=64) == pytest.approx(exact, rel=1e-7)


def test_median_between_far_apart_middle_values_and_among_duplicates() -> None:
    # 0, 1, 10: pairs 1, 9, 10.  0, 0, 1, 1: pairs 0, 0, 1, 1, 1, 1.
    assert median_distance(torch.tensor([[0.0], [1.0], [10.0]])) == 9.0
    assert median_distance(torch.tensor([[0.0], [0.0], [1.0], [1.0]])) == 1.0
    # pairs 0, 0, 0, 1000, 1000, 1000: the middle two lie in different bins
    assert median_distance(torch.tensor([[0.0]] * 3 + [[1000.0]])) == 500.0
    assert median_distance(torch.zeros(50, 2)) == 0.0


def test_u_averages_to_the_closed_form_between_two_gaussians() -> None:
    d, gamma, shift, scale = 3, 1.5, 0.6, 1.3

    def expected(variance: float, squared_distance: float) -> float:
        """E k of two independent Gaussians whose difference has that variance per coordinate."""
        total = gamma**2 + variance
        return math.pow(gamma**2 / total, d / 2) * math.exp(-squared_distance / (2 * total))

    exact = (
        expected(2.0, 0.0) + expected(2 * scale**2, 0.0) - 2 * expected(1 + scale**2, d * shift**2)
    )
    values = []
    for seed in range(200):
        x, y = normal(80, d, 2 * seed), scale * normal(80, d, 2 * seed + 1) + shift
        values.append(two_sample(x, y, x, {"g": gamma}, permutations=19)["mmd_g_u"])
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert error < 0.05 * exact
    assert np.mean(values) == pytest.approx(exact, abs=3.5 * error)


def test_level_is_five_percent() -> None:
    draws, by_p, by_tau = 1000, 0, 0
    for seed in range(draws):
        x, y, h = normal(3 * 50, 2, 10_000 + seed).view(3, 50, 2)
        result = two_sample(x, y, h, {"g": 1.0}, permutations=99, seed=seed)
        by_p += result["p_g"] <= 0.05
        by_tau += result["mmd_g"] > result["tau_g"]
    print(f"level of the MMD test: {by_p / draws:.4f}, of V against tau: {by_tau / draws:.4f}")
    assert by_p / draws == pytest.approx(0.05, abs=0.01)
    # the threshold comes from another pool than the statistic: its level holds less closely
    assert by_tau / draws == pytest.approx(0.05, abs=0.025)


def test_a_shift_is_found() -> None:
    found = 0
    for seed in range(50):
        x, h = normal(100, 2, 2 * seed), normal(100, 2, 1000 + seed)
        y = normal(100, 2, 2 * seed + 1, shift=0.7)
        result = two_sample(x, y, h, {"g": 1.0}, permutations=99, seed=seed)
        found += result["p_g"] <= 0.05 and result["mmd_g_u"] > result["tau_g_u"]
    assert found >= 48


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 6), st.integers(3, 50))
@settings(max_examples=25, deadline=None)
def test_the_tile_changes_nothing(seed: int, n: int, d: int, tile: int) -> None:
    x, y, h = normal(3 * n, d, seed).view(3, n, d)
    whole = two_sample(x, y, h, {"g": 1.0}, permutations=39, tile=4096)
    tiled = two_sample(x, y, h, {"g": 1.0}, permutations=39, tile=tile)
    assert mmds(tiled) == pytest.approx(mmds(whole), abs=1e-6)
    assert taus_of(tiled) == pytest.approx(taus_of(whole), abs=1e-6)
    assert tiled["p_g"] == whole["p_g"]
    assert median_distance(x, tile=tile) == pytest.approx(median_distance(x), rel=1e-6)


@given(st.integers(0, 10**6), st.integers(2, 20), st.integers(1, 5), st.floats(-1e3, 1e3))
@settings(max_examples=25, deadline=None)
def test_moving_turning_and_reordering_rows_change_no_statistic(
    seed: int, n: int, d: int, shift: float
) -> None:
    x, y, h = normal(3 * n, d, seed).view(3, n, d)
    turn = torch.linalg.qr(normal(d, d, seed + 1)).Q
    moved = two_sample(x @ turn + shift, y @ turn + shift, h @ turn + shift, {"g": 0.8})
    plain = two_sample(x, y, h, {"g": 0.8})
    assert mmds(moved) == pytest.approx(mmds(plain), abs=1e-6)
    assert taus_of(moved) == pytest.approx(taus_of(plain), abs=1e-6)
    assert moved["p_g"] == plain["p_g"]
    swapped = two_sample(y.flip(0), x.flip(0), h, {"g": 0.8}, permutations=19)
    assert mmds(swapped) == pytest.approx(mmds(plain), abs=1e-6)


def test_float32_rows_far_from_the_origin_keep_their_distances() -> None:
    x, y, h = (normal(200, 5, s, shift=1e3).float() for s in (1, 2, 3))
    result = two_sample(x, y, h, {"g": 1.0}, permutations=19)
    assert mmds(result) == pytest.approx(slow_statistics(x, y, 1.0), abs=1e-7)


def test_near_duplicates_far_from_each_other_and_from_the_centre() -> None:
    # two clusters some 2,000 apart, with structure of size 0.01 inside: float32 products lose it
    x, y, h = (0.01 * normal(100, 4, s) for s in (1, 2, 3))
    for sample in (x, y, h):
        sample[50:] += 1e3
    y[:50] += 0.01
    result = two_sample(x, y, h, {"g": 0.01}, permutations=19)
    assert mmds(result) == pytest.approx(slow_statistics(x, y, 0.01), rel=1e-4)


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_threshold() -> None:
    x, y, h = normal(60, 3, 1), normal(60, 3, 2), normal(60, 3, 3)
    first = two_sample(x, y, h, {"g": 1.0}, permutations=99, seed=5)
    assert first == two_sample(x, y, h, {"g": 1.0}, permutations=99, seed=5)
    other = two_sample(x, y, h, {"g": 1.0}, permutations=99, seed=6)
    assert other["tau_g"] != first["tau_g"]
    assert other["mmd_g"] == first["mmd_g"]


def test_the_threshold_falls_as_alpha_grows_and_is_one_of_the_permuted_values() -> None:
    x, y, h = normal(40, 3, 1), normal(40, 3, 2), normal(40, 3, 3)
    taus = [
        two_sample(x, y, h, {"g": 1.0}, permutations=19, alpha=a)["tau_g"]
        for a in (0.05, 0.1, 0.3, 0.5, 0.9)
    ]
    assert taus == sorted(taus, reverse=True)
    assert len(set(taus)) == len(taus)


def test_the_monte_carlo_error_of_tau_is_what_other_permutations_show() -> None:
    """Of 200 draws of 999 permutations each."""
    x, y = normal(40, 2, 0), normal(40, 2, 1)
    found = [two_sample(x, y, y, {"m": 1.0}, permutations=999, seed=seed) for seed in range(200)]
    for tau, error in (("tau_m", "tau_m_se"), ("tau_m_u", "tau_m_u_se")):
        spread = np.std([r[tau] for r in found], ddof=1)
        assert np.mean([r[error] for r in found]) == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize("gamma", [0.3, 2.0])
def test_the_statistics_alone_are_those_of_a_double_loop(gamma: float) -> None:
    x, y = normal(23, 3, 0), normal(23, 3, 1, 0.5)
    assert discrepancy(x, y, gamma, tile=8) == pytest.approx(slow_statistics(x, y, gamma), rel=1e-5)
    with pytest.raises(ValueError, match="have shapes"):
        discrepancy(x, y[:5], gamma)


def test_no_p_value_is_below_one_in_b_plus_one() -> None:
    x, h = normal(50, 2, 1), normal(50, 2, 2)
    assert two_sample(x, x + 5.0, h, {"g": 1.0}, permutations=99)["p_g"] == 1 / 100


@given(st.integers(0, 10**6), st.integers(5, 30))
@settings(max_examples=25, deadline=None)
def test_against_one_sample_p_and_threshold_decide_alike_at_every_level(seed: int, n: int) -> None:
    x, y = normal(2 * n, 2, seed).view(2, n, 2)
    p = two_sample(x, y, y, {"g": 1.0}, permutations=49)["p_g"]
    # p is a multiple of 1/50: the test rejects at level p, and no longer just below it
    for alpha in (p, p - 0.01):
        if 1 / 50 <= alpha < 1:
            result = two_sample(x, y, y, {"g": 1.0}, permutations=49, alpha=alpha)
            assert (result["mmd_g"] > result["tau_g"]) == (result["p_g"] <= alpha)
            assert (result["mmd_g_u"] > result["tau_g_u"]) == (result["p_g"] <= alpha)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": torch.zeros(5, 2)}, "one shape"),
        ({"held_out": torch.zeros(4, 3)}, "one shape"),
        ({"x": torch.zeros(1, 2)}, "at least 2 rows"),
        ({"y": torch.tensor([[0.0, math.nan]] * 3 + [[0.0, 0.0]])}, "3 of 4 rows of y"),
        ({"gammas": {"m": 0.0}}, "'m' must be a positive number"),
        ({"gammas": {"m": math.inf}}, "positive number"),
        ({"gammas": {}}, "No bandwidth"),
        ({"permutations": 18}, "at least 19"),
        ({"alpha": 0.0}, "between 0 and 1"),
    ],
)
def test_wrong_calls_are_refused(change: dict[str, object], message: str) -> None:
    call: dict[str, object] = {
        "x": normal(4, 2, 1),
        "y": normal(4, 2, 2),
        "held_out": normal(4, 2, 3),
        "gammas": {"1": 1.0},
        "permutations": 19,
    }
    two_sample(**call)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        two_sample(**(call | change))  # type: ignore[arg-type]


def test_what_true_data_give_may_be_known_before() -> None:
    x, y, h = normal(700, 2, 1), normal(700, 2, 2, 0.1), normal(700, 2, 3)
    gammas = {"wide": 2.0, "narrow": 0.01}
    null = null_sums(x, h, gammas, permutations=199, seed=4)
    found = two_sample(x, y, h, gammas, permutations=199, seed=4)
    assert found == two_sample(x, y, h, gammas, permutations=199, seed=4, null=null)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 50.0])
@pytest.mark.parametrize("outliers", [0, 5])
def test_relabelled_sums_are_those_of_the_matrix(gamma: float, outliers: int) -> None:
    """By factors of low rank, with rows far from all others and rows that coincide."""
    n, permutations = 1_000, 499
    x, y = normal(n, 2, 1), normal(n, 2, 2, 0.1)
    x[:outliers] *= 300
    y[: n // 10] = x[: n // 10]
    signs = balanced_signs(n, permutations, 0)
    s, t = signs[:, :n], signs[:, n:]
    scale = -0.5 / gamma**2
    xx, xy, yy = pair_sums(x, y, s, t, [scale], TILE)
    for sums, a, b, left, right in ((xx, x, x, s, s), (xy, x, y, s, t), (yy, y, y, t, t)):
        exact = torch.from_numpy(kernel(a, b, gamma))
        if a is b:
            exact.fill_diagonal_(0)
        assert float(sums.plain[0]) == pytest.approx(float(exact.sum()), rel=1e-6)
        signed = ((left.double() @ exact) * right).sum(1)
        slack = rounding(float(exact.sum()), n // 2)
        torch.testing.assert_close(sums.signed[0], signed, rtol=0, atol=slack)
    assert factor(torch.cat([x, y]), scale, permutations) is not None
    assert factor(torch.cat([x, y]), -0.5 / 0.01**2, permutations) is None


def test_median_refuses_what_has_none() -> None:
    with pytest.raises(ValueError, match="at least 2 rows"):
        median_distance(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="not finite"):
        median_distance(torch.tensor([[0.0], [math.inf]]))


LARGE = """
import resource
from time import process_time

import torch
from bench.metrics.mmd import median_distance, two_sample

torch.set_num_threads(1)
x, y, h = torch.randn(3, 10_000, 63, generator=torch.Generator().manual_seed(0))
a, b = torch.rand(1000, 1024), torch.rand(1024, 1024)

def product_rate():
    start = process_time()
    for _ in range(40):
        a @ b
    return 40 * 2 * 1000 * 1024 * 1024 / (process_time() - start)

product_rate()
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rate, start = product_rate(), process_time()
two_sample(x, y, h, {"m": median_distance(x), "1": 1.0})
seconds, rate = process_time() - start, (rate + product_rate()) / 2
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
print(seconds, 2 * 3.5 * 10_000**2 * 1000 * 2 / rate, memory / 1024)
"""


@pytest.mark.slow
def test_ten_thousand_rows_cost_little_more_than_the_plain_product() -> None:
    # processor time of one thread, so that a slower or busier machine changes little
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    seconds, plain, mebibytes = map(float, done.stdout.split())
    print(f"{seconds:.1f} s, {seconds / plain:.2f} x the plain product, {mebibytes:.0f} MiB")
    assert mebibytes < 600
    assert seconds < 2 * plain
