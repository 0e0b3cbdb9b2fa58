"""Marginals of the columns in which the methods are furthest from the data, and of their pairs.

The densities are kernel estimates on a grid, by a Gaussian filter of binned values: for 10,000 rows
it takes milliseconds where a sum over all rows takes seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.figures import style
from bench.figures.request import (
    Array,
    Group,
    Plot,
    Request,
    select,
)

#: Methods, columns and rows of a sample at most; columns where none are named.
ROWS, COLUMNS, POINTS, CHOSEN = 4, 5, 10_000, 4

#: The contours enclose these shares of the rows; cells along an axis of the grid.
SHARES, CELLS = (0.9, 0.5), 96

_GREYS, _GREY = ("#dedede", "#b4b4b4"), "#8a8a8a"


def draw(request: Request) -> Plot:
    """Draw a corner plot for each method on one data set, the first of more than two dimensions."""

    def tables_first(frame: pd.DataFrame) -> pd.DataFrame:
        many = set(frame.loc[frame["d"].gt(2).fillna(False), "dataset"])
        return frame[frame["dataset"].isin(many)] if many else frame

    selection = select(request, 1, ROWS, tables_first)
    ((group, figure),), lines = selection.parts(_corners, "keeps samples that can be drawn")
    return selection.plot(figure, lines, [group])


def _corners(group: Group, lines: list[str]) -> tuple[Group, style.Figure] | None:
    """The corner plots of a group, if a run keeps samples."""
    from scipy.stats import ks_2samp

    kept, request, d = group.samples(POINTS), group.request, group.d
    if not kept:
        return None
    real, why = group.real_rows(POINTS, lines), ""
    if request.columns or real.rows is None or d <= CHOSEN:
        columns = group.columns(COLUMNS if request.columns else CHOSEN)
    else:
        each = [ks_2samp(rows, real.rows, method="asymp").statistic for rows in kept.values()]
        far = np.mean(each, axis=0)
        columns = sorted(np.argsort(-far, kind="stable")[:CHOSEN].tolist())
        why = (
            ", those in which the methods are furthest from the data (mean Kolmogorov-Smirnov "
            f"distance {', '.join(f'{far[c]:.2f}' for c in columns)})"
        )
    data = None if real.rows is None else real.rows[:, columns]
    sets = {label: rows[:, columns] for label, rows in kept.items()}
    limits = _frame(data, np.concatenate([*sets.values()]))
    sizes = sorted({len(rows) for rows in kept.values()})
    sample = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    test = "" if data is None else f" and of {len(data):,} of {real.total:,} test rows (grey)"
    lines += [
        f"{group.title}: columns {', '.join(map(str, columns))} of {d}, counted from 0{why}.",
        f"Contours enclose 90 % and 50 % of {sample} samples of a method (lines){test}; Gaussian "
        "kernels, Scott's bandwidth. A contour that would extend far beyond the axes is omitted.",
    ]
    out = style.outside(sets, *limits)
    if beyond := [f"{label} {n / len(sets[label]):.1%}" for label, n in out]:
        lines.append(f"Outside the axes: {', '.join(beyond)}.")
    if missing := [one.label for one in group.rows if one.label not in kept]:
        lines.append(f"No samples: {', '.join(missing)}.")
    group = group.only(kept)
    # The panels are narrow: units go on a line of their own.
    names = [group.name_of(column).replace(" (", "\n(") for column in columns]
    across = min(2, len(sets))
    down = math.ceil(len(sets) / across)
    width = style.PAGE / 2 if len(names) > 1 else 2.4
    with style.canvas(width * across, (width + 0.15) * down + 0.5) as figure:
        style.heading(figure, group.title)
        parts = figure.subfigures(down, across, squeeze=False)
        for part, one in zip(parts.flat, group.rows, strict=False):
            style.heading(part, f"{one.label}, {one.metric(request.metric or 'mmd_m')}", 8.5)
            _corner(part, names, limits, data, sets[one.label], one.look.colour)
        handles = {"the method: contours of 90 % and 50 %": {"color": style.INK, "lw": 1.2}}
        if data is not None:
            grey = style.DOT | {"marker": "s", "ms": 8, "mfc": _GREYS[1], "mec": _GREY}
            handles = {"data: 90 % and 50 % of the rows": grey, **handles}
        style.legend(figure, handles)
    return group, figure


def _frame(data: Array | None, drawn: Array) -> tuple[Array, Array]:
    """Axis limits that hold the data and most of the samples, at most three times the data's."""
    if data is None:
        return style.frame_around(drawn)
    low, high = style.frame_around(data)
    least, most = np.quantile(drawn, [0.02, 0.98], axis=0)
    span = high - low
    return np.clip(least, low - span, low), np.clip(most, high, high + span)


def _corner(
    part: style.SubFigure,
    names: Sequence[str],
    limits: tuple[Array, Array],
    data: Array | None,
    rows: Array,
    colour: str,
) -> None:
    """Draw samples `(n, k)` before test rows `(m, k)`, if any: k columns and their pairs."""
    k = len(names)
    grid = style.panels(part, [[""] * (i + 1) for i in range(k)], sharex="col")
    for i, row in enumerate(grid):
        row[0].set_ylabel(names[i] if i else "density\n(1/unit)", fontsize=6.5)
        for j, axes in enumerate(row):
            pair = [j] if i == j else [j, i]
            low, high = (end[pair] for end in limits)
            behind = None if data is None else smooth(data[:, pair], low, high)
            drawn, places = smooth(rows[:, pair], low, high), style.centres(low, high, CELLS)
            (_single if i == j else _pair)(axes, colour, places, behind, drawn)
            axes.set_xlim(low[0], high[0])
            axes.spines["left"].set_visible(i != j or k == 1)
            axes.tick_params(labelsize=6, left=i != j or k == 1, labelleft=j == 0 < i)
            axes.locator_params(nbins=3)
    for axes, name in zip(grid[-1], names, strict=True):
        axes.set_xlabel(name, fontsize=6.5)


def _single(axes: style.Axes, colour: str, x: Array, data: Array | None, density: Array) -> None:
    if data is not None:
        axes.fill_between(x[0], data, color=_GREYS[0], lw=0)
        axes.plot(x[0], data, color=_GREY, lw=0.8)
    axes.plot(x[0], density, color=colour, lw=1.2)
    axes.set_ylim(bottom=0)


def _pair(axes: style.Axes, colour: str, xy: Array, data: Array | None, density: Array) -> None:
    cell = float(np.prod(xy[:, 1] - xy[:, 0]))
    axes.set_ylim(xy[1, 0], xy[1, -1])
    if data is not None and (ends := levels(data, cell)):
        axes.contourf(*xy, data.T, [*ends, np.inf], colors=_GREYS[-len(ends) :])
    if ends := levels(density, cell):
        widths = (0.8, 1.2)[-len(ends) :]
        axes.contour(*xy, density.T, ends, colors=colour, linewidths=widths)


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
