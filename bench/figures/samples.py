"""Samples beside data: points in two columns, or pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.figures.strips import Drawing, strips

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

#: Pictures along each side of a panel.
SIDE = 5


@dataclass(frozen=True)
class Panel:
    """A panel: its title, its colour, and points `(n, 2)` or pictures `(n, height, width)`."""

    title: str
    colour: str
    values: Array


@dataclass(frozen=True)
class Strip:
    """The panels of a data set, which share their axes.

    `names` are those of the axes, `low` and `high` `(2,)` their ends; of pictures `names` holds
    what a grey value is, and the ends `(1,)` are those of the grey scale.
    """

    title: str
    names: tuple[str, ...]
    low: Array
    high: Array
    panels: tuple[Panel, ...]


def diagram(shown: Sequence[Strip]) -> Figure:
    """A strip of panels for each data set."""
    titles = [[panel.title for panel in strip.panels] for strip in shown]
    with strips(titles, [strip.title for strip in shown]) as (figure, drawings):
        for drawing, strip in zip(drawings, shown, strict=True):
            if strip.panels[0].values.ndim == 3:
                _pictures(drawing, strip)
            else:
                _points(drawing, strip)
    return figure


def _points(drawing: Drawing, strip: Strip) -> None:
    for axes, panel in zip(drawing.panels, strip.panels, strict=True):
        x, y = panel.values.T
        axes.scatter(x, y, s=2.2, color=panel.colour, alpha=0.5, lw=0, rasterized=True)
        axes.set_xlim(strip.low[0], strip.high[0])
        axes.set_ylim(strip.low[1], strip.high[1])
    drawing.share(strip.names)


def _pictures(drawing: Drawing, strip: Strip) -> None:
    low, high = float(strip.low[0]), float(strip.high[0])
    for axes, panel in zip(drawing.panels, strip.panels, strict=True):
        sheet = sheet_of(panel.values)
        image = axes.imshow(sheet, cmap="gray", interpolation="nearest", vmin=low, vmax=high)
        axes.set_axis_off()
    drawing.bar(image, strip.names[0], "both")


def sheet_of(pictures: Array, side: int = SIDE) -> Array:
    """The first `side`² pictures `(n, height, width)` as one, row by row; NaN lies between them."""
    n, height, width = pictures.shape
    sheet = np.full((side * (height + 1) - 1, side * (width + 1) - 1), np.nan)
    for place in range(min(n, side * side)):
        top, left = place // side * (height + 1), place % side * (width + 1)
        sheet[top : top + height, left : left + width] = pictures[place]
    return sheet
