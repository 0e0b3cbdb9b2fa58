"""W2 movement of each block of a flow that has several, before and after reparametrisation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.figures import style
from bench.figures.request import Array, Group, Plot, Request, SelectedRun, select
from bench.records.format import measured
from bench.tables.details import movement_of

#: Data sets and methods at most.
GROUPS, ROWS = 6, 10

#: The title of a panel, and each row of the comparison with each seed's movements by block.
MovementPanel = tuple[str, list[tuple[SelectedRun, list[Array]]]]


def draw(request: Request) -> Plot:
    """Draw a panel for each data set, with a line for each setting of a method."""

    def of_blocks(frame: pd.DataFrame) -> pd.DataFrame:
        """The runs of methods that have several blocks in some run on that data set."""
        several = frame["w2_movement"].fillna("").map(lambda text: len(movement_of(text)) > 1)
        keys = [frame["method"], frame["dataset"]]
        kept = several.groupby(keys, dropna=False).transform("any").astype(bool)
        if not kept.any():
            raise NothingMeasured(
                f"No run in {request.results} records the movement of several blocks.",
                "Run a method whose flow has several blocks.",
            )
        return frame[kept]

    selection = select(request, GROUPS, ROWS, of_blocks)
    panels, lines = selection.parts(_panel, "says how far its blocks move the rows")
    about = (
        "W2 movement of each block: E|x' - x|² over test rows on their way from data to noise, by "
        "the reference solver, in squared units of the rows behind the affine layer."
    )
    if any(len(seeds) > 1 for _, chains in panels for _, seeds in chains):
        lines.insert(0, "Bold: the mean over seeds; thin: each seed.")
    return selection.plot(diagram(panels), [about, *lines])


def _panel(group: Group, lines: list[str]) -> MovementPanel | None:
    """The panel of a group, if a row has the movements of its blocks."""
    chains = []
    for one in group.rows:
        seeds = [np.array(movement_of(text)) for text in one.cell.ok["w2_movement"].fillna("")]
        if not all(len(each) > 1 for each in seeds):
            lines.append(f"Not shown on {group.title}: {one.label}, which records none.")
            continue
        chains.append((one, seeds))
        n, mean = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds", _mean(seeds)
        if mean is None:
            blocks = ", ".join(str(len(seed)) for seed in seeds)
            numbers = f": {n} with {blocks} blocks, drawn one by one"
        else:
            numbers = f" ({n}): {', '.join(str(measured(m)) for m in mean.tolist())}"
        lines.append(f"{group.title}, {one.label}{numbers}.")
    return (group.title, chains) if chains else None


def _mean(seeds: list[Array]) -> Array | None:
    """The mean over seeds; None where they have different numbers of blocks."""
    return np.mean(seeds, axis=0) if len({len(seed) for seed in seeds}) == 1 else None


def diagram(panels: Sequence[MovementPanel]) -> style.Figure:
    """Draw a panel for each title: movement against the number of the block."""
    rows = [one for _, chains in panels for one, _ in chains]
    moved = [np.concatenate([v for _, seeds in chains for v in seeds]) for _, chains in panels]
    log = all(v.min() > 0 for v in moved) and any(v.max() > 30 * v.min() for v in moved)
    with style.panel_grid(style.in_rows([title for title, _ in panels], 3)) as (figure, grid):
        for axes, (_, chains) in zip(itertools.chain(*grid), panels, strict=True):
            for one, seeds in chains:
                _chain(axes, one, seeds)
            axes.locator_params(axis="x", nbins=9, integer=True)
            if log:
                axes.set_yscale("log")
                style.log_ticks(axes.yaxis)
            else:
                axes.set_ylim(bottom=0)
        block = style.stage_word(one.method for one in rows)
        style.name_axes(grid, f"{block}, from data to noise", "W2 movement (unit²)")
        style.legend(figure, {one.label: _line(one.look) for one in rows})
    return figure


def _line(look: style.Style) -> dict[str, Any]:
    fill = "white" if look.place else look.colour
    return {**look.line, "ms": 4, "mew": 1.0, "mfc": fill, "lw": 1.4}


def _chain(axes: style.Axes, one: SelectedRun, seeds: list[Array]) -> None:
    mean, look = _mean(seeds), one.look
    for seed in seeds if len(seeds) > 1 else ():
        (line,) = axes.plot(range(1, len(seed) + 1), seed, color=look.colour, lw=0.5, alpha=0.6)
        if mean is None:  # with different numbers of blocks each seed counts for itself
            line.set(marker=look.marker, markersize=3.4, markeredgewidth=0, alpha=1.0)
    if mean is not None:
        axes.plot(range(1, len(mean) + 1), mean, **_line(look), label=one.label)
