"""Samples of each method beside test rows: points in the plane, pictures, or two columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import NothingMeasured
from bench.plots.asked import Asked, Drawn, wrapped
from bench.plots.at_hand import Array, RealRows, rows_of, samples, without_rows
from bench.plots.columns import UNIT, columns_of, frame_around, name_of, outside
from bench.plots.selection import Group, select
from bench.records.selection import latest

if TYPE_CHECKING:
    from bench.figures.samples import Strip

#: Data sets, methods and points in a panel at most.
GROUPS, ROWS, POINTS = 3, 7, 2_000


def draw(asked: Asked) -> Drawn:
    """A strip for each data set: test rows, then each method's samples, on the same axes.

    Raises:
        UsageError: there is no such metric or column.
        NothingMeasured: no run keeps samples.
    """
    from bench.figures.samples import diagram

    metric = asked.metric or "mmd_m"
    frame, left_out = latest(asked.frame())
    selection = select(asked, asked.under_budget(frame), GROUPS, ROWS)
    strips, drawn, lines = [], [], []
    rows = rows_of(selection, asked.data, POINTS)
    for group, real in zip(selection.groups, rows, strict=True):
        kept, missing = _with_samples(group, asked)
        lines += missing
        if kept:
            strip, told = _strip(asked, group, kept, real, metric)
            strips.append(strip)
            drawn.append(group.only(kept))
            lines += told
    if not strips:
        raise NothingMeasured(
            f"No run in {asked.results} keeps samples that can be drawn.",
            "Run them again: bench run keeps samples.npz beside the record.",
        )
    lines += without_rows(selection, rows)
    return Drawn(diagram(strips), (*map(wrapped, lines), *selection.lines(drawn)), tuple(left_out))


def _with_samples(group: Group, asked: Asked) -> tuple[dict[str, Array], list[str]]:
    """The samples of each row, by its label, and a sentence on those that keep none."""
    found = {one.label: samples(asked.results, one.name, POINTS) for one in group.rows}
    missing = [label for label, rows in found.items() if rows is None]
    kept = {label: rows for label, rows in found.items() if rows is not None}
    return kept, [f"No samples on {group.title}: {', '.join(missing)}."] if missing else []


def _strip(
    asked: Asked, group: Group, kept: dict[str, Array], real: RealRows, metric: str
) -> tuple[Strip, list[str]]:
    n = min(len(rows) for rows in (*kept.values(), *([] if real.rows is None else [real.rows])))
    sets = {label: rows[:n] for label, rows in kept.items()}
    if real.rows is not None:
        sets = {"": real.rows[:n], **sets}
    if real.dataset is not None and real.dataset.pictures is not None and not asked.columns:
        strip = _pictures(group, sets, real, metric)
        return strip, list(_about_pictures(group, strip, real))
    columns = columns_of(asked, group.dataset, group.d, 2)
    if len(columns) == 1:
        columns = columns * 2
    return _points(group, {k: rows[:, columns] for k, rows in sets.items()}, columns, real, metric)


def _points(
    group: Group, sets: dict[str, Array], columns: list[int], real: RealRows, metric: str
) -> tuple[Strip, list[str]]:
    from bench.figures.samples import Strip

    basis = sets[""] if "" in sets else np.concatenate(list(sets.values()))
    low, high = frame_around(basis)
    names = tuple(name_of(column, group.d) for column in columns)
    strip = Strip(group.title, names, low, high, ())
    told = [_about_points(group, sets, columns, real)]
    beyond = dict(zip(sets, outside(list(sets.values()), low, high), strict=True))
    n = len(basis) if "" in sets else len(next(iter(sets.values())))
    if far := [f"{k or 'data'} {v}" for k, v in beyond.items() if v]:
        told.append(f"Outside of the axes on {group.title}, of {n:,}: {', '.join(far)}.")
    return _filled(strip, group, sets, metric), told


def _about_points(group: Group, sets: dict[str, Array], columns: list[int], real: RealRows) -> str:
    each = len(next(iter(sets.values())))
    plane = "" if group.d == 2 else f", columns {columns[0]} and {columns[1]} of {group.d}"
    beside = f" and as many of {real.total:,} test rows" if "" in sets else ""
    return f"{group.title}: {each:,} samples of each method{beside}{plane}."


def _pictures(group: Group, sets: dict[str, Array], real: RealRows, metric: str) -> Strip:
    from bench.figures.samples import SIDE, Strip

    assert real.dataset is not None
    assert real.dataset.pictures is not None
    shown = {label: real.dataset.pictures(rows[: SIDE * SIDE]) for label, rows in sets.items()}
    basis = shown[""] if "" in shown else np.concatenate(list(shown.values()))
    low, high = np.quantile(basis, [0.005, 0.995])
    strip = Strip(group.title, (f"grey value ({UNIT})",), np.array([low]), np.array([high]), ())
    return _filled(strip, group, shown, metric)


def _about_pictures(group: Group, strip: Strip, real: RealRows) -> Iterator[str]:
    n, height, width = strip.panels[0].values.shape
    beside = f" and {n} of {real.total:,} test rows" if real.rows is not None else ""
    yield (
        f"{group.title}: {n} samples of each method{beside}, the first ones, as pictures of "
        f"{height}x{width}; one grey scale, whose ends leave out 0.5 % of the pixels of "
        f"{'data' if real.rows is not None else 'all of them'} at each side."
    )


def _filled(strip: Strip, group: Group, sets: dict[str, Array], metric: str) -> Strip:
    """The strip with a panel for each set of values; that of the data has no label."""
    from bench.figures.looks import PALE, look
    from bench.figures.samples import Panel

    rows = {one.label: one for one in group.rows}
    panels = []
    for label, values in sets.items():
        if label:
            one = rows[label]
            title, colour = f"{label}\n{one.figure(metric)}", look(one.method).colour
        else:
            title, colour = "data (test rows)\n", PALE
        panels.append(Panel(title, colour, values))
    return replace(strip, panels=tuple(panels))
