"""How far each block of a flow moves the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.figures.canvas import DASHES, canvas, dress, horizontal_grid, legend, name_axes
from bench.figures.looks import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_WIDTHS, _HEIGHT = (4.0, 3.1, 2.4), 2.1


@dataclass(frozen=True)
class Chain:
    """A row of the comparison: each seed's movements, from data to noise; `place` among its kin.

    `place` counts the rows of the same method, which share a colour and not the dashes.
    """

    label: str
    method: str
    place: int
    seeds: tuple[Array, ...]

    def mean(self) -> Array | None:
        """The mean over seeds; None where they have different numbers of blocks."""
        if len({len(seed) for seed in self.seeds}) > 1:
            return None
        mean: Array = np.mean(self.seeds, axis=0)
        return mean


@dataclass(frozen=True)
class Panel:
    """The chains on a data set."""

    title: str
    chains: tuple[Chain, ...]


def diagram(panels: Sequence[Panel]) -> Figure:
    """A panel for each data set: movement against the number of the block."""
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    with canvas(_WIDTHS[across - 1] * across, _HEIGHT * down + 0.4) as figure:
        grid = figure.subplots(down, across, squeeze=False)
        log = _wide(panels)
        for place, (axes, panel) in enumerate(zip(grid.flat, panels, strict=False)):
            dress(axes, panel.title)
            horizontal_grid(axes)
            for chain in panel.chains:
                _chain(axes, chain)
            _scale(axes, log=log)
            name_axes(
                axes, "block, from data to noise", "" if place % across else "W2 movement (unit²)"
            )
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        legend(figure, _handles(panels))
    return figure


def _wide(panels: Sequence[Panel]) -> bool:
    """Whether the movements of some panel differ by more than 30 times."""
    every = [np.concatenate([seed for chain in p.chains for seed in chain.seeds]) for p in panels]
    return all(v.min() > 0 for v in every) and any(v.max() > 30 * v.min() for v in every)


def _scale(axes: Axes, *, log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_ylim(bottom=0)


def _chain(axes: Axes, chain: Chain) -> None:
    style, mean = look(chain.method), chain.mean()
    for seed in chain.seeds if len(chain.seeds) > 1 or mean is None else ():
        (line,) = axes.plot(
            np.arange(1, len(seed) + 1), seed, color=style.colour, lw=0.5, alpha=0.6
        )
        if mean is None:  # seeds of other numbers of blocks: each counts for itself
            line.set(marker=style.marker, markersize=3.4, markeredgewidth=0, alpha=1.0)
    if mean is not None:
        (line,) = axes.plot(
            np.arange(1, len(mean) + 1), mean, color=style.colour, marker=style.marker, ms=4,
            mew=1.0, mfc="white" if chain.place else style.colour, lw=1.4, label=chain.label,
        )  # fmt: skip
        line.set_linestyle(DASHES[chain.place % len(DASHES)])


def _handles(panels: Sequence[Panel]) -> dict[str, Any]:
    from matplotlib.lines import Line2D

    handles: dict[str, Any] = {}
    for chain in (chain for panel in panels for chain in panel.chains):
        style = look(chain.method)
        line = Line2D(
            [], [], color=style.colour, marker=style.marker, ms=4, mew=1.0, lw=1.4,
            mfc="white" if chain.place else style.colour,
        )  # fmt: skip
        line.set_linestyle(DASHES[chain.place % len(DASHES)])
        handles.setdefault(chain.label, line)
    return handles
