"""Which methods are not worse than the best: worked cases, scipy, and the error held."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from bench.stats.significance import Scores, decide, paired

RNG = np.random.default_rng


def scores(
    log_prob: np.ndarray, *, first: int = 0, keep: bool = True, groups: np.ndarray | None = None
) -> Scores:
    """What a method scored whose log-densities are `(seeds, rows)`."""
    seeds = range(first, first + len(log_prob))
    return Scores(
        {s: -float(row.mean()) for s, row in zip(seeds, log_prob, strict=True)},
        float(np.mean(log_prob.std(axis=1, ddof=1) / math.sqrt(log_prob.shape[1]))),
        dict(zip(seeds, log_prob, strict=True)) if keep else {},
        groups,
    )


def study(rng: np.random.Generator, worse: list[float], seeds: int = 3) -> list[np.ndarray]:
    """Log-densities of methods that are worse than the first by so many nats."""
    hard = rng.standard_normal((1, 200)) * 3
    return [
        hard - w + 0.05 * rng.standard_normal((seeds, 1)) + 0.3 * rng.standard_normal((seeds, 200))
        for w in worse
    ]


def test_pairs_are_paired_and_corrected_over_all_pairs() -> None:
    tables = study(RNG(0), [0.0, 0.1, 0.6])
    found = decide([scores(t) for t in tables])
    assert (found.test, found.seeds, found.rows, found.groups) == ("paired", 3, 200, 200)
    p = {(i, j): paired(tables[i] - tables[j]) for i, j in combinations(range(3), 2)}
    order = sorted(p, key=lambda pair: p[pair])
    step = {pair: (3 - i) * p[pair] for i, pair in enumerate(order)}
    for j in (1, 2):
        earlier = [step[pair] for pair in order[: order.index((0, j)) + 1]]
        assert found.p[j] == pytest.approx(min(1, max(earlier)))
    assert found.best == 0
    assert found.p[0] == 1
    assert 2 not in found.kept


def test_pairing_sees_what_means_over_seeds_do_not() -> None:
    """Seeds that shift both methods alike, and rows hard for both, cancel out."""
    rng = RNG(1)
    shared = rng.standard_normal((3, 1)) + 3 * rng.standard_normal((1, 400))
    one = shared + 0.01 * rng.standard_normal((3, 400))
    two = shared - 0.1 + 0.01 * rng.standard_normal((3, 400))
    assert decide([scores(one), scores(two)]).kept == (0,)
    apart = decide([scores(one, keep=False), scores(two, keep=False)])
    assert (apart.test, apart.kept) == ("welch", (0, 1))


def test_without_densities_it_is_welch_over_seeds() -> None:
    tables = study(RNG(2), [0.0, 0.2], seeds=4)
    found = decide([scores(tables[0]), scores(tables[1], keep=False)])
    theirs = stats.ttest_ind(tables[0].mean(1), tables[1].mean(1), equal_var=False)
    assert found.p[1] == pytest.approx(theirs.pvalue)
    assert (found.test, found.seeds, found.rows) == ("welch", 4, 0)


def test_other_seeds_are_not_paired() -> None:
    tables = study(RNG(3), [0.0, 0.2])
    assert decide([scores(tables[0]), scores(tables[1], first=1)]).test == "welch"


def test_one_seed_pairs_rows_on_the_seed_that_all_have() -> None:
    tables = study(RNG(4), [0.0, 0.5])
    found = decide([scores(tables[0]), scores(tables[1][1:2], first=1)])
    assert (found.test, found.seeds, found.rows) == ("paired rows", 1, 200)
    theirs = stats.ttest_rel(tables[0][1], tables[1][1])
    assert found.p[1] == pytest.approx(theirs.pvalue)


def test_one_seed_without_densities_goes_by_the_standard_errors() -> None:
    found = decide([Scores({0: 1.0}, 0.3), Scores({0: 2.0}, 0.4), Scores({5: 9.0}, 0.0)])
    assert (found.test, found.best) == ("rows", 0)
    z = 2 * stats.norm.sf(1.0 / 0.5)
    assert found.p[1] == pytest.approx(z)
    assert found.kept == (0, 1) if z > 0.05 else (0,)


def test_with_nothing_to_go_by_nothing_is_decided() -> None:
    found = decide([Scores({0: 1.0}), Scores({0: 2.0})])
    assert (found.test, found.best, found.kept) == ("none", 0, ())
    assert all(math.isnan(p) for p in found.p)


def test_groups_count() -> None:
    rng = RNG(5)
    labels = np.repeat(np.arange(8), 25)
    shift = 0.5 * rng.standard_normal(8)[labels] + 0.2
    one = rng.standard_normal((2, 200))
    two = one - shift + 0.01 * rng.standard_normal((2, 200))
    free = decide([scores(one), scores(two)])
    grouped = decide([scores(one, groups=labels), scores(two, groups=labels)])
    assert grouped.groups == 8
    assert grouped.p[1] > 10 * free.p[1]
    assert grouped.p[1] == pytest.approx(paired(one - two, labels))


def test_equal_methods_are_called_worse_in_at_most_5_percent_of_studies() -> None:
    """Five equal methods, the best chosen by the data: Holm over all pairs holds the level."""
    rng, studies, calls = RNG(6), 1_500, 0
    for _ in range(studies):
        tables = rng.standard_normal((5, 1, 1, 40))
        found = decide([scores(t[0]) for t in tables])
        calls += len(found.kept) < 5
    # two standard errors of such a share above the level
    assert calls / studies <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / studies), calls / studies


def test_a_true_difference_is_found() -> None:
    found = decide([scores(t) for t in study(RNG(7), [0.0, 2.0, 0.0])])
    assert 1 not in found.kept
    assert found.best in found.kept


def test_what_can_not_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="two methods"):
        decide([Scores({0: 1.0})])
    with pytest.raises(ValueError, match="finite"):
        decide([Scores({0: 1.0}), Scores({0: math.inf})])
