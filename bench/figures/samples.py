"""Samples of each method beside test rows: points in the plane, images, or two columns."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class SampleStrip:
    """The panels of a data set, which share their axes.

    `panels` hold a title, a colour, and points `(n, 2)` or images `(n, height, width)`. `names` are
    those of the axes, `low` and `high` `(2,)` their limits; for images there is one name and one
    pair of limits, those of the grey scale.
    """

    title: str
    names: tuple[str, ...]
    low: Array
    high: Array
    panels: tuple[tuple[str, str, Array], ...]


def draw(request: Request) -> Plot:
    """Draw a strip for each data set: test rows, then each method's samples, on the same axes."""
    selection = select(request, GROUPS, ROWS)
    make = partial(_strip, request, selection.styles())
    return plot_strips(request, selection, POINTS, make, diagram, "keeps samples to draw")


def _strip(
    request: Request, styles: dict[str, style.Style], group: Group, real: RealRows
) -> tuple[SampleStrip | None, Group, list[str]]:
    """The strip of a group, if a row keeps samples; what it shows, and lines of the caption."""
    found = {one.label: samples(request.results, one.name, POINTS) for one in group.rows}
    kept = {label: rows for label, rows in found.items() if rows is not None}
    missing = ", ".join(label for label in found if label not in kept)
    lines = [f"No samples on {group.title}: {missing}."] if missing else []
    if not kept:
        return None, group, lines
    group = group.only(kept)
    if real.rows is not None:
        kept = {DATA: real.rows, **kept}
    n = min(map(len, kept.values()))
    kept = {label: rows[:n] for label, rows in kept.items()}
    images = real.dataset.pictures if real.dataset is not None else None
    if images is not None and not request.columns:
        sets = {label: images(rows[: SIDE * SIDE]) for label, rows in kept.items()}
        names: tuple[str, ...] = (f"grey value ({UNIT})",)
        low, high = (np.array([end]) for end in np.quantile(_basis(sets), [0.005, 0.995]))
        count, height, width = _basis(sets).shape
        beside = f" and {count} of {real.total:,} test rows" if DATA in sets else ""
        lines.append(
            f"{group.title}: the first {len(sets[group.rows[0].label])} samples of each method"
            f"{beside} as {height}x{width} images on one grey scale, which clips 0.5 % of the "
            f"{'test' if DATA in sets else 'sample'} pixels at either end."
        )
    else:
        columns = columns_of(request, group, 2)
        columns = columns * 2 if len(columns) == 1 else columns
        sets = {label: rows[:, columns] for label, rows in kept.items()}
        names = tuple(name_of(column, group.d) for column in columns)
        low, high = frame_around(_basis(sets))
        plane = "" if group.d == 2 else f", columns {columns[0]} and {columns[1]} of {group.d}"
        beside = f" and {n:,} of {real.total:,} test rows" if DATA in sets else ""
        lines.append(f"{group.title}: {n:,} samples of each method{beside}{plane}.")
        if far := [f"{label} {count}" for label, count in outside(sets, low, high)]:
            lines.append(f"Outside the axes on {group.title}, out of {n:,}: {', '.join(far)}.")
    if real.rows is None:
        lines.append(f"No test rows of {group.title}: {real.reason}")
    metric = request.metric or "mmd_m"
    panels = [(f"{DATA}\n", style.PALE, sets[DATA])] if DATA in sets else []
    for one in group.rows:
        title = f"{one.label}\n{one.metric(metric)}"
        panels.append((title, styles[one.label].colour, sets[one.label]))
    return SampleStrip(group.title, names, low, high, tuple(panels)), group, lines


def _basis(sets: dict[str, Array]) -> Array:
    """What sets the limits of the axes: the data, or else all samples."""
    return sets[DATA] if DATA in sets else np.concatenate([*sets.values()])


def diagram(shown: list[SampleStrip]) -> style.Figure:
    """Draw a strip of panels for each data set."""
    titles = [(strip.title, [title for title, _, _ in strip.panels]) for strip in shown]
    with style.strips(titles) as (figure, places):
        for place, strip in zip(places, shown, strict=True):
            (_images if strip.panels[0][2].ndim == 3 else _points)(place, strip)
    return figure


def _points(place: style.PanelStrip, strip: SampleStrip) -> None:
    for axes, (_, colour, points) in zip(place.panels, strip.panels, strict=True):
        axes.scatter(
            points[:, 0], points[:, 1], s=2.2, color=colour, alpha=0.5, lw=0, rasterized=True
        )
        axes.set_xlim(strip.low[0], strip.high[0])
        axes.set_ylim(strip.low[1], strip.high[1])
    place.share(strip.names)


def _images(place: style.PanelStrip, strip: SampleStrip) -> None:
    low, high = float(strip.low[0]), float(strip.high[0])
    for axes, (_, _, images) in zip(place.panels, strip.panels, strict=True):
        sheet = sheet_of(images)
        image = axes.imshow(sheet, cmap="gray", interpolation="nearest", vmin=low, vmax=high)
        axes.set_axis_off()
    place.bar(image, strip.names[0], "both")


def sheet_of(images: Array, side: int = SIDE) -> Array:
    """Return the first `side`² images `(n, height, width)` as one, row by row, parted by NaN."""
    n, height, width = images.shape
    sheet = np.full((side * (height + 1) - 1, side * (width + 1) - 1), np.nan)
    for place in range(min(n, side * side)):
        top, left = place // side * (height + 1), place % side * (width + 1)
        sheet[top : top + height, left : left + width] = images[place]
    return sheet
