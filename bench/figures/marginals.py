"""Marginals of the columns in which the methods are furthest from the data, and of their pairs.

The densities are kernel estimates on a grid, by a Gaussian filter of binned values: for 10,000 rows
it takes milliseconds where a sum over all rows takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.figures import style
from bench.figures.request import (
    Array,
    Group,
    Plot,
    RealRows,
    Request,
    columns_of,
    frame_around,
    name_of,
    outside,
    real_rows,
    samples,
    select,
)

#: Methods, columns and rows of a sample at most; columns where none are named.
ROWS, COLUMNS, POINTS, CHOSEN = 4, 5, 10_000, 4

#: The contours enclose these shares of the rows; cells along an axis of the grid.
SHARES, CELLS = (0.9, 0.5), 96

_CENTRES = (np.arange(CELLS) + 0.5) / CELLS
_GREYS, _GREY = ("#dedede", "#b4b4b4"), "#8a8a8a"


@dataclass(frozen=True)
class Corner:
    """A method's samples `(n, k)` of the k columns shown."""

    title: str
    colour: str
    samples: Array


@dataclass(frozen=True)
class Corners:
    """The corner plots of a data set: test rows `(n, k)` or None; names and limits `(k,)`."""

    title: str
    names: tuple[str, ...]
    low: Array
    high: Array
    data: Array | None
    corners: tuple[Corner, ...]


def draw(request: Request) -> Plot:
    """Draw a corner plot for each method on one data set, the first of more than two dimensions."""
    selection = select(request, 1, ROWS, _tables_first)
    (group,) = selection.groups
    found = {one.label: samples(request.results, one.name, POINTS) for one in group.rows}
    kept = {label: rows for label, rows in found.items() if rows is not None}
    if not kept:
        raise NothingMeasured(
            f"No run on {group.title} in {request.results} keeps samples that can be drawn.",
            "Run them again: bench run keeps samples.npz beside the record.",
        )
    real = real_rows(group, request.data, POINTS)
    columns, why = _columns(request, group, real, list(kept.values()))
    data = None if real.rows is None else real.rows[:, columns]
    sets = {label: rows[:, columns] for label, rows in kept.items()}
    low, high = _frame(data, np.concatenate(list(sets.values())))
    names = tuple(name_of(column, group.d) for column in columns)
    shown, styles = group.only(kept), selection.styles()
    corners = tuple(
        Corner(
            f"{one.label}, {one.metric(request.metric or 'mmd_m')}",
            styles[one.label].colour,
            sets[one.label],
        )
        for one in shown.rows
    )
    lines = [*_about(group, kept, real, columns, why)]
    if far := [f"{label} {n / len(sets[label]):.1%}" for label, n in outside(sets, low, high)]:
        lines.append(f"Outside the axes: {', '.join(far)}.")
    if missing := [label for label in found if label not in kept]:
        lines.append(f"No samples: {', '.join(missing)}.")
    figure = diagram(Corners(group.title, names, low, high, data, corners))
    return selection.plot(figure, lines, [shown])


