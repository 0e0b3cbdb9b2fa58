"""What the runs' tables can show: each measured column, its title and the form of its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.errors import unknown
from bench.records import format as forms
from bench.records.catalogue import measures
from bench.records.format import Number


@dataclass(frozen=True)
class Column:
    """A column's title in plain text, and in LaTeX where that is not the title escaped."""

    title: str
    latex: str


@dataclass(frozen=True)
class Measure(Column):
    """A measured column: its titles, and `form(value, error)`."""

    form: Callable[[float, float | None], Number]


#: column of `bench.records.frame.records` -> how a table shows it
MEASURES: dict[str, Measure] = {
    c.name: Measure(c.title, c.latex, getattr(forms, c.form)) for c in measures().values()
}

#: Measures of what a method is given, not of what comes of it.
AMOUNTS = ("params", "minibatches", "samples_seen")


def measure(name: str) -> Measure:
    """The measure of that column.

    Raises:
        UsageError: no measured column has that name.
    """
    if name not in MEASURES:
        raise unknown("metric", name, MEASURES)
    return MEASURES[name]
