"""Loss against cost, with the Pareto front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.figures.canvas import canvas, dress, horizontal_grid, legend, name_axes
from bench.figures.looks import PALE, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_WIDTH, _HEIGHT = 3.2, 2.3

#: How the markers of one method differ that ran with several settings.
_FILLS: tuple[Any, ...] = ("full", "left", "bottom", "right", "top")


@dataclass(frozen=True)
class Point:
    """A row of the comparison: its seeds' losses `(seeds,)` and costs `(costs, seeds)`.

    `place` counts the rows of the same method, which share a colour and not the filling. `counts`
    says whether it may be on the front: not where a seed failed or a bound does.
    """

    label: str
    method: str
    place: int
    loss: Array
    costs: Array
    counts: bool


@dataclass(frozen=True)
class Panel:
    """A data set's points, and `fronts`: for each cost the places of those on the front.

    `loss` names the vertical axis, which is logarithmic where `log` says so.
    """

    title: str
    loss: str
    log: bool
    points: tuple[Point, ...]
    fronts: tuple[tuple[int, ...], ...]


def diagram(panels: Sequence[Panel], costs: Sequence[str]) -> Figure:
    """A row for each data set, with a panel for each cost."""
    with canvas(_WIDTH * len(costs), _HEIGHT * len(panels) + 0.4) as figure:
        grid = figure.subplots(len(panels), len(costs), squeeze=False, sharey="row", sharex="col")
        points = [point for panel in panels for point in panel.points]
        for k, axes in enumerate(grid[-1]):
            axes.set_xlim(*_ends(np.concatenate([p.costs[k] for p in points]), log=True))
        for row, panel in zip(grid, panels, strict=True):
            for k, (axes, cost) in enumerate(zip(row, costs, strict=True)):
                dress(axes, panel.title)
                horizontal_grid(axes)
                _panel(axes, panel, k)
                name_axes(axes, cost if panel is panels[-1] else "", "" if k else panel.loss)
        for axes in grid[-1]:
            _ticks(axes.xaxis, *axes.get_xlim())
        for axes, panel in zip(grid[:, 0], panels, strict=True):
            if panel.log:
                _ticks(axes.yaxis, *axes.get_ylim())
        legend(figure, _handles(panels))
    return figure


def _ticks(axis: Axis, low: float, high: float) -> None:
    """Numbers as they are read: powers of ten, on a shorter axis 1, 2, 5, on a short one even."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    steps = LogLocator(subs=(1,) if high / low > 100 else (1, 2, 5))
    axis.set_major_locator(steps if high / low > 5 else MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _ends(values: Array, *, log: bool) -> tuple[float, float]:
    """The ends of an axis that holds the values, with a margin, and a range where there is one."""
    low, high = float(values.min()), float(values.max())
    if log:
        margin = max((high / low) ** 0.1, 1.25)
        return low / margin, high * margin
    margin = 0.1 * (high - low) or 0.1 * max(abs(high), 1.0)
    return low - margin, high + margin


def _panel(axes: Axes, panel: Panel, k: int) -> None:
    axes.set_xscale("log")
    if panel.log:
        axes.set_yscale("log")
    axes.set_ylim(*_ends(np.concatenate([point.loss for point in panel.points]), log=panel.log))
    for point in panel.points:
        style = look(point.method)
        x, y = float(point.costs[k].mean()), float(point.loss.mean())
        several = len(point.loss) > 1
        if several:
            axes.plot(
                point.costs[k], point.loss, ls="none", marker=style.marker, ms=2.6, mew=0,
                color=style.colour, alpha=0.6,
            )  # fmt: skip
        errors = [np.std(each, ddof=1) if several else 0.0 for each in (point.costs[k], point.loss)]
        axes.errorbar(
            x, y, xerr=errors[0], yerr=errors[1], color=style.colour, elinewidth=0.9, zorder=3,
            marker=style.marker, ms=6, mew=1.1, mfc=style.colour if point.counts else "white",
            fillstyle=_FILLS[point.place % len(_FILLS)], markerfacecoloralt="white",
        )  # fmt: skip
    front = [
        (panel.points[i].costs[k].mean(), panel.points[i].loss.mean()) for i in panel.fronts[k]
    ]
    if front:
        x, y = np.array(sorted(front)).T
        axes.plot(x, y, drawstyle="steps-post", color=PALE, lw=1.0, zorder=1.5, gid="front")


def _handles(panels: Sequence[Panel]) -> dict[str, Any]:
    from matplotlib.lines import Line2D

    handles: dict[str, Any] = {}
    seen = Counter(point.label for panel in panels for point in panel.points)
    first = {point.label: point for panel in reversed(panels) for point in panel.points}
    for label in seen:
        style = look(first[label].method)
        handles[label] = Line2D(
            [],
            [],
            ls="none",
            marker=style.marker,
            ms=5,
            color=style.colour,
            mew=0.8,
            fillstyle=_FILLS[first[label].place % len(_FILLS)],
            markerfacecoloralt="white",
        )
    handles["Pareto front"] = Line2D([], [], color=PALE, lw=1.0)
    if not all(point.counts for panel in panels for point in panel.points):
        handles["hollow: not on the front"] = Line2D(
            [], [], ls="none", marker="o", ms=5, mfc="white", mec=PALE, mew=1.1
        )
    return handles