def _tables_first(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs on data sets of more than two dimensions, if there are any; else all."""
    many = set(frame.loc[frame["d"].gt(2).fillna(False), "dataset"])
    return frame[frame["dataset"].isin(many)] if many else frame


def _columns(
    request: Request, group: Group, real: RealRows, kept: Sequence[Array]
) -> tuple[list[int], str]:
    """The columns to show, in order, and why these."""
    if request.columns or real.rows is None or group.d <= CHOSEN:
        return columns_of(request, group, COLUMNS if request.columns else CHOSEN), ""
    far = np.mean([distance(rows, real.rows) for rows in kept], axis=0)
    columns = sorted(np.argsort(-far, kind="stable")[:CHOSEN].tolist())
    return columns, (
        ", those in which the methods are furthest from the data (mean Kolmogorov-Smirnov "
        f"distance {', '.join(f'{far[c]:.2f}' for c in columns)})"
    )


def distance(a: Array, b: Array) -> Array:
    """Return the Kolmogorov-Smirnov distance `(d,)` of each column of rows `(n, d)`, `(m, d)`."""
    from scipy.stats import ks_2samp

    return np.asarray(ks_2samp(a, b, method="asymp").statistic)


def _frame(data: Array | None, drawn: Array) -> tuple[Array, Array]:
    """Axis limits that hold the data and most of the samples, at most three times the data's."""
    if data is None:
        return frame_around(drawn)
    low, high = frame_around(data)
    least, most = np.quantile(drawn, [0.02, 0.98], axis=0)
    span = high - low
    return np.clip(least, low - span, low), np.clip(most, high, high + span)


def _about(
    group: Group, kept: dict[str, Array], real: RealRows, columns: list[int], why: str
) -> Iterator[str]:
    sizes = sorted({len(rows) for rows in kept.values()})
    each = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    numbers = ", ".join(map(str, columns))
    data = ""
    if real.rows is not None:
        data = f" and of {len(real.rows):,} of {real.total:,} test rows (grey)"
    yield f"{group.title}: columns {numbers} of {group.d}, counted from 0{why}."
    yield (
        f"Contours enclose 90 % and 50 % of {each} samples of a method (lines){data}; Gaussian "
        "kernels, Scott's bandwidth. A contour that would extend far beyond the axes is omitted."
    )
    if real.rows is None:
        yield f"No test rows of {group.title}: {real.reason}"


def diagram(shown: Corners) -> style.Figure:
    """Draw a corner plot for each method, two side by side."""
    from matplotlib.patches import Patch

    k, across = len(shown.names), min(2, len(shown.corners))
    down = math.ceil(len(shown.corners) / across)
    width = style.PAGE / 2 if k > 1 else 2.4
    with style.canvas(width * across, (width + 0.15) * down + 0.5) as figure:
        style.heading(figure, shown.title)
        parts = figure.subfigures(down, across, squeeze=False)
        for part, corner in zip(parts.flat, shown.corners, strict=False):
            _corner(part, corner, shown)
        handles = {"the method: contours of 90 % and 50 %": style.key_line(color=style.INK, lw=1.2)}
        if shown.data is not None:
            grey = Patch(facecolor=_GREYS[1], edgecolor=_GREY)
            handles = {"data: 90 % and 50 % of the rows": grey, **handles}
        style.legend(figure, handles)
    return figure


def _corner(part: style.SubFigure, corner: Corner, shown: Corners) -> None:
    k = len(shown.names)
    # The panels are narrow: units go on a line of their own.
    names = [name.replace(" (", "\n(") for name in shown.names]
    grid = part.subplots(k, k, squeeze=False, sharex="col")
    style.heading(part, corner.title, 8.5)
    for i in range(k):
        for j in range(k):
            axes = grid[i, j]
            if j > i:
                axes.remove()
                continue
            style.dress(axes)
            axes.tick_params(labelsize=6, labelbottom=i == k - 1, labelleft=j == 0 < i)
            axes.set_xlim(shown.low[j], shown.high[j])
            if i == j:
                _single(axes, corner, shown, j)
            else:
                _pair(axes, corner, shown, j, i)
            axes.xaxis.set_major_locator(style.few_ticks(3))
            left = "" if j else names[i] if i else "density\n(1/unit)"
            style.name_axes(axes, names[j] if i == k - 1 else "", left)
            axes.xaxis.label.set_fontsize(6.5)
            axes.yaxis.label.set_fontsize(6.5)


def _single(axes: style.Axes, corner: Corner, shown: Corners, j: int) -> None:
    low, high = shown.low[j], shown.high[j]
    if shown.data is not None:
        x, density = smooth_1d(shown.data[:, j], low, high)
        axes.fill_between(x, density, color=_GREYS[0], lw=0)
        axes.plot(x, density, color=_GREY, lw=0.8)
    x, density = smooth_1d(corner.samples[:, j], low, high)
    axes.plot(x, density, color=corner.colour, lw=1.2)
    axes.set_ylim(bottom=0)
    if len(shown.names) > 1:
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)


def _pair(axes: style.Axes, corner: Corner, shown: Corners, j: int, i: int) -> None:
    low, high = shown.low[[j, i]], shown.high[[j, i]]
    x, y = (a + (b - a) * _CENTRES for a, b in zip(low, high, strict=True))
    cell = float(np.prod((high - low) / CELLS))
    axes.set_ylim(low[1], high[1])
    axes.yaxis.set_major_locator(style.few_ticks(3))
    if shown.data is not None:
        density = smooth_2d(shown.data[:, [j, i]], low, high)
        if ends := levels(density, cell):
            axes.contourf(x, y, density, [*ends, np.inf], colors=_GREYS[-len(ends) :])
    density = smooth_2d(corner.samples[:, [j, i]], low, high)
    if ends := levels(density, cell):
        widths = (0.8, 1.2)[-len(ends) :]
        axes.contour(x, y, density, ends, colors=corner.colour, linewidths=widths)


def smooth_1d(values: Array, low: float, high: float) -> tuple[Array, Array]:
    """Return the centres of cells and a Gaussian kernel density `(CELLS,)` of values `(n,)` there.

    The bandwidth is Scott's, n^(-1/5) times the standard deviation, and at least half a cell.
    """
    from scipy.ndimage import gaussian_filter1d

    cell = (high - low) / CELLS
    counts, _ = np.histogram(values, CELLS, (low, high))
    bandwidth = max(len(values) ** -0.2 * float(values.std()) / cell, 0.5)
    density = gaussian_filter1d(counts / (len(values) * cell), bandwidth, mode="constant")
    return low + (high - low) * _CENTRES, density


def smooth_2d(values: Array, low: Array, high: Array) -> Array:
    """Return a Gaussian kernel density `(CELLS, CELLS)` of values `(n, 2)`; rows: the second.

    The bandwidth is Scott's, n^(-1/6) times each standard deviation, and at least half a cell.
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
    """Return the densities above which these shares of all rows lie, rising; `cell` is an area.

    A share that lies partly beyond the grid has none.
    """
    ordered = np.sort(density, axis=None)[::-1]
    mass = np.cumsum(ordered) * cell
    places = np.searchsorted(mass, shares)
    # A contour needs rising levels; for a spike in one cell they are all the same.
    return [float(level) for level in np.unique(ordered[places[places < len(mass)]])]
