"""Corner plots: the densities of columns and of their pairs, data in grey, a method in colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.figures.canvas import PAGE, canvas, dress, legend, name_axes
from bench.figures.looks import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Array = NDArray[np.float64]

#: The contours hold these shares of the rows; cells along an axis of the grid they are found on.
SHARES, CELLS = (0.9, 0.5), 96

_GREYS, _GREY = ("#dedede", "#b4b4b4"), "#8a8a8a"


@dataclass(frozen=True)
class Corner:
    """A method's samples `(n, k)` of the k columns shown."""

    title: str
    colour: str
    samples: Array


@dataclass(frozen=True)
class Corners:
    """The corner plots of a data set: test rows `(n, k)` or None, names and ends `(k,)` of axes."""

    title: str
    names: tuple[str, ...]
    low: Array
    high: Array
    data: Array | None
    corners: tuple[Corner, ...]


def diagram(shown: Corners) -> Figure:
    """A corner plot for each method, two side by side."""
    k, across = len(shown.names), min(2, len(shown.corners))
    down = math.ceil(len(shown.corners) / across)
    width = PAGE / 2 if k > 1 else 2.4
    with canvas(width * across, (width + 0.15) * down + 0.5) as figure:
        figure.suptitle(shown.title, fontsize=9.5, color=INK).set_parse_math(False)
        parts = figure.subfigures(down, across, squeeze=False)
        for part, corner in zip(parts.flat, shown.corners, strict=False):
            _corner(part, corner, shown)
        legend(figure, _handles(shown))
    return figure


def _corner(part: SubFigure, corner: Corner, shown: Corners) -> None:
    k = len(shown.names)
    grid = part.subplots(k, k, squeeze=False, sharex="col")
    part.suptitle(corner.title, fontsize=8.5, color=INK).set_parse_math(False)
    for i in range(k):
        for j in range(k):
            axes = grid[i, j]
            if j > i:
                axes.remove()
                continue
            dress(axes)
            axes.tick_params(labelsize=6, labelbottom=i == k - 1, labelleft=j == 0 < i)
            axes.set_xlim(shown.low[j], shown.high[j])
            if i == j:
                _single(axes, corner, shown, j)
            else:
                _pair(axes, corner, shown, j, i)
            axes.xaxis.set_major_locator(_few_ticks())
            name_axes(axes, _in_lines(shown.names[j]) if i == k - 1 else "", _name(shown, i, j))
            axes.xaxis.label.set_fontsize(6.5)
            axes.yaxis.label.set_fontsize(6.5)


def _name(shown: Corners, i: int, j: int) -> str:
    if j:
        return ""
    return _in_lines(shown.names[i] if i else "density (1/unit)")


def _in_lines(name: str) -> str:
    """A name and below it its unit: the panels are narrow."""
    return name.replace(" (", "\n(")


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3)


def _single(axes: Axes, corner: Corner, shown: Corners, j: int) -> None:
    ends = shown.low[j], shown.high[j]
    if shown.data is not None:
        x, density = smooth_1d(shown.data[:, j], *ends)
        axes.fill_between(x, density, color=_GREYS[0], lw=0)
        axes.plot(x, density, color=_GREY, lw=0.8)
    x, density = smooth_1d(corner.samples[:, j], *ends)
    axes.plot(x, density, color=corner.colour, lw=1.2)
    axes.set_ylim(bottom=0)
    if len(shown.names) > 1:
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)


def _pair(axes: Axes, corner: Corner, shown: Corners, j: int, i: int) -> None:
    low, high = shown.low[[j, i]], shown.high[[j, i]]
    x, y = (a + (b - a) * _MIDDLES for a, b in zip(low, high, strict=True))
    cell = float(np.prod((high - low) / CELLS))
    axes.set_ylim(low[1], high[1])
    axes.yaxis.set_major_locator(_few_ticks())
    if shown.data is not None:
        density = smooth_2d(shown.data[:, [j, i]], low, high)
        if ends := levels(density, cell):
            axes.contourf(x, y, density, [*ends, np.inf], colors=_GREYS[-len(ends) :])
    density = smooth_2d(corner.samples[:, [j, i]], low, high)
    if ends := levels(density, cell):
        widths = (0.8, 1.2)[-len(ends) :]
        axes.contour(x, y, density, ends, colors=corner.colour, linewidths=widths)


_MIDDLES = (np.arange(CELLS) + 0.5) / CELLS


def smooth_1d(values: Array, low: float, high: float) -> tuple[Array, Array]:
    """The middles of cells and a Gaussian kernel's density `(CELLS,)` there of values `(n,)`.

    The bandwidth is Scott's, n^(-1/5) of the standard deviation, and half a cell at least.
    """
    from scipy.ndimage import gaussian_filter1d

    cell = (high - low) / CELLS
    counts, _ = np.histogram(values, CELLS, (low, high))
    bandwidth = max(len(values) ** -0.2 * float(values.std()) / cell, 0.5)
    density = gaussian_filter1d(counts / (len(values) * cell), bandwidth, mode="constant")
    return low + (high - low) * _MIDDLES, density


def smooth_2d(values: Array, low: Array, high: Array) -> Array:
    """A Gaussian kernel's density `(CELLS, CELLS)` of values `(n, 2)`; rows are of the second.

    The bandwidth is Scott's, n^(-1/6) of each standard deviation, and half a cell at least.
    """
    from scipy.ndimage import gaussian_filter

    cells = (high - low) / CELLS
    counts, _, _ = np.histogram2d(
        values[:, 1], values[:, 0], CELLS, ((low[1], high[1]), (low[0], high[0]))
    )
    bandwidth = np.maximum(len(values) ** (-1 / 6) * values.std(axis=0) / cells, 0.5)
    density: Array = gaussian_filter(
        counts / (len(values) * cells.prod()), (bandwidth[1], bandwidth[0]), mode="constant"
    )
    return density


def levels(density: Array, cell: float, shares: Sequence[float] = SHARES) -> list[float]:
    """The densities above which so large shares of all rows lie, rising; `cell` is a cell's area.

    A share that lies in part beyond the grid has none.
    """
    ordered = np.sort(density, axis=None)[::-1]
    mass = np.cumsum(ordered) * cell
    places = np.searchsorted(mass, shares)
    # A contour needs levels that rise; of a spike in one cell they are all the same.
    return [float(level) for level in np.unique(ordered[places[places < len(mass)]])]


def _handles(shown: Corners) -> dict[str, Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: dict[str, Any] = {}
    if shown.data is not None:
        handles["data: 90 % and 50 % of the rows"] = Patch(facecolor=_GREYS[1], edgecolor=_GREY)
    handles["the method: contours of 90 % and 50 %"] = Line2D([], [], color=INK, lw=1.2)
    return handles
