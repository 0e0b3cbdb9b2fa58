"""Samples of each method beside test rows: points in the plane, images, or two columns."""

from __future__ import annotations

import itertools

import numpy as np

from bench.figures import style
from bench.figures.request import ACROSS, Array, Group, Plot, Request, Strip, plot_strips, select

#: Data sets, methods, and points in a panel at most; images along each side of a panel.
GROUPS, ROWS, POINTS, SIDE = 3, 7, 2_000, 5

#: The label of the test rows among those of the methods.
DATA = "data (test rows)"


def draw(request: Request) -> Plot:
    """Draw a strip for each data set: test rows, then each method's samples, on the same axes."""
    return plot_strips(select(request, GROUPS, ROWS), _strip, "keeps samples to draw")


def _strip(group: Group, lines: list[str]) -> Strip | None:
    """The strip of a group, if a row keeps samples."""
    kept, real = group.samples(POINTS), group.real_rows(POINTS, lines)
    if missing := [one.label for one in group.rows if one.label not in kept]:
        lines.append(f"No samples on {group.title}: {', '.join(missing)}.")
    if not kept:
        return None
    group = group.only(kept)
    metric = group.request.metric or "mmd_m"
    titles = [f"{one.label}\n{one.metric(metric)}" for one in group.rows]
    colours = [one.look.colour for one in group.rows]
    if real.rows is not None:
        kept = {DATA: real.rows, **kept}
        titles, colours = [f"{DATA}\n", *titles], [style.PALE, *colours]
    n = min(map(len, kept.values()))
    pictures = real.dataset.pictures if real.dataset and not group.request.columns else None
    if pictures is not None:
        n, columns = min(n, SIDE * SIDE), []
        sets = {label: pictures(rows[:n]) for label, rows in kept.items()}
    else:
        columns = (group.columns(2) * 2)[:2]  # the only column of a line against itself
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
        low, high = style.frame_around(basis)
        plane = "" if group.d == 2 else f", columns {columns[0]} and {columns[1]} of {group.d}"
        lines.append(f"{group.title}: {n:,} samples of each method{beside}{plane}.")
        if far := [f"{label} {count}" for label, count in style.outside(sets, low, high)]:
            lines.append(f"Outside the axes on {group.title}, out of {n:,}: {', '.join(far)}.")

    def paint(part: style.SubFigure, grid: list[list[style.Axes]]) -> None:
        """Draw points, or images."""
        for axes, drawn, colour in zip(itertools.chain(*grid), sets.values(), colours, strict=True):
            if pictures is None:
                x, y = drawn.T
                axes.scatter(x, y, s=2.2, color=colour, alpha=0.5, lw=0, rasterized=True)
            else:
                sheet = sheet_of(drawn)
                image = axes.imshow(sheet, "gray", interpolation="nearest", vmin=low, vmax=high)
                axes.set_axis_off()
        if pictures is None:
            style.set_axes(grid, low, high, *map(group.name_of, columns))
        else:
            style.colour_bar(part, grid, image, f"grey value ({style.UNIT})", "both")

    return Strip(group, style.in_rows(titles, ACROSS), paint)


def sheet_of(images: Array, side: int = SIDE) -> Array:
    """Return the first `side`² images `(n, height, width)` as one, row by row, parted by NaN."""
    n, height, width = images.shape
    tiles = np.full((side * side, height + 1, width + 1), np.nan)
    tiles[:n, :-1, :-1] = images[: side * side]
    rows = tiles.reshape(side, side, height + 1, width + 1).swapaxes(1, 2)
    return rows.reshape(side * (height + 1), -1)[:-1, :-1]
