"""Paths of each method's trained flow, from noise to data and from test rows back to noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import NothingMeasured, UsageError
from bench.plots.asked import Asked, Drawn, wrapped
from bench.plots.at_hand import Array, RealRows, samples, strips_of
from bench.plots.columns import UNIT, columns_of, frame_around, name_of
from bench.plots.selection import Group, select
from bench.records.selection import latest

if TYPE_CHECKING:
    from bench.figures.trajectories import Strip
    from bench.plots.trained import Paths

#: Data sets and methods at most; paths each way; points of a path; rows behind the paths.
GROUPS, ROWS, PATHS, STEPS, CLOUD = 2, 5, 40, 48, 1_500

#: The seed of the noise that the paths begin with.
NOISE = 0


@dataclass(frozen=True)
class Plane:
    """Two directions `(d, 2)`, and where their origin lies `(d,)`; `about` says which they are."""

    directions: Array
    origin: Array
    names: tuple[str, str]
    about: str

    def __call__(self, rows: Array) -> Array:
        """The rows `(..., d)` seen in the plane, `(..., 2)`."""
        seen: Array = (rows - self.origin) @ self.directions
        return seen


def draw(asked: Asked) -> Drawn:
    """A strip for each data set: a column for each method, one way above and the other below.

    Raises:
        UsageError: a metric was asked for, or a column that is not there.
        NothingMeasured: no run has a model with a velocity.
    """
    from bench.figures.trajectories import diagram

    asked.refuse("trajectories", "metric")
    frame, left_out = latest(asked.under_budget(asked.frame()))
    selection = select(asked, frame, GROUPS, ROWS)
    strips, drawn, lines = strips_of(selection, asked.data, CLOUD, partial(_strip, asked))
    if not strips:
        raise NothingMeasured(
            f"No trained flow in {asked.results} has paths that can be drawn.",
            " ".join(lines[:3]) or "bench run -m flow-matching makes one that has.",
        )
    return Drawn(diagram(strips), (*map(wrapped, lines), *selection.lines(drawn)), tuple(left_out))


def _strip(asked: Asked, group: Group, real: RealRows) -> tuple[Strip | None, Group, list[str]]:
    """The strip of a group, if there is one; the group of what it shows; lines of its caption."""
    from bench.figures.looks import look
    from bench.figures.trajectories import Panel, Strip, Way

    ways, lines = _ways(asked, group, real)
    if not ways:
        return None, group, lines
    basis = real.rows
    if basis is None:
        basis = np.concatenate([forth.points[-1] for forth, _ in ways.values()])
    plane = plane_of(asked, group, basis)
    panels = []
    for one in group.rows:
        if one.label in ways:
            there, again = ways[one.label]
            forth = Way(plane(there.points), there.joints)
            back = Way(plane(again.points), again.joints) if again else None
            title = f"{one.label}\n{one.figure('straightness')}"
            panels.append(Panel(title, look(one.method).colour, forth, back))
    seen = [panel.forth.points.reshape(-1, 2) for panel in panels]
    low, high = frame_around(np.concatenate([plane(basis), *seen]))
    cloud = None if real.rows is None else plane(real.rows)
    lines += _about(group, plane, real)
    strip = Strip(group.title, plane.names, low, high, cloud, tuple(panels))
    return strip, group.only(ways), lines


def _ways(
    asked: Asked, group: Group, real: RealRows
) -> tuple[dict[str, tuple[Paths, Paths | None]], list[str]]:
    """Each row's paths, there and back, by its label; a sentence on each that has none."""
    from bench.plots import trained

    found: dict[str, tuple[Paths, Paths | None]] = {}
    lines = []
    for one in group.rows:
        try:
            flow = trained.flow_of(one.record(asked.results), asked.results)
            forth = trained.from_noise(flow, trained.noise(flow, PATHS, NOISE), STEPS)
            starts = real.rows
            if starts is None:
                starts = samples(asked.results, one.name, PATHS)
            back = None
            if starts is not None:
                back = trained.from_data(
                    flow, starts[:: max(1, len(starts) // PATHS)][:PATHS], STEPS
                )
            found[one.label] = forth, back
        except trained.Unusable as error:
            lines.append(f"Not shown on {group.title}: {one.label}. {error}")
    return found, lines


def plane_of(asked: Asked, group: Group, rows: Array) -> Plane:
    """The plane in which rows `(n, d)` are seen: two columns, or the two leading axes of the rows.

    Raises:
        UsageError: one column, or one that is not there.
    """
    d = group.d
    if d == 1 or len(asked.columns) == 1:
        raise UsageError(
            "Paths are seen in a plane: in two columns, not in one.", "Name two columns."
        )
    if asked.columns or d == 2:
        columns = columns_of(asked, group.dataset, d, 2)
        names = (name_of(columns[0], d), name_of(columns[1], d))
        about = "" if d == 2 else f", in columns {columns[0]} and {columns[1]} of {d}"
        return Plane(np.eye(d)[:, columns], np.zeros(d), names, about)
    origin = rows.mean(axis=0)
    _, sizes, directions = np.linalg.svd(rows - origin, full_matrices=False)
    share = float((sizes[:2] ** 2).sum() / (sizes**2).sum())
    about = (
        f", in the plane of the two leading principal axes of the rows, which hold {share:.0%} of "
        f"their variance in {d} dimensions"
    )
    names = (f"principal axis 1 ({UNIT})", f"principal axis 2 ({UNIT})")
    return Plane(directions[:2].T, origin, names, about)


def _about(group: Group, plane: Plane, real: RealRows) -> Iterator[str]:
    judge = group.rows[0].run["judge"]
    starts = "test rows" if real.rows is not None else "samples"
    yield (
        f"{group.title}: {PATHS} paths by the judge's solver ({judge}) from noise, the same for "
        f"every method, and as many from {starts}{plane.about}. Straightness is of the record: 0 "
        "where every path is straight and of even speed."
    )
    if real.rows is None:
        yield f"No test rows of {group.title}: {real.reason}"
    layers = {one.label for one in group.rows if '"affine": "none"' not in one.run["config"]}
    if layers:
        yield (
            f"Beyond the affine layer, so that noise has the rows' own scale: "
            f"{', '.join(sorted(layers))}."
        )
