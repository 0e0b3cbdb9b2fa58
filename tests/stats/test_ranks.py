"""Ranks, Friedman and Nemenyi against Demšar's example and tables, scipy, and enumeration."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from bench.stats.ranking import cliques, critical_difference, friedman, ranks

# Ranks of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets (Demšar 2006, table 6).
DEMSAR = np.array(
    [
        [4, 3, 2, 1],
        [1, 2, 3, 4],
        [4, 1, 2, 3],
        [4, 1, 3, 2],
        [4, 2, 3, 1],
        [1, 2.5, 4, 2.5],
        [3, 2, 4, 1],
        [2.5, 2.5, 4, 1],
        [4, 3, 2, 1],
        [2.5, 2.5, 2.5, 2.5],
        [4, 2.5, 1, 2.5],
        [3, 2, 4, 1],
        [4, 1, 2, 3],
        [3, 1, 4, 2],
    ]
)

#: Demšar's table 5a: q at 5 % for 2, 3, ... methods.
Q = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]


def score_tables(max_value: int = 6) -> st.SearchStrategy[np.ndarray]:
    """Scores with many ties."""
    shapes = st.tuples(st.integers(2, 7), st.integers(3, 6))
    values = st.integers(0, max_value).map(float)
    return shapes.flatmap(lambda shape: arrays("float64", shape, elements=values))


def test_demsars_example() -> None:
    assert ranks(DEMSAR) == pytest.approx(DEMSAR)
    assert DEMSAR.mean(0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    # Demšar leaves the ties out of χ²; ours is larger by the correction for them.
    ties = 3 * (2**3 - 2) + (4**3 - 4)
    correction = 1 - ties / (14 * (4**3 - 4))
    found = friedman(DEMSAR)
    plain = found.chi2 * correction
    assert plain == pytest.approx(9.28, abs=0.005)
    assert 13 * plain / (14 * 3 - plain) == pytest.approx(3.69, abs=0.005)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_without_ties_chi2_and_f_are_those_of_the_formulas() -> None:
    table = np.array([list(p) for p in list(permutations((1.0, 2, 3, 4)))[:9]])
    n, k = table.shape
    average = [sum(row[j] for row in table) / n for j in range(k)]
    plain = 12 * n / (k * (k + 1)) * (sum(r * r for r in average) - k * (k + 1) ** 2 / 4)
    found = friedman(table)
    assert found.chi2 == pytest.approx(plain)
    assert found.f == pytest.approx((n - 1) * plain / (n * (k - 1) - plain))


@pytest.mark.parametrize(("k", "q"), list(enumerate(Q, start=2)))
def test_critical_values_are_demsars(k: int, q: float) -> None:
    # His are rounded quotients of a rounded table.
    assert critical_difference(k, 1) / math.sqrt(k * (k + 1) / 6) == pytest.approx(q, abs=1.2e-3)


@pytest.mark.parametrize(("k", "alpha"), [(2, 0.05), (3, 0.1), (9, 0.05), (40, 0.01)])
def test_critical_differences_are_those_of_scipys_range(k: int, alpha: float) -> None:
    q = stats.studentized_range.isf(alpha, k, np.inf) / math.sqrt(2)
    assert critical_difference(k, 7, alpha) == pytest.approx(q * math.sqrt(k * (k + 1) / 42))


@given(score_tables())
def test_friedman_is_scipys(scores: np.ndarray) -> None:
    assume((scores != scores[:, :1]).any())
    found = friedman(ranks(scores))
    theirs = stats.friedmanchisquare(*scores.T)
    assert found.chi2 == pytest.approx(theirs.statistic)


def test_iman_davenport_is_the_anova_of_the_ranks() -> None:
    """F is that of methods in a two-way analysis of variance of the ranks without interaction."""
    r = ranks(np.random.default_rng(0).integers(0, 9, (8, 5)))
    between = 8 * ((r.mean(0) - r.mean()) ** 2).sum() / 4
    rest = r - r.mean(0) - r.mean(1, keepdims=True) + r.mean()
    assert friedman(r).f == pytest.approx(between / ((rest**2).sum() / (7 * 4)))


@given(score_tables())
def test_the_exact_p_is_the_share_of_all_relabellings(scores: np.ndarray) -> None:
    scores = scores[:3, :3]
    r = ranks(scores)
    found = friedman(r)
    if not (r != r[:, :1]).any():
        assert found.p == 1
        return
    seen = r.sum(0).var()
    shares = [
        np.sum(rows, axis=0).var() >= seen - 1e-9
        for rows in product(*(list(permutations(row)) for row in r))
    ]
    assert found.exact
    assert found.p == pytest.approx(np.mean(shares))


def test_random_relabellings_are_near_the_approximation() -> None:
    found = friedman(DEMSAR)
    assert not found.exact
    assert found.p == pytest.approx(stats.f.sf(found.f, 3, 39), abs=0.006)
    assert found.p == pytest.approx(stats.chi2.sf(found.chi2, 3), abs=0.006)


def test_perfect_agreement_is_no_proof_on_few_data_sets() -> None:
    two = friedman([[1, 2, 3], [1, 2, 3]])
    assert math.isinf(two.f)
    assert two.p == pytest.approx(1 / 6) == two.least_p
    assert friedman([[1, 2, 3, 4]] * 3).p == pytest.approx(1 / 24**2)


def test_where_all_tie_nothing_differs() -> None:
    found = friedman([[2, 2, 2]] * 4)
    assert (found.chi2, found.f, found.p) == (0, 0, 1)


@given(score_tables(), st.sampled_from([np.exp, np.cbrt, lambda x: -1 / (x + 1), lambda x: 3 * x]))
def test_ranks_do_not_change_under_rising_maps(scores: np.ndarray, rising: object) -> None:
    assert (ranks(rising(scores)) == ranks(scores)).all()  # type: ignore[operator]


@given(score_tables(), st.randoms())
def test_ranks_go_with_their_methods_and_have_a_fixed_sum(
    scores: np.ndarray, random: object
) -> None:
    k = scores.shape[1]
    order = list(range(k))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert (ranks(scores[:, order]) == ranks(scores)[:, order]).all()
    assert ranks(scores).sum(1) == pytest.approx(k * (k + 1) / 2)


def test_no_result_is_the_worst_rank() -> None:
    nan = math.nan
    assert ranks([[nan, 5.0, 1e300, -3.0]]).tolist() == [[4, 2, 3, 1]]
    assert ranks([[nan, 5.0, nan, -3.0]]).tolist() == [[3.5, 2, 3.5, 1]]


@pytest.mark.parametrize("shape", [(1, 5), (5, 2)])
def test_too_few_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="two data sets and three methods"):
        friedman(np.tile(np.arange(1.0, shape[1] + 1), (shape[0], 1)))


def test_cliques_of_demsars_example() -> None:
    # Best and worst are 1.18 < 1.25 apart.
    assert cliques(DEMSAR.mean(0).tolist(), critical_difference(4, 14)) == [(3, 1, 2, 0)]
    assert cliques([1.0, 2.0, 3.5, 3.6], 1.25) == [(0, 1), (2, 3)]
    assert cliques([1.0, 2.0, 3.0], 1.0) == []


@given(st.lists(st.integers(4, 24).map(lambda i: i / 4), min_size=2, max_size=7), st.floats(0.1, 6))
def test_cliques_are_the_maximal_sets_closer_than_cd(average: list[float], cd: float) -> None:
    k = len(average)
    alike = [
        {j for j in range(k) if mask >> j & 1}
        for mask in range(1, 2**k)
        if all(
            abs(average[i] - average[j]) < cd
            for i in range(k)
            for j in range(k)
            if mask >> i & mask >> j & 1
        )
    ]
    largest = [a for a in alike if len(a) > 1 and not any(a < b for b in alike)]
    assert sorted(map(sorted, cliques(average, cd))) == sorted(map(sorted, largest))


@pytest.mark.parametrize("k", [2, 3, 10, 200])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 1e-4])
def test_the_range_of_normal_draws(k: int, alpha: float) -> None:
    """By quadrature: the others lie within q below the largest, z."""
    q = critical_difference(k, 1, alpha) * math.sqrt(2) / math.sqrt(k * (k + 1) / 6)
    z, step = np.linspace(-9.0, 9.0, 2_001, retstep=True)
    within = (stats.norm.cdf(z) - stats.norm.cdf(z - q)) ** (k - 1)
    beyond = 1 - float(k * step * stats.norm.pdf(z) @ within)
    assert beyond == pytest.approx(alpha, rel=1e-6)
