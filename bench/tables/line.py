"""One figure of the details, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass

from bench.records.format import measured
from bench.records.frame import Cell


@dataclass(frozen=True)
class Line:
    """One figure of one method on one data set: all text.

    `spread` says what stands behind the plus-minus, `n` over what the figure was measured, `notes`
    what else bears on it; what fails a bound is in `flags`.
    """

    figure: str
    value: str
    spread: str
    n: str
    notes: str
    flags: str


def mean_line(
    cell: Cell, figure: str, column: str, n: str = "", notes: str = "", flags: str = ""
) -> Line:
    """The mean of a column over seeds, with their standard deviation where there are several."""
    several = len(cell.well) > 1
    number = measured(cell.mean(column), cell.sd(column) if several else None)
    spread = f"s.d. over {len(cell.well)} seeds" if several else ""
    return Line(figure, str(number), spread, n, notes, flags)
