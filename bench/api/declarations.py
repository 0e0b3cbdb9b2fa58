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
    "measured", "scientific", "significant", "probability", "count", "exact", "memory", "signed"
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
    importing the module and is not part of the method's version: a new colour makes no run stale.

    Attributes:
        colour: a hex colour (`#0072b2`); without one, the figure picks one that is not taken.
        marker: one of `MARKERS`.
        family: `flow`, `baseline`, or `floor` (what every method has to beat).
        stage: the word for its pieces, if it trains them one after the other, such as `block`.
        paper: its name in the literature, as in `published.csv`.

    Raises:
        UsageError: a field has an invalid value.
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
            `bound` (an error, worse if it is more than `limit` above the baseline's), `control` (no
            method influences it: it must not change), `cost` (compared as a ratio).
        noticed: the ratio from which a cost is shown.
        limit: the ratio from which a cost counts, or the bound; None if it never counts.
        above: values must be above this; None if any value is possible.
        counted: whether it is a count, identical on the same arithmetic.
    """

    kind: Watched
    noticed: float = 1.0
    limit: float | None = None
    above: float | None = None
    counted: bool = False


@dataclass(frozen=True)
class Column:
    """A column of the table of runs, and everything that tables and pages say about it.

    Attributes:
        name: its name in `bench.records()`, `--columns` and CSV files.
        doc: one paragraph: what it is and what it rests on.
        path: its place in a record; empty if it is derived from other columns.
        type: what its values are.
        title: its heading; empty if no table shows it.
        latex: its heading in LaTeX; the capitalised title if none is given.
        unit: nats, s, bytes, rows, ...; for axes and the documentation.
        form: how its numbers are printed.
        better: `lower` or `higher`; empty if neither is better.
        error: the column with its standard error.
        threshold: for a two-sample statistic, the column with its threshold tau.
        p: for a two-sample statistic, the column with its p-value.
        sets: the sets of columns it belongs to, such as samples (`--columns samples`).
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

    def __post_init__(self) -> None:
        if not self.latex:
            object.__setattr__(self, "latex", self.title[:1].upper() + self.title[1:])


@dataclass(frozen=True)
class Evaluated:
    """What a metric is given.

    Attributes:
        test: test rows `(n, d)`.
        held_out: as many other real rows `(n, d)` that no method has learned from.
        samples: as many samples `(n, d)` of the model.
        log_prob: the model's exact log-density `(k,)` of rows `(k, d)`; None if it has none.
        seed: the seed of everything the metric draws.
    """

    test: Tensor
    held_out: Tensor
    samples: Tensor
    log_prob: Callable[[Tensor], Tensor] | None
    seed: int


@dataclass(frozen=True)
class Metric:
    """A metric: a function, and the columns that it fills.

    `measure` takes an `Evaluated` and returns a value for each column, by name. It may be given as
    text, `module:function`, which is imported when first needed.
    """

    name: str
    measure: str | Callable[[Evaluated], Mapping[str, Any]]
    columns: tuple[Column, ...]
