"""Named budgets: how many mini-batches of what size a run may use. They are data, in TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from bench.errors import UsageError, unknown
from bench.study import toml_files


@dataclass(frozen=True)
class Amount:
    """What one run learns from: `minibatches` updates, each on `batch_size` rows."""

    minibatches: int
    batch_size: int

    def __post_init__(self) -> None:
        for name, value in (("--minibatches", self.minibatches), ("--batch-size", self.batch_size)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}.")


@dataclass(frozen=True)
class Budget:
    """A named budget: an amount for each data set that it names, and `other` for the rest.

    `methods` holds the amounts of methods that have their own.
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
        """Return the amount for a method on a data set; the numbers given override it."""
        amounts = self.methods.get(method, self.amounts)
        amount = amounts.get(dataset) or amounts["other"]
        given = {"minibatches": minibatches, "batch_size": batch_size}
        return replace(amount, **{name: n for name, n in given.items() if n is not None})


@cache
def budgets() -> dict[str, Budget]:
    """Every named budget, from `budgets.toml`."""
    path = Path(__file__).parent / "budgets.toml"
    found = {}
    for name, table in toml_files.tables(path).items():
        own = {key: table.pop(key) for key in ("summary", "methods") if key in table}
        budget = {"name": name, "amounts": table} | own
        found[name] = toml_files.convert(budget, Budget, f"{path}: {name}: ")
    return found


def budget(name: str) -> Budget:
    """Return the budget of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in budgets():
        raise unknown("budget", name, budgets())
    return budgets()[name]
