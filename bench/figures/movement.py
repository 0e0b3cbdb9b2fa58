"""W2 movement of each block of a flow that has several, before and after reparametrisation."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.figures import style
from bench.figures.request import Array, Plot, Request, select
from bench.records.format import measured
from bench.tables.details import movement_of

#: Data sets and methods at most.
GROUPS, ROWS = 6, 10

#: The width of a panel in inches where there are one, two, three or more; its height.
_WIDTHS, _HEIGHT = (4.0, 3.1, 2.4), 2.1

#: A row of the comparison: its label, its method, its look, and each seed's movements by block.
Chain = tuple[str, str, style.Style, list[Array]]


def draw(request: Request) -> Plot:
    """Draw a panel for each data set, with a line for each setting of a method."""
    request.reject("movement", "metric", "seed", "columns")

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
    styles = selection.styles()
    panels: dict[str, list[Chain]] = {}
    lines = [
        "W2 movement of each block: E|x' - x|² over test rows on their way from data to noise, by "
        "the reference solver, in squared units of the rows behind the affine layer."
    ]
    for group in selection.groups:
        for one in group.rows:
            seeds = [np.array(movement_of(text)) for text in one.cell.ok["w2_movement"].fillna("")]
            if not all(len(each) > 1 for each in seeds):
                lines.append(f"Not shown on {group.title}: {one.label}, which records none.")
                continue
            chain = (one.label, one.method, styles[one.label], seeds)
            panels.setdefault(group.title, []).append(chain)
            n, mean = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds", _mean(seeds)
            if mean is None:
                blocks = ", ".join(str(len(seed)) for seed in seeds)
                numbers = f": {n} with {blocks} blocks, drawn one by one"
            else:
                numbers = f" ({n}): {', '.join(str(measured(m)) for m in mean.tolist())}"
            lines.append(f"{group.title}, {one.label}{numbers}.")
    if not panels:
        raise NothingMeasured(f"No run in {request.results} says how far its blocks move the rows.")
    if any(len(seeds) > 1 for _, _, _, seeds in itertools.chain(*panels.values())):
        lines.insert(1, "Bold: the mean over seeds; thin: each seed.")
    return selection.plot(diagram(panels), lines)


def _mean(seeds: list[Array]) -> Array | None:
    """The mean over seeds; None where they have different numbers of blocks."""
    return np.mean(seeds, axis=0) if len({len(seed) for seed in seeds}) == 1 else None


def diagram(panels: dict[str, list[Chain]]) -> style.Figure:
    """Draw a panel for each title: movement against the number of the block."""
    chains = list(itertools.chain(*panels.values()))
    moved = [np.concatenate([v for *_, seeds in shown for v in seeds]) for shown in panels.values()]
    log = all(v.min() > 0 for v in moved) and any(v.max() > 30 * v.min() for v in moved)
    block = style.stage_word(method for _, method, _, _ in chains)
    with style.panel_grid(list(panels), _WIDTHS, _HEIGHT, 0.4) as (figure, grid):
        for place, (axes, shown) in enumerate(zip(grid, panels.values(), strict=True)):
            for label, _, look, seeds in shown:
                _chain(axes, label, look, seeds)
            axes.xaxis.set_major_locator(style.few_ticks(9, integer=True))
            if log:
                axes.set_yscale("log")
                style.log_ticks(axes.yaxis)
            else:
                axes.set_ylim(bottom=0)
            movement = "" if place % len(_WIDTHS) else "W2 movement (unit²)"
            style.name_axes(axes, f"{block}, from data to noise", movement)
        style.legend(figure, {c[0]: style.key_line(**_line(c[2])) for c in chains})
    return figure


def _line(look: style.Style) -> dict[str, Any]:
    fill = "white" if look.place else look.colour
    return {**look.line, "ms": 4, "mew": 1.0, "mfc": fill, "lw": 1.4}


def _chain(axes: style.Axes, label: str, look: style.Style, seeds: list[Array]) -> None:
    mean = _mean(seeds)
    for seed in seeds if len(seeds) > 1 else ():
        blocks = np.arange(1, len(seed) + 1)
        (line,) = axes.plot(blocks, seed, color=look.colour, lw=0.5, alpha=0.6)
        if mean is None:  # with different numbers of blocks each seed counts for itself
            line.set(marker=look.marker, markersize=3.4, markeredgewidth=0, alpha=1.0)
    if mean is not None:
        axes.plot(np.arange(1, len(mean) + 1), mean, **_line(look), label=label)
