"""Named budgets: how many mini-batches of which size, the same for every method. They are data."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

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
    """A named budget: an amount for each data set that it names, and one for all others."""

    name: str
    summary: str
    other: Amount
    amounts: Mapping[str, Amount]

    def amount(
        self, dataset: str, minibatches: int | None = None, batch_size: int | None = None
    ) -> Amount:
        """What a run on the data set may use; the numbers given override the budget's."""
        amount = self.amounts.get(dataset, self.other)
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


def _budget(name: str, table: dict[str, object]) -> Budget:
    amounts = {key: Amount(**value) for key, value in table.items() if isinstance(value, dict)}
    return Budget(name, str(table["summary"]), amounts.pop("other"), amounts)
