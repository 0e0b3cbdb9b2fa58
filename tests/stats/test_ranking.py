"""A ranking's numbers and the words that go with them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats.ranking import Ranking, critical_difference, explain, explain_pairs


def ranking(scores: object) -> Ranking:
    table = np.asarray(scores, dtype="float64")
    methods = tuple("abcdefgh"[: table.shape[1]])
    datasets = tuple(f"set{i}" for i in range(len(table)))
    return Ranking("NLL", methods, datasets, table)


def apart(n: int, k: int) -> np.ndarray:
    """Scores by which all data sets rank the methods alike."""
    return np.tile(np.arange(float(k)), (n, 1))


def test_average_ranks_in_their_order() -> None:
    found = ranking([[3, 1, 2], [3, 2, 1]])
    assert found.average == (3, 1.5, 1.5)
    assert found.order == [1, 2, 0]
    text = explain(found)
    assert "Average ranks by NLL over 2 data sets (set0, set1; 1 is best)" in text
    assert "b 1.50, c 1.50, a 3.00." in text
    assert "χ²(2) = 3.00" in text


def test_two_data_sets_of_three_methods_are_too_few_for_any_test() -> None:
    text = explain(ranking(apart(2, 3)))
    assert "F(2, 2) = inf" in text
    assert "p = 0.17 (exact)" in text
    assert "3 methods on 2 data sets: too few for any test" in text
    assert "significant" not in text


def test_where_no_difference_could_reach_cd_it_is_said() -> None:
    cd = critical_difference(5, 2)
    assert cd > 4
    text = explain(ranking(apart(2, 5)))
    assert f"too few for Nemenyi's test, whose critical difference at 5 % is {cd:.2f}" in text
    assert "ranks differ by at most 4" in text


def test_where_friedman_is_silent_no_pair_is_tested_and_all_are_one_clique() -> None:
    scores = np.random.default_rng(1).normal(size=(12, 4))
    found = ranking(scores)
    assert found.friedman.p > 0.05
    assert "no pair is tested" in explain(found)
    assert found.cliques == [tuple(found.order)]


def test_pairs_beyond_cd_are_named() -> None:
    found = ranking(apart(4, 5))
    cd = critical_difference(5, 4)
    assert 3 < cd < 4
    text = explain(found)
    assert f"critical difference at 5 % is {cd:.2f} (a rough" in text
    assert "significant: a from e." in text
    assert found.cliques == [(0, 1, 2, 3), (1, 2, 3, 4)]
    assert "rough" not in explain(ranking(apart(12, 5)))
    assert "significant: a from c, d and e; b from d and e; c from e." in explain(
        ranking(apart(12, 5))
    )


def test_a_missing_result_takes_the_worst_rank_and_is_named() -> None:
    scores = apart(3, 3)
    scores[1, 0] = math.nan
    found = ranking(scores)
    assert found.ranks[1].tolist() == [3, 1, 2]
    assert "the worst rank there: a on set1." in explain(found)


@pytest.mark.parametrize(
    ("n", "k", "said"),
    [
        (3, 3, "least p 0.25 before the correction); it takes 7"),
        (6, 3, "least p 0.031 before the correction); it takes 7"),
        (7, 3, "at 5 % these differ: a and b (p = 0.047)"),
    ],
)
def test_wilcoxon_says_when_it_can_not_tell(n: int, k: int, said: str) -> None:
    # sizes that differ, so that nothing ties
    scores = apart(n, k) * np.arange(1, n + 1)[:, None]
    text = explain_pairs(ranking(scores))
    assert said in text


def test_wilcoxon_that_finds_nothing() -> None:
    scores = np.random.default_rng(2).normal(size=(12, 3))
    text = explain_pairs(ranking(scores))
    assert text.endswith("no pair differs at 5 %.")


def test_three_methods_and_two_data_sets_are_enough() -> None:
    sizes = [(2, 3), (1, 3), (2, 2)]
    assert [ranking(np.zeros(shape)).enough for shape in sizes] == [True, False, False]
    assert ranking(np.zeros((1, 1))).size == "1 method on 1 data set"
    with pytest.raises(ValueError, match="two data sets and three methods"):
        assert ranking(np.zeros((1, 3))).friedman
