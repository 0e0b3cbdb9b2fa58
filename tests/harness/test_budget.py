"""Named budgets and the studies that come with the package."""

from __future__ import annotations

import pytest

from bench.errors import UsageError
from bench.registry import plugins
from bench.study.studies import Amount, Budget, budget, budgets, find

POWER, OTHER = Amount(7, 100), Amount(5, 10)
SLOW = Amount(2, 10)
BUDGET = Budget("b", "", {"power": POWER, "other": OTHER}, {"slow": {"other": SLOW}})


def test_an_amount_is_the_data_sets_or_that_of_all_others() -> None:
    assert BUDGET.amount("power", "any") == POWER
    assert BUDGET.amount("moons", "any") == OTHER


def test_a_method_with_amounts_of_its_own() -> None:
    assert BUDGET.amount("power", "slow") == BUDGET.amount("moons", "slow") == SLOW
    assert BUDGET.amount("power", "slow", minibatches=9) == Amount(9, 10)


def test_numbers_given_override_the_budgets() -> None:
    assert BUDGET.amount("power", "any", minibatches=3) == Amount(3, 100)
    assert BUDGET.amount("power", "any", batch_size=3) == Amount(7, 3)
    assert BUDGET.amount("moons", "any", 1, 2) == Amount(1, 2)


@pytest.mark.parametrize(
    ("minibatches", "batch_size", "words"),
    [
        (0, None, "--minib.* got 0"),
        (-3, None, "--minib.* got -3"),
        (1, 0, "--batch-size"),
    ],
)
def test_an_impossible_number(minibatches: int, batch_size: int | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BUDGET.amount("power", "any", minibatches, batch_size)


def test_budgets_by_name() -> None:
    assert budget("equal").name == "equal"
    with pytest.raises(UsageError, match="Did you mean 'equal'"):
        budget("equel")


@pytest.mark.parametrize("name", budgets())
def test_a_shipped_budget(name: str) -> None:
    shipped_budget = budget(name)
    assert shipped_budget.summary
    assert shipped_budget.methods.keys() <= plugins.methods().keys()
    for amounts in (shipped_budget.amounts, *shipped_budget.methods.values()):
        assert "other" in amounts
        assert amounts.keys() <= plugins.datasets().keys() | {"other"}
        for amount in amounts.values():
            assert amount.minibatches >= 1
            assert amount.batch_size >= 1


def test_the_equal_budget_is_the_posters() -> None:
    """The mini-batches of the JKO-iFlow poster's competitors, and its batch sizes."""
    published = {
        "power": (7_600, 10_000),
        "gas": (7_600, 5_000),
        "miniboone": (3_400, 2_000),
        "bsds300": (10_300, 1_000),
    }
    for name, (minibatches, batch_size) in published.items():
        assert budget("equal").amount(name, "jko") == Amount(minibatches, batch_size)
        assert budget("table1").amount(name, "ffjord") == Amount(minibatches, batch_size)
        per_block = Amount(4 * minibatches // 10, batch_size)
        assert budget("table1").amount(name, "jko") == per_block


def test_the_quick_study() -> None:
    study = find("quick")
    assert set(study.methods) <= plugins.methods().keys()
    assert set(study.datasets) <= plugins.datasets().keys()
    assert study.budget in budgets()
    assert study.seeds
    assert study.judge.permutations >= 1_000
