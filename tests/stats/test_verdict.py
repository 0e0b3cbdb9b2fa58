"""The verdict on samples: one test decides, and another is named only where it contradicts it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from bench.tables.marks import Verdict, rejecting, verdict


def rejected(p: list[float], level: float) -> list[bool]:
    """Holm's procedure as a closed test: a hypothesis is rejected if Bonferroni rejects every
    intersection of hypotheses that it is part of."""
    sets = [c for n in range(1, len(p) + 1) for c in combinations(range(len(p)), n)]
    holds = {c: min(p[i] for i in c) > level / len(c) for c in sets}
    return [not any(holds[c] for c in sets if i in c) for i in range(len(p))]


@pytest.mark.parametrize("seed", range(200))
def test_it_is_holm_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ("MMD-m", "MMD-1", "classifier")
    seeds = int(rng.integers(1, 3))

    def draw(n: int) -> list[float]:
        return [float(v) for v in rng.choice([0.001, 0.004, 0.01, 0.02, 0.03, 0.2, 0.7], n)]

    decisive = draw(seeds)
    others = {name: draw(seeds) for name in names if rng.random() < 0.8}
    found = verdict(decisive, others)

    assert found.differ == any(rejected(decisive, 0.05))
    every = [*decisive, *(p for values in others.values() for p in values)]
    fails = iter(rejected(every, 0.05)[seeds:])
    expected = tuple(name for name in others if sum(next(fails) for _ in range(seeds)))
    assert found.others == expected
    assert found.disagreeing == (() if found.differ else expected)


def test_p_is_the_smallest_after_the_correction() -> None:
    found = verdict([0.5, 0.01, 0.02], {})
    assert found == Verdict(True, 0.03)
    assert str(found) == "differ (p = 0.03)"
    assert verdict([0.5, 0.6], {}).p == 1.0


def test_a_test_that_finds_nothing_contradicts_nothing() -> None:
    found = verdict([0.001], {"MMD-m": [0.9], "MMD-1": [0.001]})
    assert (found.differ, found.others, found.disagreeing) == (True, ("MMD-1",), ())


def test_tests_that_were_not_made_do_not_count() -> None:
    """Of two p-values 0.025 is significant, of three it is not."""
    assert verdict([0.9], {"MMD-m": [0.025], "classifier": []}).disagreeing == ("MMD-m",)
    assert verdict([0.9], {"MMD-m": [0.025], "classifier": [0.9]}).disagreeing == ()
    assert rejecting({}) == set()
    with pytest.raises(ValueError, match="p-value"):
        verdict([], {"MMD-m": [0.001]})
