"""The density of each method on a grid in the plane, beside the true one where it is known."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import NothingMeasured
from bench.plots.asked import Asked, Drawn, wrapped
from bench.plots.at_hand import Array, RealRows, samples, strips_of
from bench.plots.columns import frame_around, name_of
from bench.plots.selection import Group, select
from bench.records.measures import measure
from bench.records.selection import latest

if TYPE_CHECKING:
    from bench.figures.density import Strip

#: Data sets and methods at most; rows that the frame is made of; cells along each axis.
GROUPS, ROWS, POINTS, CELLS = 3, 7, 2_000, 64


def draw(asked: Asked) -> Drawn:
    """A strip for each two-dimensional data set, with one scale of colours.

    Raises:
        UsageError: there is no such metric, or columns were asked for.
        NothingMeasured: no data set is two-dimensional, or no model can be read.
    """
    from bench.figures.density import diagram

    asked.refuse("density", "columns")
    measure(asked.metric or "nll")
    frame, left_out = latest(asked.under_budget(asked.frame()))
    plane = set(frame.loc[frame["d"].eq(2).fillna(False), "dataset"])
    others = sorted(set(frame["dataset"].dropna()) - plane)
    if not plane:
        raise NothingMeasured(
            f"Densities are drawn in two dimensions, which none of {', '.join(others)} has.",
            "bench plot marginals shows columns of them.",
        )
    selection = select(asked, frame[frame["dataset"].isin(plane)], GROUPS, ROWS)
    strips, drawn, lines = strips_of(selection, asked.data, POINTS, partial(_strip, asked))
    if not strips:
        raise NothingMeasured(
            f"No trained flow in {asked.results} can be asked for its density.", " ".join(lines[:3])
        )
    if others:
        lines.append(f"Not two-dimensional, and not shown: {', '.join(others)}.")
    return Drawn(diagram(strips), (*map(wrapped, lines), *selection.lines(drawn)), tuple(left_out))


def _strip(asked: Asked, group: Group, real: RealRows) -> tuple[Strip | None, Group, list[str]]:
    """The strip of a group, if there is one; the group of what it shows; lines of its caption."""
    from bench.figures.density import Panel, Strip

    box = real.rows if real.rows is not None else _all_samples(asked, group)
    if box is None:
        return None, group, [f"Not shown: {group.title}. {real.reason}"]
    low, high = frame_around(box)
    points = grid(low, high)
    found, lines = _densities(asked, group, points)
    if not found:
        return None, group, lines
    titles = {one.label: f"{one.label}\n{one.figure(asked.metric or 'nll')}" for one in group.rows}
    truth = _truth(group, real, points)
    known = {**({truth[0]: truth[1]} if truth else {}), **{titles[k]: v for k, v in found.items()}}
    top = float(max(np.quantile(v, 0.999) for v in ([truth[1]] if truth else found.values())))
    panels = tuple(Panel(k, v.reshape(CELLS, CELLS)) for k, v in known.items())
    names = (name_of(0, 2), name_of(1, 2))
    area = float(np.prod((high - low) / CELLS))
    masses = {**({"true": truth[1]} if truth else {}), **found}
    lines += _about(group, masses, top, area, known=truth is not None)
    return Strip(group.title, names, low, high, top, panels), group.only(found), lines


def grid(low: Array, high: Array) -> Array:
    """The middles `(CELLS², 2)` of the cells of a frame; the first column changes fastest."""
    middles = (np.arange(CELLS) + 0.5) / CELLS
    x, y = (a + (b - a) * middles for a, b in zip(low, high, strict=True))
    return np.stack([np.tile(x, CELLS), np.repeat(y, CELLS)], axis=1)


def _all_samples(asked: Asked, group: Group) -> Array | None:
    found = [samples(asked.results, one.name, POINTS) for one in group.rows]
    kept = [rows for rows in found if rows is not None]
    return np.concatenate(kept) if kept else None


def _truth(group: Group, real: RealRows, points: Array) -> tuple[str, Array] | None:
    if real.dataset is None or real.dataset.log_density is None:
        return None
    entropy = real.dataset.entropy
    title = f"true density\n{f'entropy {entropy:.3f}' if entropy is not None else ''}"
    return title, np.exp(real.dataset.log_density(points))


def _densities(asked: Asked, group: Group, points: Array) -> tuple[dict[str, Array], list[str]]:
    from bench.plots import trained

    found, lines = {}, []
    for one in group.rows:
        try:
            flow = trained.flow_of(one.record(asked.results), asked.results)
            found[one.label] = trained.density(flow, points)
        except trained.Unusable as error:
            lines.append(f"Not shown on {group.title}: {one.label}. {error}")
    return found, lines


def _about(
    group: Group, masses: dict[str, Array], top: float, area: float, *, known: bool
) -> Iterator[str]:
    mass = ", ".join(f"{label} {values.sum() * area:.3f}" for label, values in masses.items())
    judge = group.rows[0].run["judge"]
    yield (
        f"{group.title}: densities by the judge's solver ({judge}) at the middles of "
        f"{CELLS}x{CELLS} cells; their mass within the frame: {mass}."
    )
    if above := [f"{k} up to {v.max():.3g}" for k, v in masses.items() if v.max() > 1.05 * top]:
        yield f"Above the colours' end at {top:.3g}: {', '.join(above)}."
    if not known:
        yield f"The true density of {group.title} is not known."
