"""Paths of a flow in the plane: from noise to data above, from data to noise below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.figures.canvas import canvas, dress, legend, name_axes
from bench.figures.looks import INK, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Array = NDArray[np.float64]

#: Inches of a panel; letters of a title's line.
_WIDTH, _HEIGHT, _LETTERS = 1.75, 1.75, 24


@dataclass(frozen=True)
class Way:
    """Paths `(points, n, 2)`; `joints` are the points where a piece of the flow ends."""

    points: Array
    joints: tuple[int, ...]


@dataclass(frozen=True)
class Panel:
    """A method's paths, both ways; None where there are no rows to begin the way back with."""

    title: str
    colour: str
    forth: Way
    back: Way | None


@dataclass(frozen=True)
class Strip:
    """The panels of a data set; `cloud` `(m, 2)` are rows to see the paths against, or None."""

    title: str
    names: tuple[str, str]
    low: Array
    high: Array
    cloud: Array | None
    panels: tuple[Panel, ...]


def diagram(strips: Sequence[Strip]) -> Figure:
    """A strip for each data set, with a column for each method."""
    across = max(len(strip.panels) for strip in strips)
    downs = [2 if any(panel.back for panel in strip.panels) else 1 for strip in strips]
    heights = [_HEIGHT * down + 0.75 for down in downs]
    with canvas(max(across * _WIDTH + 0.4, 3.4), sum(heights) + 0.3) as figure:
        parts = figure.subfigures(len(strips), 1, squeeze=False, height_ratios=heights)
        for part, strip, down in zip(parts[:, 0], strips, downs, strict=True):
            _strip(part, strip, down, across)
        legend(figure, _handles(strips))
    return figure


def _strip(part: SubFigure, strip: Strip, down: int, across: int) -> None:
    part.suptitle(strip.title, fontsize=9.5, color=INK).set_parse_math(False)
    grid = part.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for column, panel in enumerate(strip.panels):
        for axes, way in zip(grid[:, column], (panel.forth, panel.back), strict=False):
            dress(axes, panel.title if way is panel.forth else "", _LETTERS)
            axes.set_box_aspect(1)
            axes.set_xlim(strip.low[0], strip.high[0])
            axes.set_ylim(strip.low[1], strip.high[1])
            axes.locator_params(nbins=5)
            if strip.cloud is not None:
                x, y = strip.cloud.T
                axes.scatter(x, y, s=1.5, color="#d4d4d4", lw=0, zorder=0, rasterized=True)
            if way is not None:
                _way(axes, way, panel.colour)
        name_axes(grid[-1, column], strip.names[0])
    for axes, direction in zip(grid[:, 0], ("noise → data", "data → noise"), strict=False):
        name_axes(axes, y=f"{direction}\n{strip.names[1]}")
    for axes in grid[:, len(strip.panels) :].flat:
        axes.remove()


def _way(axes: Axes, way: Way, colour: str) -> None:
    from matplotlib.collections import LineCollection

    lines = LineCollection(
        list(way.points.transpose(1, 0, 2)), colors=colour, linewidths=0.6, alpha=0.75, zorder=2
    )
    axes.add_collection(lines, autolim=False)
    axes.plot(*way.points[0].T, ls="none", marker="o", ms=2.4, mfc="white", mec=colour, mew=0.6)
    axes.plot(*way.points[-1].T, ls="none", marker="o", ms=2.4, color=colour, mew=0, zorder=3)
    for joint in way.joints:
        axes.plot(*way.points[joint].T, ls="none", marker="d", ms=1.6, color=INK, mew=0, zorder=4)


def _handles(strips: Sequence[Strip]) -> dict[str, object]:
    from matplotlib.lines import Line2D

    ways = [panel.forth for strip in strips for panel in strip.panels]
    handles: dict[str, object] = {
        "start": Line2D([], [], ls="none", marker="o", ms=4, mfc="white", mec=INK, mew=0.8),
        "end": Line2D([], [], ls="none", marker="o", ms=4, color=INK, mew=0),
    }
    if any(way.joints for way in ways):
        mark = Line2D([], [], ls="none", marker="d", ms=4, color=INK, mew=0)
        handles["between two blocks"] = mark
    if any(strip.cloud is not None for strip in strips):
        handles["test rows"] = Line2D([], [], ls="none", marker="o", ms=3, color=PALE, mew=0)
    return handles
