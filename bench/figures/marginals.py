"""Marginals of the columns in which the methods are furthest from the data, and of their pairs.

The densities are kernel estimates on a grid, by a Gaussian filter of binned values: for 10,000 rows
it takes milliseconds where a sum over all rows takes seconds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.figures import style
from bench.figures.request import (
    Array,
    Plot,
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

_GREYS, _GREY = ("#dedede", "#b4b4b4"), "#8a8a8a"


@dataclass(frozen=True)
class Corners:
    """What the corner plots of a data set share: test rows `(n, k)` of k columns, or None.

    `names`, `low` and `high` are those of the axes, `(k,)`.
    """

    data: Array | None
    names: list[str]
    low: Array
    high: Array


def draw(request: Request) -> Plot:
    """Draw a corner plot for each method on one data set, the first of more than two dimensions."""

    def tables_first(frame: pd.DataFrame) -> pd.DataFrame:
        many = set(frame.loc[frame["d"].gt(2).fillna(False), "dataset"])
        return frame[frame["dataset"].isin(many)] if many else frame

    selection = select(request, 1, ROWS, tables_first)
    (group,) = selection.groups
    kept = samples(request.results, group, POINTS)
    if not kept:
        raise NothingMeasured(
            f"No run on {group.title} in {request.results} keeps samples that can be drawn.",
            "Run them again: bench run keeps samples.npz beside the record.",
        )
    real = real_rows(group, request.data, POINTS)
    if request.columns or real.rows is None or group.d <= CHOSEN:
        columns, why = columns_of(request, group, COLUMNS if request.columns else CHOSEN), ""
    else:
        far = np.mean([distance(rows, real.rows) for rows in kept.values()], axis=0)
        columns = sorted(np.argsort(-far, kind="stable")[:CHOSEN].tolist())
        why = (
            ", those in which the methods are furthest from the data (mean Kolmogorov-Smirnov "
            f"distance {', '.join(f'{far[c]:.2f}' for c in columns)})"
        )
    data = None if real.rows is None else real.rows[:, columns]
    sets = {label: rows[:, columns] for label, rows in kept.items()}
    frame = _frame(data, np.concatenate(list(sets.values())))
    shared = Corners(data, [name_of(column, group.d) for column in columns], *frame)
    shown, styles, metric = group.only(kept), selection.styles(), request.metric or "mmd_m"
    sizes = sorted({len(rows) for rows in kept.values()})
    each = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    test = "" if data is None else f" and of {len(data):,} of {real.total:,} test rows (grey)"
    lines = [
        f"{group.title}: columns {', '.join(map(str, columns))} of {group.d}, counted from 0{why}.",
        f"Contours enclose 90 % and 50 % of {each} samples of a method (lines){test}; Gaussian "
        "kernels, Scott's bandwidth. A contour that would extend far beyond the axes is omitted.",
    ]
    if data is None:
        lines.append(f"No test rows of {group.title}: {real.reason}")
    if beyond := [f"{label} {n / len(sets[label]):.1%}" for label, n in outside(sets, *frame)]:
        lines.append(f"Outside the axes: {', '.join(beyond)}.")
    if missing := [one.label for one in group.rows if one.label not in kept]:
        lines.append(f"No samples: {', '.join(missing)}.")
    corners = [
        (f"{one.label}, {one.metric(metric)}", styles[one.label].colour, sets[one.label])
        for one in shown.rows
    ]
    return selection.plot(diagram(group.title, corners, shared), lines, [shown])


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


def diagram(title: str, corners: Sequence[tuple[str, str, Array]], shared: Corners) -> style.Figure:
    """Draw a corner plot for each method's title, colour and samples `(n, k)`, two side by side."""
    from matplotlib.patches import Patch

    k, across = len(shared.names), min(2, len(corners))
    down = math.ceil(len(corners) / across)
    width = style.PAGE / 2 if k > 1 else 2.4
    with style.canvas(width * across, (width + 0.15) * down + 0.5) as figure:
        style.heading(figure, title)
        parts = figure.subfigures(down, across, squeeze=False)
        for part, (name, colour, rows) in zip(parts.flat, corners, strict=False):
            style.heading(part, name, 8.5)
            _corner(part, colour, rows, shared)
        handles = {"the method: contours of 90 % and 50 %": style.key_line(color=style.INK, lw=1.2)}
        if shared.data is not None:
            grey = Patch(facecolor=_GREYS[1], edgecolor=_GREY)
            handles = {"data: 90 % and 50 % of the rows": grey, **handles}
        style.legend(figure, handles)
    return figure


