"""Quality by evaluations as a small table of text, with what it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from bench.records.format import count, scientific
from bench.tables.marks import SAME
from bench.tables.quality import Curve, Panel


def block(panel: Panel) -> list[list[str]]:
    """The lines of the table: its head, then two for each row of several seeds, and tau.

    Empty where no row has points.
    """
    if not panel.curves:
        return []
    solvers = " or ".join(sorted({curve.solver for curve in panel.curves}))
    lines = [["", "pieces", *map(str, panel.steps), f"{solvers} (NFE)"]]
    for curve in panel.curves:
        pieces = ", ".join(str(n) for n in curve.pieces)
        means = [_shown(panel, curve, steps) for steps in (*panel.steps, 0)]
        lines.append([curve.label, pieces, *means])
        if len(curve.seeds) > 1:
            spread = [scientific(curve.sd(steps)) for steps in (*panel.steps, 0)]
            texts = ["" if sd.value == "nan" else f"± {sd}" for sd in spread]
            lines.append(["", "", *texts])
    if panel.tau == panel.tau:
        lines.append(["true data, τ", "", str(scientific(panel.tau)), *[""] * len(panel.steps)])
    return lines


def note(panel: Panel) -> str:
    """What the figures of the table rest on."""
    return " ".join(_sentences(panel))


def show(panel: Panel, console: Console, width: int) -> None:
    """Print the table and its note, at most `width` wide; nothing where no row has points."""
    lines = block(panel)
    if not lines:
        return
    grid = Grid(box=None, padding=(0, 1, 0, 0), show_header=False, pad_edge=False)
    grid.add_column(ratio=1)
    for _ in lines[0][1:]:
        grid.add_column(justify="right", no_wrap=True)
    for number, line in enumerate(lines):
        grid.add_row(*map(Text, line), style="dim" if number == 0 or not line[0] else "")
    title = "  quality by evaluations: MMD-m after so many Euler steps in each piece"
    console.print(Text(title), width=width, highlight=False)
    console.print(Padding(grid, (0, 0, 0, 5)), width=width, highlight=False)
    text = Padding(Text(note(panel), style="dim"), (0, 0, 0, 5))
    console.print(text, width=width, highlight=False)


def _shown(panel: Panel, curve: Curve, steps: int) -> str:
    points = curve.at(steps)
    mean = curve.mean(steps)
    evaluations = f" ({count(mean.nfe)})" if not steps else ""
    if not points:
        return "–"
    if mean.mmd != mean.mmd:
        return f"failed{evaluations}"
    below = all(point.mmd <= panel.tau for point in points)
    return f"{scientific(mean.mmd)}{SAME if below else ''}{evaluations}"


def _sentences(panel: Panel) -> Iterator[str]:
    yield (
        f"V-statistic of two samples of {panel.rows}. Steps × pieces are the evaluations of the "
        "velocity (NFE); in brackets those of the judge's solver."
    )
    if any(len(curve.seeds) > 1 for curve in panel.curves):
        yield "Means over a row's seeds, and ± their s.d."
    if panel.tau == panel.tau:
        if panel.rows != panel.tau_rows:
            yield f"τ: that of {panel.tau_rows} rows, times {panel.tau_rows}/{panel.rows}."
        if any(SAME in text for line in block(panel) for text in line):
            yield f"{SAME} At most τ in every seed: not told from data at 5 %."
    if panel.missing:
        yield f"Without: {', '.join(panel.missing)}."
