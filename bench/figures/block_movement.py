"""W2 movement of each block of a flow that has several, before and after reparametrisation."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.figures import style
from bench.figures.request import Array, Group, Plot, Request, select
from bench.records.format import measured
from bench.tables.details import movement_of

#: Data sets and methods at most.
GROUPS, ROWS = 6, 10

#: The width of a panel in inches where there are one, two, three or more; its height.
_WIDTHS, _HEIGHT = (4.0, 3.1, 2.4), 2.1


@dataclass(frozen=True)
class Chain:
    """A row of the comparison: each seed's movements by block, from data to noise."""

    label: str
    method: str
    look: style.Style
    seeds: tuple[Array, ...]

    def mean(self) -> Array | None:
        """The mean over seeds; None where they have different numbers of blocks."""
        if len({len(seed) for seed in self.seeds}) > 1:
            return None
        return np.asarray(np.mean(self.seeds, axis=0))


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
            seeds = [movement_of(text) for text in one.cell.ok["w2_movement"].fillna("")]
            if not all(len(each) > 1 for each in seeds):
                lines.append(f"Not shown on {group.title}: {one.label}, which records none.")
                continue
            arrays = tuple(np.array(each) for each in seeds)
            chain = Chain(one.label, one.method, styles[one.label], arrays)
            panels.setdefault(group.title, []).append(chain)
            lines.append(_numbers(group, chain))
    if not panels:
        raise NothingMeasured(f"No run in {request.results} says how far its blocks move the rows.")
    if any(len(chain.seeds) > 1 for chain in itertools.chain(*panels.values())):
        lines.insert(1, "Bold: the mean over seeds; thin: each seed.")
    return selection.plot(diagram(panels), lines)


def _numbers(group: Group, chain: Chain) -> str:
    n, mean = len(chain.seeds), chain.mean()
    seeds = "1 seed" if n == 1 else f"{n} seeds"
    if mean is None:
        blocks = ", ".join(str(len(seed)) for seed in chain.seeds)
        return f"{group.title}, {chain.label}: {seeds} with {blocks} blocks, drawn one by one."
    numbers = ", ".join(str(measured(value)) for value in mean.tolist())
    return f"{group.title}, {chain.label} ({seeds}): {numbers}."


def diagram(panels: dict[str, list[Chain]]) -> style.Figure:
    """Draw a panel for each title: movement against the number of the block."""
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    moved = [
        np.concatenate([seed for c in chains for seed in c.seeds]) for chains in panels.values()
    ]
    log = all(v.min() > 0 for v in moved) and any(v.max() > 30 * v.min() for v in moved)
    block = style.stage_word(chain.method for chain in itertools.chain(*panels.values()))
    with style.canvas(_WIDTHS[across - 1] * across, _HEIGHT * down + 0.4) as figure:
        grid = figure.subplots(down, across, squeeze=False)
        handles: dict[str, Any] = {}
        for place, (axes, title) in enumerate(zip(grid.flat, panels, strict=False)):
            style.dress(axes, title)
            style.horizontal_grid(axes)
            for chain in panels[title]:
                _chain(axes, chain)
                handles.setdefault(chain.label, style.key_line(**_line(chain), lw=1.4))
            axes.xaxis.set_major_locator(style.few_ticks(9, integer=True))
            if log:
                axes.set_yscale("log")
                style.log_ticks(axes.yaxis)
            else:
                axes.set_ylim(bottom=0)
            movement = "" if place % across else "W2 movement (unit²)"
            style.name_axes(axes, f"{block}, from data to noise", movement)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        style.legend(figure, handles)
    return figure


def _line(chain: Chain) -> dict[str, Any]:
    fill = "white" if chain.look.place else chain.look.colour
    return {**chain.look.line, "ms": 4, "mew": 1.0, "mfc": fill}


def _chain(axes: style.Axes, chain: Chain) -> None:
    mean, colour = chain.mean(), chain.look.colour
    for seed in chain.seeds if len(chain.seeds) > 1 or mean is None else ():
        (line,) = axes.plot(np.arange(1, len(seed) + 1), seed, color=colour, lw=0.5, alpha=0.6)
        if mean is None:  # with different numbers of blocks each seed counts for itself
            line.set(marker=chain.look.marker, markersize=3.4, markeredgewidth=0, alpha=1.0)
    if mean is not None:
        axes.plot(np.arange(1, len(mean) + 1), mean, **_line(chain), lw=1.4, label=chain.label)