def _corner(part: style.SubFigure, colour: str, rows: Array, shared: Corners) -> None:
    k = len(shared.names)
    # The panels are narrow: units go on a line of their own.
    names = [name.replace(" (", "\n(") for name in shared.names]
    grid = part.subplots(k, k, squeeze=False, sharex="col")
    for i, j in itertools.product(range(k), repeat=2):
        axes = grid[i, j]
        if j > i:
            axes.remove()
            continue
        style.dress(axes)
        axes.tick_params(labelsize=6, labelbottom=i == k - 1, labelleft=j == 0 < i)
        axes.set_xlim(shared.low[j], shared.high[j])
        if i == j:
            _single(axes, colour, rows, shared, j)
        else:
            _pair(axes, colour, rows, shared, [j, i])
        axes.xaxis.set_major_locator(style.few_ticks(3))
        left = "" if j else names[i] if i else "density\n(1/unit)"
        style.name_axes(axes, names[j] if i == k - 1 else "", left)
        axes.xaxis.label.set_fontsize(6.5)
        axes.yaxis.label.set_fontsize(6.5)


def _single(axes: style.Axes, colour: str, rows: Array, shared: Corners, j: int) -> None:
    low, high = shared.low[[j]], shared.high[[j]]
    (x,) = centres(low, high)
    if shared.data is not None:
        density = smooth(shared.data[:, [j]], low, high)
        axes.fill_between(x, density, color=_GREYS[0], lw=0)
        axes.plot(x, density, color=_GREY, lw=0.8)
    axes.plot(x, smooth(rows[:, [j]], low, high), color=colour, lw=1.2)
    axes.set_ylim(bottom=0)
    if len(shared.names) > 1:
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)


def _pair(axes: style.Axes, colour: str, rows: Array, shared: Corners, pair: list[int]) -> None:
    low, high = shared.low[pair], shared.high[pair]
    x, y = centres(low, high)
    cell = float(np.prod((high - low) / CELLS))
    axes.set_ylim(low[1], high[1])
    axes.yaxis.set_major_locator(style.few_ticks(3))
    if shared.data is not None:
        density = smooth(shared.data[:, pair], low, high).T
        if ends := levels(density, cell):
            axes.contourf(x, y, density, [*ends, np.inf], colors=_GREYS[-len(ends) :])
    density = smooth(rows[:, pair], low, high).T
    if ends := levels(density, cell):
        widths = (0.8, 1.2)[-len(ends) :]
        axes.contour(x, y, density, ends, colors=colour, linewidths=widths)


def centres(low: Array, high: Array) -> Array:
    """Return the centres `(k, CELLS)` of the grid's cells along k axes."""
    return low[:, None] + (high - low)[:, None] * (np.arange(CELLS) + 0.5) / CELLS


def smooth(values: Array, low: Array, high: Array) -> Array:
    """Return a Gaussian kernel density of values `(n, k)` at the centres of the grid's cells.

    The bandwidth is Scott's, n^(-1/(k+4)) times each standard deviation, and at least half a cell.
    """
    from scipy.ndimage import gaussian_filter

    n, k = values.shape
    cells = (high - low) / CELLS
    counts, _ = np.histogramdd(values, CELLS, list(zip(low, high, strict=True)))
    bandwidth = np.maximum(n ** (-1 / (k + 4)) * values.std(axis=0) / cells, 0.5)
    density: Array = gaussian_filter(counts / (n * cells.prod()), bandwidth, mode="constant")
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
