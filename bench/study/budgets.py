"""Named budgets: how many mini-batches of which size, the same for every method. They are data."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import UsageError, unknown


@dataclass(frozen=True)
class Amount:
    """What one run may learn from: mini-batches, each of `batch_size` rows, an update each."""

    minibatches: int
    batch_size: int

    def __post_init__(self) -> None:
        for name, value in (("--minibatches", self.minibatches), ("--batch-size", self.batch_size)):
            if value < 1:
                raise UsageError(f"{name} is {value}; a run needs at least 1.")


@dataclass(frozen=True)
class Budget:
    """A named budget: an amount for each data set that it names, and `other` for all others.

    `methods` holds the amounts of those methods that get others than the rest.
    """

    name: str
    summary: str
    amounts: Mapping[str, Amount]
    methods: Mapping[str, Mapping[str, Amount]] = field(default_factory=dict)

    def amount(
        self,
        dataset: str,
        method: str,
        minibatches: int | None = None,
        batch_size: int | None = None,
    ) -> Amount:
        """What a method may use on a data set; the numbers given override the budget's."""
        amounts = self.methods.get(method, self.amounts)
        amount = amounts.get(dataset) or amounts["other"]
        if minibatches is not None:
            amount = replace(amount, minibatches=minibatches)
        if batch_size is not None:
            amount = replace(amount, batch_size=batch_size)
        return amount


@cache
def budgets() -> dict[str, Budget]:
    """Every named budget, from `budgets.toml`."""
    tables = tomllib.loads((Path(__file__).parent / "budgets.toml").read_text(encoding="utf-8"))
    return {name: _budget(name, table) for name, table in tables.items()}


def budget(name: str) -> Budget:
    """The budget of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in budgets():
        raise unknown("budget", name, budgets())
    return budgets()[name]


def _budget(name: str, table: dict[str, Any]) -> Budget:
    rest = {key: value for key, value in table.items() if key not in ("summary", "methods")}
    own = {method: _amounts(each) for method, each in table.get("methods", {}).items()}
    return Budget(name, table["summary"], _amounts(rest), own)


def _amounts(table: dict[str, dict[str, int]]) -> dict[str, Amount]:
    return {dataset: Amount(**amount) for dataset, amount in table.items()}
