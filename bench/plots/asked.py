"""What a figure is asked for, and what comes of it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.errors import NothingMeasured, UsageError
from bench.records.selection import chosen, runs_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Asked:
    """What a figure shall show; None, or nothing named, where it is left to the figure.

    `runs` are those of the results folder, where they were read already; `seed` is the one whose
    run stands for a method where a figure shows one; `columns` are numbers of columns, from 0;
    `data` is the data root.

    Raises:
        UsageError: a column is named twice, or is below 0.
    """

    results: Path
    metric: str | None = None
    budget: str | None = None
    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    runs: pd.DataFrame | None = None
    seed: int | None = None
    columns: tuple[int, ...] = ()
    data: Path | None = None

    def __post_init__(self) -> None:
        if len(set(self.columns)) < len(self.columns) or any(c < 0 for c in self.columns):
            raise UsageError(
                f"{', '.join(map(str, self.columns))} are not columns of a table.",
                "Columns are counted from 0, and each is named once.",
            )

    def frame(self) -> pd.DataFrame:
        """The runs of these methods on these data sets, whatever their budget.

        Raises:
            NothingMeasured: there are none.
        """
        runs = runs_in(self.results) if self.runs is None else self.runs
        return chosen(runs, self.results, self.methods, self.datasets)

    def under_budget(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Those of the runs that are under the budget asked for.

        Raises:
            NothingMeasured: there are none.
        """
        if self.budget is None:
            return frame
        budgets = sorted(set(frame["budget"].dropna()))
        if self.budget not in budgets:
            raise NothingMeasured(
                f"No run in {self.results} is under the budget {self.budget!r}.",
                f"There are: {', '.join(budgets)}.",
            )
        return frame[frame["budget"] == self.budget]

    def refuse(self, kind: str, *names: str) -> None:
        """Refuse those of the options metric, seed and columns that a kind makes no use of.

        Raises:
            UsageError: one of them was given.
        """
        for name in names:
            if getattr(self, name) not in (None, ()):
                raise UsageError(
                    f"A figure of {kind} makes no use of --{name}.", f"Leave out --{name}."
                )


@dataclass(frozen=True)
class Drawn:
    """A figure, the lines that say what it shows, and sentences on runs that were left out."""

    figure: Figure
    lines: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def wrapped(text: str) -> str:
    """A paragraph as lines of at most 100 letters."""
    return textwrap.fill(text, 100, break_on_hyphens=False)
