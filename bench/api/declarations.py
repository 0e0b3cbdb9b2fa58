"""What a plug-in declares: how a method looks in a figure, the columns and the metrics it adds.

Nothing here imports torch, so that tables, figures and `bench list` can read it at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from bench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

#: text, a whole number, a number, or true/false.
Type = Literal["text", "whole", "number", "flag"]

#: How a number is printed: the functions of `bench.records.format` by name.
Form = Literal[
    "measured",
    "scientific",
    "significant",
    "probability",
    "count",
    "exact",
    "memory",
    "signed",
]

#: How the regression gate treats a column: see `bench.gate`.
Watched = Literal["quality", "bound", "control", "cost"]

#: `flow`, `baseline`, or `floor`: what every method has to beat.
Family = Literal["flow", "baseline", "floor"]

#: Matplotlib's markers that have an area, and so can be filled or hollow.
MARKERS = "ov^<>8spPXdDhH*"


@dataclass(frozen=True)
class Look:
    """How a method appears in tables and figures; every field has a default.

    A method's module may hold one constant `LOOK = Look(...)` of literal values. It is read without
    importing the module and is no part of the method's version: a new colour makes no run stale.

    Attributes:
        colour: a hex colour (`#0072b2`); without one, the figure picks one that is not taken.
        marker: one of `MARKERS`.
        family: `flow`, `baseline`, or `floor` (what every method has to beat).
        stage: the word for the pieces that it trains one after the other, such as `block`.
        paper: its name in the literature, as `published.csv` has it.

    Raises:
        UsageError: a field has a value that it can't have.
    """

    colour: str = ""
    marker: str = ""
    family: Family = "flow"
    stage: str = "piece"
    paper: str = ""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, str):
                raise UsageError(f"{name} of a Look must be text, got {value!r}.")
        if self.colour and not re.fullmatch("#[0-9a-fA-F]{6}", self.colour):
            raise UsageError(f"colour must be a hex colour such as #0072b2, got {self.colour!r}.")
        if self.marker and (len(self.marker) > 1 or self.marker not in MARKERS):
            raise UsageError(f"marker must be one of {' '.join(MARKERS)}, got {self.marker!r}.")
        if self.family not in get_args(Family):
            known = ", ".join(get_args(Family))
            raise UsageError(f"family must be one of {known}, got {self.family!r}.")
        if not self.stage.strip():
            raise UsageError("stage must be a word, such as block; it is empty.")


@dataclass(frozen=True)
class Watch:
    """How the regression gate compares a column with its baseline.

    Attributes:
        kind: `quality` (to the bit on the baseline's arithmetic, else within the spread of seeds),
            `bound` (an error, worse where it is `limit` above the baseline's), `control` (no method
            influences it: it must not change), `cost` (compared by its ratio to the baseline's).
        noticed: the ratio from which on a cost is shown.
        limit: the ratio from which on a cost counts, or the bound; None where nothing counts.
        above: values must be above this; None where any is possible.
        counted: whether it is a count, the same on the same arithmetic.
    """

    kind: Watched
    noticed: float = 1.0
    limit: float | None = None
    above: float | None = None
    counted: bool = False


@dataclass(frozen=True)
class Column:
    """One column of the runs' table, and all that any page says of it.

    Attributes:
        name: its name in `bench.records()`, `--columns` and CSV files.
        doc: one paragraph: what it is and what it rests on.
        path: its place in a record; empty where it is derived from other columns.
        type: what its values are.
        title: its heading; empty where no table shows it.
        latex: the heading in LaTeX, where it is not the title with a capital.
        unit: nats, s, bytes, rows, ...; for axes and documentation.
        form: how its numbers are printed.
        better: whether less or more of it is better; empty where neither is.
        error: the column with its standard error.
        threshold: for a two-sample statistic, the column with its threshold tau.
        p: for a two-sample statistic, the column with its p-value.
        sets: the sets of columns that it belongs to, such as samples (`--columns samples`).
        watch: how the gate watches it.
    """

    name: str
    doc: str
    path: tuple[str, ...] = ()
    type: Type = "number"
    title: str = ""
    latex: str = ""
    unit: str = ""
    form: Form = "measured"
    better: Literal["", "lower", "higher"] = ""
    error: str = ""
    threshold: str = ""
    p: str = ""
    sets: tuple[str, ...] = ()
    watch: Watch | None = None


@dataclass(frozen=True)
class Evaluated:
    """What a metric is given.

    Attributes:
        test: test rows `(n, d)`, as many as there are samples.
        held_out: as many other real rows `(n, d)` that no method has learned from.
        samples: the model's samples `(n, d)`.
        log_prob: gives the model's exact log-density `(k,)` of rows `(k, d)`; None without one.
        seed: the seed of whatever the metric draws.
    """

    test: Tensor
    held_out: Tensor
    samples: Tensor
    log_prob: Callable[[Tensor], Tensor] | None
    seed: int


@dataclass(frozen=True)
class Metric:
    """A metric as a plug-in: a function, and the columns that it fills.

    `measure` takes an `Evaluated` and returns a value for each column's name; as text it is
    `module:function`, imported when it is first needed.
    """

    name: str
    measure: str | Callable[[Evaluated], Mapping[str, Any]]
    columns: tuple[Column, ...]
