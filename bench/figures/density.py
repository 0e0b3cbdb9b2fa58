"""Densities in the plane as colours, on one scale for all panels of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.figures.strips import strips

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """A panel: its title, and a density `(rows, columns)` at the middles of cells, from below."""

    title: str
    density: Array


@dataclass(frozen=True)
class Strip:
    """The panels of a data set, which share their axes, with ends `low` and `high` `(2,)`.

    `top` is the density at the upper end of the colours, which begin at 0.
    """

    title: str
    names: tuple[str, str]
    low: Array
    high: Array
    top: float
    panels: tuple[Panel, ...]


def diagram(shown: Sequence[Strip]) -> Figure:
    """A strip of panels for each data set."""
    titles = [[panel.title for panel in strip.panels] for strip in shown]
    with strips(titles, [strip.title for strip in shown]) as (figure, drawings):
        for drawing, strip in zip(drawings, shown, strict=True):
            extent = (strip.low[0], strip.high[0], strip.low[1], strip.high[1])
            for axes, panel in zip(drawing.panels, strip.panels, strict=True):
                image = axes.imshow(
                    panel.density, cmap="magma_r", vmin=0.0, vmax=strip.top, origin="lower",
                    extent=extent, aspect="auto", interpolation="bilinear",
                )  # fmt: skip
            drawing.share(strip.names)
            above = any(panel.density.max() > strip.top for panel in strip.panels)
            drawing.bar(image, "density (1/unit²)", "max" if above else "neither")
    return figure
