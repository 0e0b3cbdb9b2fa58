"""Learning curves: validation NLL of all methods together, the loss of each in its own panel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.figures.canvas import (
    DASHES,
    NAME,
    TICK,
    canvas,
    dress,
    horizontal_grid,
    legend,
    name_axes,
)
from bench.figures.looks import INK, PALE, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Array = NDArray[np.float64]

#: Panels of a loss side by side; inches of the rows; letters of a title's line.
_ACROSS, _TOP, _LOSS, _WIDTH, _LETTERS = 3, 2.1, 1.95, 7.2, 32

#: At most so many points of a raw curve are drawn, in pairs of least and greatest.
_POINTS = 1_200


@dataclass(frozen=True)
class Curve:
    """A method's curve: loss and its running mean `(n,)`, validation `(m, 3)`, the kept state.

    `validation` holds mini-batches, seconds and NLL; `best` is the mini-batch after which the state
    was kept, or None; `stages` are the mini-batches with which a later stage begins. `place` counts
    the curves of the same method, which share a colour and not the dashes.
    """

    label: str
    method: str
    place: int
    minibatches: Array
    seconds: Array
    loss: Array
    smooth: Array
    validation: Array
    best: int | None
    stages: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """The curves on a data set; `ceiling` is the upper end of the axis of validation NLL."""

    title: str
    floor: float
    ceiling: float
    curves: tuple[Curve, ...]


def diagram(parts: Sequence[Part]) -> Figure:
    """For each data set a row of validation and rows of losses."""
    heights = [_TOP + 0.3 + _LOSS * _rows(part) for part in parts]
    with canvas(_WIDTH, sum(heights) + 0.4) as figure:
        places = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=heights)
        for place, part in zip(places[:, 0], parts, strict=True):
            place.suptitle(part.title, fontsize=9.5, color=INK).set_parse_math(False)
            above, below = place.subfigures(2, 1, height_ratios=[_TOP, _LOSS * _rows(part)])
            _validation(above, part)
            _losses(below, part)
        legend(figure, _handles(parts))
    return figure


def _rows(part: Part) -> int:
    return math.ceil(len(part.curves) / _ACROSS)


def _validation(place: SubFigure, part: Part) -> None:
    """Validation NLL against mini-batches and seconds; the state that was kept is ringed."""
    grid = place.subplots(1, 2, sharey=True)
    names = ("mini-batches", "training (s)")
    for column, (axes, name) in enumerate(zip(grid, names, strict=True)):
        dress(axes)
        horizontal_grid(axes)
        for curve in part.curves:
            style, points = (
                look(curve.method),
                curve.validation[np.isfinite(curve.validation[:, 2])],
            )
            (line,) = axes.plot(
                points[:, column], points[:, 2], color=style.colour, marker=style.marker, ms=3.4,
                mew=0, lw=1.2,
            )  # fmt: skip
            line.set_linestyle(DASHES[curve.place % len(DASHES)])
            kept = points[points[:, 0] == curve.best]
            axes.plot(
                kept[:, column], kept[:, 2], ls="none", marker="o", ms=8, mfc="none",
                mec=style.colour, mew=1.0, gid="best",
            )  # fmt: skip
        axes.set_ylim(part.floor, part.ceiling)
        name_axes(axes, name, "" if column else "validation NLL (nats)")
    if all((curve.validation[:, 1] > 0).all() for curve in part.curves):
        grid[1].set_xscale("log")
        grid[1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _losses(place: SubFigure, part: Part) -> None:
    grid = place.subplots(_rows(part), _ACROSS, squeeze=False)
    for axes, curve in zip(grid.flat, part.curves, strict=False):
        dress(axes, curve.label, _LETTERS)
        _loss(axes, curve)
    for axes in grid.flat[len(part.curves) :]:
        axes.remove()
    for k in range(len(part.curves)):
        name_axes(grid.flat[k], "mini-batches", "" if k % _ACROSS else "loss (the method's own)")


def _loss(axes: Axes, curve: Curve) -> None:
    colour = look(curve.method).colour
    x, y = outline(curve.minibatches, curve.loss, _POINTS)
    axes.plot(x, y, color=colour, lw=0.4, alpha=0.35, rasterized=True)
    axes.plot(curve.minibatches, curve.smooth, color=colour, lw=1.3)
    for begun in curve.stages:
        axes.axvline(begun, color=PALE, lw=0.7, ls=(0, (1, 1.5)), gid="stage")
    if curve.best is not None:
        axes.axvline(curve.best, color=INK, lw=0.8, ls=(0, (5, 2)), gid="best")
    low, high = np.quantile(curve.loss, [0.002, 0.99])
    if low > 0 and high > 10 * low:
        axes.set_yscale("log")
    else:
        margin = 0.08 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_locator(_few_ticks())
    axes.xaxis.set_major_locator(_few_ticks())
    _seconds(axes, curve)


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def _seconds(axes: Axes, curve: Curve) -> None:
    """An axis of training seconds above, at the mini-batches that had been seen by then."""
    if len(curve.seconds) < 2 or not (np.diff(curve.seconds) > 0).all():
        return
    above = axes.twiny()
    above.set_xlim(axes.get_xlim())
    ends = curve.seconds[0], curve.seconds[-1]
    ticks = [t for t in _few_ticks().tick_values(*ends) if ends[0] <= t <= ends[1]]
    above.set_xticks(np.interp(ticks, curve.seconds, curve.minibatches), [f"{t:g}" for t in ticks])
    above.tick_params(labelsize=TICK - 0.5, color=PALE, labelcolor=PALE, width=0.6, pad=1)
    above.set_xlabel("training (s)", fontsize=NAME - 0.5, color=PALE, labelpad=2)
    above.spines[["right", "left"]].set_visible(False)
    above.spines["top"].set_color(PALE)


def outline(x: Array, y: Array, most: int) -> tuple[Array, Array]:
    """A curve `(n,)` by at most so many points: the least and the greatest of each stretch."""
    if len(y) <= most:
        return x, y
    ends = np.linspace(0, len(y), most // 2 + 1).astype(int)
    kept: list[int] = []
    for start, end in itertools.pairwise(ends.tolist()):
        part = y[start:end]
        kept += sorted({start + int(part.argmin()), start + int(part.argmax())})
    return x[kept], y[kept]


def _handles(parts: Sequence[Part]) -> dict[str, Any]:
    from matplotlib.lines import Line2D

    handles: dict[str, Any] = {}
    curves = [curve for part in parts for curve in part.curves]
    for curve in curves:
        style = look(curve.method)
        line = Line2D([], [], color=style.colour, marker=style.marker, ms=4, mew=0, lw=1.2)
        line.set_linestyle(DASHES[curve.place % len(DASHES)])
        handles.setdefault(curve.label, line)
    handles["the state that was kept"] = Line2D(
        [], [], color=INK, lw=0.8, ls=(0, (5, 2)), marker="o", ms=7, mfc="none", mew=0.9
    )
    if any(curve.stages for curve in curves):
        handles["the next block or round"] = Line2D([], [], color=PALE, lw=0.7, ls=(0, (1, 1.5)))
    return handles
