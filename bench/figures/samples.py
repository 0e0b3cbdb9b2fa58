"""Samples of each method beside test rows: points in the plane, images, or two columns."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np

from bench.figures import style
from bench.figures.request import (
    UNIT,
    Array,
    Group,
    Plot,
    RealRows,
    Request,
    columns_of,
    frame_around,
    name_of,
    outside,
    plot_strips,
    samples,
    select,
)

#: Data sets, methods, and points in a panel at most; images along each side of a panel.
GROUPS, ROWS, POINTS, SIDE = 3, 7, 2_000, 5

#: The label of the test rows among those of the methods.
DATA = "data (test rows)"


def draw(request: Request) -> Plot:
    """Draw a strip for each data set: test rows, then each method's samples, on the same axes."""
    selection = select(request, GROUPS, ROWS)
    make = partial(_strip, request, selection.styles())
    return plot_strips(request, selection, POINTS, make, "keeps samples to draw")


def _strip(
    request: Request, styles: dict[str, style.Style], group: Group, real: RealRows
) -> tuple[style.Strip | None, Group, list[str]]:
    """The strip of a group, if a row keeps samples; what it shows, and lines of the caption."""
    kept = samples(request.results, group, POINTS)
    missing = ", ".join(one.label for one in group.rows if one.label not in kept)
    lines = [f"No samples on {group.title}: {missing}."] if missing else []
    if not kept:
        return None, group, lines
    group = group.only(kept)
    metric = request.metric or "mmd_m"
    titles = [f"{one.label}\n{one.metric(metric)}" for one in group.rows]
    colours = [styles[one.label].colour for one in group.rows]
    if real.rows is not None:
        kept = {DATA: real.rows, **kept}
        titles, colours = [f"{DATA}\n", *titles], [style.PALE, *colours]
    n = min(map(len, kept.values()))
    pictures = real.dataset.pictures if real.dataset is not None else None
    if pictures is not None and not request.columns:
        n = min(n, SIDE * SIDE)
        sets = {label: pictures(rows[:n]) for label, rows in kept.items()}
    else:
        pictures, columns = None, columns_of(request, group, 2)
        columns = columns * 2 if len(columns) == 1 else columns
        sets = {label: rows[:n, columns] for label, rows in kept.items()}
    basis = sets[DATA] if DATA in sets else np.concatenate([*sets.values()])
    beside = f" and {n:,} of {real.total:,} test rows" if DATA in sets else ""
    if pictures is not None:
        low, high = np.quantile(basis, [0.005, 0.995])
        height, width = basis.shape[1:]
        lines.append(
            f"{group.title}: the first {n} samples of each method{beside} as {height}x{width} "
            "images on one grey scale, which clips 0.5 % of the "
            f"{'test' if DATA in sets else 'sample'} pixels at either end."
        )
    else:
        low, high = frame_around(basis)
        plane = "" if group.d == 2 else f", columns {columns[0]} and {columns[1]} of {group.d}"
        lines.append(f"{group.title}: {n:,} samples of each method{beside}{plane}.")
        if far := [f"{label} {count}" for label, count in outside(sets, low, high)]:
            lines.append(f"Outside the axes on {group.title}, out of {n:,}: {', '.join(far)}.")
    if real.rows is None:
        lines.append(f"No test rows of {group.title}: {real.reason}")

    def paint(part: style.SubFigure, grid: list[list[style.Axes]]) -> None:
        """Draw points, or images."""
        for axes, drawn, colour in zip(itertools.chain(*grid), sets.values(), colours, strict=True):
            if pictures is None:
                x, y = drawn.T
                axes.scatter(x, y, s=2.2, color=colour, alpha=0.5, lw=0, rasterized=True)
            else:
                image = axes.imshow(
                    sheet_of(drawn), cmap="gray", interpolation="nearest", vmin=low, vmax=high
                )
                axes.set_axis_off()
        if pictures is None:
            style.share_axes(grid, low, high, *(name_of(column, group.d) for column in columns))
        else:
            style.colour_bar(part, grid, image, f"grey value ({UNIT})", "both")

    return style.Strip(group.title, style.in_rows(titles), paint), group, lines


def sheet_of(images: Array, side: int = SIDE) -> Array:
    """Return the first `side`² images `(n, height, width)` as one, row by row, parted by NaN."""
    n, height, width = images.shape
    sheet = np.full((side * (height + 1) - 1, side * (width + 1) - 1), np.nan)
    for place in range(min(n, side * side)):
        top, left = place // side * (height + 1), place % side * (width + 1)
        sheet[top : top + height, left : left + width] = images[place]
    return sheet
