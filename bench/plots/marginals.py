"""Marginals of the columns in which the methods are furthest from the data, and of their pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.plots.asked import Asked, Drawn, wrapped
from bench.plots.at_hand import Array, RealRows, real_rows, samples
from bench.plots.columns import columns_of, frame_around, name_of, outside
from bench.plots.selection import Group, select
from bench.records.selection import latest

if TYPE_CHECKING:
    from bench.figures.marginals import Corners

#: Methods, columns and rows of a sample at most; columns where none are named.
ROWS, COLUMNS, POINTS, CHOSEN = 4, 5, 10_000, 4


def draw(asked: Asked) -> Drawn:
    """A corner plot for each method on one data set: a table before a plane, the first by name.

    Raises:
        UsageError: there is no such metric or column.
        NothingMeasured: no run keeps samples.
    """
    from bench.figures.marginals import diagram

    frame, left_out = latest(asked.under_budget(asked.frame()))
    selection = select(asked, _tables_first(frame), 1, ROWS)
    (group,) = selection.groups
    found = {one.label: samples(asked.results, one.name, POINTS) for one in group.rows}
    kept = {label: rows for label, rows in found.items() if rows is not None}
    if not kept:
        raise NothingMeasured(
            f"No run on {group.title} in {asked.results} keeps samples that can be drawn.",
            "Run them again: bench run keeps samples.npz beside the record.",
        )
    real = real_rows(group, asked.data, POINTS)
    columns, why = _columns(asked, group, real, list(kept.values()))
    shown = _corners(asked, group, kept, real, columns)
    lines = [*_about(group, kept, real, columns, why), *_beyond(shown)]
    if missing := [label for label, rows in found.items() if rows is None]:
        lines.append(f"No samples: {', '.join(missing)}.")
    return Drawn(
        diagram(shown),
        (*map(wrapped, lines), *selection.lines([group.only(kept)])),
        tuple(left_out),
    )


def _tables_first(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs on data sets of more than two dimensions, where there are some; else all."""
    many = set(frame.loc[frame["d"].gt(2).fillna(False), "dataset"])
    return frame[frame["dataset"].isin(many)] if many else frame


def _columns(
    asked: Asked, group: Group, real: RealRows, kept: Sequence[Array]
) -> tuple[list[int], str]:
    """The columns to show, in order, and why these."""
    if asked.columns or real.rows is None or group.d <= CHOSEN:
        most = COLUMNS if asked.columns else CHOSEN
        return columns_of(asked, group.dataset, group.d, most), ""
    far = np.mean([distance(rows, real.rows) for rows in kept], axis=0)
    columns = sorted(np.argsort(-far, kind="stable")[:CHOSEN].tolist())
    return columns, (
        ", those in which the methods are furthest from the data (mean Kolmogorov-Smirnov "
        f"distance {', '.join(f'{far[c]:.2f}' for c in columns)})"
    )


def distance(a: Array, b: Array) -> Array:
    """The Kolmogorov-Smirnov distance `(d,)` of each column of rows `(n, d)` and `(m, d)`."""
    found = []
    for one, other in zip(a.T, b.T, strict=True):
        one, other = np.sort(one), np.sort(other)
        both = np.concatenate([one, other])
        first = np.searchsorted(one, both, side="right") / len(one)
        second = np.searchsorted(other, both, side="right") / len(other)
        found.append(np.abs(first - second).max())
    return np.array(found)


def _corners(
    asked: Asked, group: Group, kept: dict[str, Array], real: RealRows, columns: list[int]
) -> Corners:
    from bench.figures.looks import look
    from bench.figures.marginals import Corner, Corners

    metric = asked.metric or "mmd_m"
    data = None if real.rows is None else real.rows[:, columns]
    low, high = _frame(data, np.concatenate([rows[:, columns] for rows in kept.values()]))
    corners = tuple(
        Corner(
            f"{one.label}, {one.figure(metric)}",
            look(one.method).colour,
            kept[one.label][:, columns],
        )
        for one in group.rows
        if one.label in kept
    )
    names = tuple(name_of(column, group.d) for column in columns)
    return Corners(group.title, names, low, high, data, corners)


def _frame(data: Array | None, drawn: Array) -> tuple[Array, Array]:
    """The ends of axes that hold the data and most of the samples, at most thrice as long."""
    if data is None:
        return frame_around(drawn)
    low, high = frame_around(data)
    least, most = np.quantile(drawn, [0.02, 0.98], axis=0)
    span = high - low
    return np.clip(least, low - span, low), np.clip(most, high, high + span)


def _about(
    group: Group, kept: dict[str, Array], real: RealRows, columns: list[int], why: str
) -> Iterator[str]:
    numbers = ", ".join(map(str, columns))
    sizes = sorted({len(rows) for rows in kept.values()})
    each = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    yield f"{group.title}: columns {numbers} of {group.d}, counted from 0{why}."
    beside = f"{len(real.rows):,} of {real.total:,} test rows" if real.rows is not None else ""
    yield (
        f"Contours hold 90 % and 50 % of {each} samples of a method (lines) and of "
        f"{beside or 'no data'} (grey); Gaussian kernels, Scott's bandwidth. One "
        "that would reach far beyond the axes is left out."
    )
    if real.rows is None:
        yield f"No data beside them: {real.reason}"


def _beyond(shown: Corners) -> Iterator[str]:
    sets = [corner.samples for corner in shown.corners]
    beyond = outside(sets, shown.low, shown.high)
    if told := [
        f"{c.title.partition(',')[0]} {n / len(c.samples):.1%}"
        for c, n in zip(shown.corners, beyond, strict=True)
        if n
    ]:
        yield f"Outside of the axes: {', '.join(told)}."
