"""Holm and Wilcoxon against scipy, enumeration and worked numbers."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.stats.significance import holm, least_p, needed, signed_rank, wilcoxon

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


@given(PROBABILITIES)
def test_holm_is_the_closed_test_with_bonferroni(p: list[float]) -> None:
    """A hypothesis falls when every intersection that holds it falls by Bonferroni."""
    subsets = [s for r in range(1, len(p) + 1) for s in combinations(range(len(p)), r)]
    closed = [
        max(min(1.0, len(s) * min(p[j] for j in s)) for s in subsets if i in s)
        for i in range(len(p))
    ]
    assert holm(p) == pytest.approx(closed)


@given(st.lists(st.integers(-40, 40).filter(bool), min_size=1, max_size=20, unique_by=abs))
def test_signed_rank_is_scipys_where_nothing_ties(d: list[int]) -> None:
    assert signed_rank(d) == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)


@given(st.lists(st.integers(-3, 3), max_size=8))
def test_signed_rank_is_the_share_of_all_signs(d: list[int]) -> None:
    left = [x for x in d if x]
    size = stats.rankdata(np.abs(left)) if left else np.zeros(0)
    seen = abs(sum(np.sign(left) * size))
    sums = [abs(np.dot(signs, size)) for signs in product((-1, 1), repeat=len(left))]
    assert signed_rank(d) == pytest.approx(np.mean([s >= seen - 1e-9 for s in sums]))


@pytest.mark.parametrize("n", [1, 2, 5, 6, 9])
def test_the_least_p_is_reached_where_all_differ_one_way(n: int) -> None:
    assert signed_rank(np.arange(1, n + 1)) == pytest.approx(least_p(n))


def test_six_data_sets_reach_5_percent_and_five_do_not() -> None:
    assert least_p(5) > 0.05 > least_p(6)
    assert needed(1) == 6
    # ten pairs of five methods: 2^(1 - N) is at most 0.005 from N = 9 on
    assert needed(10) == 9


def test_no_result_counts_as_the_largest_loss() -> None:
    scores = np.array([[1.0, 2.0], [1.0, 3.0], [math.nan, 1.0], [math.nan, math.nan]])
    # differences of -1, -2, the largest, and none at all
    assert wilcoxon(scores) == {(0, 1): pytest.approx(signed_rank([-1, -2, 100]))}


def test_every_pair_once_and_corrected() -> None:
    scores = np.random.default_rng(0).normal(size=(9, 4)) + np.array([0, 0, 0, 9])
    found = wilcoxon(scores)
    assert list(found) == list(combinations(range(4), 2))
    theirs = [stats.wilcoxon(*scores.T[list(pair)], method="exact").pvalue for pair in found]
    assert list(found.values()) == pytest.approx(holm(theirs))
