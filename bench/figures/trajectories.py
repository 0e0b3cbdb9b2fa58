"""Paths of each method's trained flow, from noise to data and from test rows back to noise."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import DataError, UsageError
from bench.figures import style
from bench.figures.request import Array, Group, Plot, Request, Strip, plot_strips, select

if TYPE_CHECKING:
    from bench.evaluation.flow import Flow

#: Data sets and methods at most; paths each way; points of a path; rows behind the paths.
GROUPS, ROWS, PATHS, STEPS, CLOUD = 2, 5, 40, 48, 1_500

#: The seed of the noise at which the paths begin.
NOISE = 0


@dataclass(frozen=True)
class Plane:
    """Two directions `(d, 2)` and the origin `(d,)`; `about` says which plane it is."""

    directions: Array
    origin: Array
    names: tuple[str, str]
    about: str

    def project(self, rows: Array) -> Array:
        """The rows `(..., d)` as seen in the plane, `(..., 2)`."""
        return np.asarray((rows - self.origin) @ self.directions)


def draw(request: Request) -> Plot:
    """Draw a strip for each data set: a column for each method, one way above the other."""
    return plot_strips(select(request, GROUPS, ROWS), _strip, "has a flow with paths to draw")


def _strip(group: Group, lines: list[str]) -> Strip | None:
    """The strip of a group, if a row has paths."""
    back: dict[str, Array] = {}
    real = group.real_rows(CLOUD, lines)
    kept = group.samples(PATHS) if real.rows is None else {}

    def both_ways(label: str, flow: Flow) -> Array:
        starts = kept.get(label) if real.rows is None else real.rows
        paths = paths_of(flow, flow.noise(PATHS, NOISE).numpy(), STEPS, to_data=True)
        if starts is not None:
            chosen = starts[:: max(1, len(starts) // PATHS)][:PATHS]
            back[label] = paths_of(flow, chosen, STEPS, to_data=False)
        return paths

    forth = group.from_flows(both_ways, lines)
    if not forth:
        return None
    group = group.only(forth)
    ends = [paths[-1, -1] for paths in forth.values()]
    basis = np.concatenate(ends) if real.rows is None else real.rows
    plane = plane_of(group, basis)
    starting = "samples" if real.rows is None else "test rows"
    lines.append(
        f"{group.title}: {PATHS} paths from noise, the same for every method, and {PATHS} from "
        f"{starting}, by the reference solver ({group.rows[0].run['judge']}){plane.about}. "
        "Straightness, from the record, is 0 where every path is straight and has constant speed."
    )
    layers = [one.label for one in group.rows if '"affine": "none"' not in one.run["config"]]
    if layers:
        lines.append(
            "Noise is drawn in the data's coordinates, through the affine layer of "
            f"{', '.join(sorted(layers))}."
        )
    mark = style.DOT | {"ms": 4, "mec": style.INK, "mew": 0.8}
    handles = {"start": mark | {"mfc": "white"}, "end": mark | {"mfc": style.INK}}
    if staged := [one.method for one in group.rows if len(forth[one.label]) > 1]:
        handles[f"end of a {style.stage_word(staged)}"] = handles["end"] | {"marker": "d"}
    if real.rows is not None:
        handles["test rows"] = style.DOT | {"ms": 3, "color": style.PALE, "mew": 0}
    titles = [f"{one.label}\n{one.metric('straightness')}" for one in group.rows]

    def paint(part: style.SubFigure, grid: list[list[style.Axes]]) -> None:
        """Draw the paths in the plane, one way above the other, before the test rows."""
        seen = [plane.project(paths).reshape(-1, 2) for paths in forth.values()]
        for row, way in zip(grid, (forth, back), strict=False):
            for axes, one in zip(row, group.rows, strict=True):
                if real.rows is not None:
                    x, y = plane.project(real.rows).T
                    axes.scatter(x, y, s=1.5, color="#d4d4d4", lw=0, zorder=0, rasterized=True)
                if one.label in way:
                    _draw_paths(axes, plane.project(way[one.label]), one.look.colour)
        low, high = style.frame_around(np.concatenate([plane.project(basis), *seen]))
        x, y = plane.names
        style.set_axes(grid, low, high, x, f"noise → data\n{y}", f"data → noise\n{y}")

    return Strip(group, [titles, [""] * len(titles)] if back else [titles], paint, handles)


def paths_of(flow: Flow, rows: Array, steps: int, *, to_data: bool) -> Array:
    """Return the paths of rows `(n, d)` from noise to data, or from data to noise.

    They are `(pieces, points, n, d)` in the data's own coordinates; the last point of a piece is
    the first one of the next. There are about so many steps, at least 8 in each piece.

    Raises:
        DataError: the method has no velocity.
        SolverFailed: the solver gave up.
    """
    import torch

    from bench.api.method import Continuous
    from bench.numerics.ode import integrate

    method = flow.method
    if not isinstance(method, Continuous) or flow.solver is None:
        raise DataError("Its method has no velocity.")
    x = torch.from_numpy(rows).to(flow.dtype)
    legs = [(piece.field, piece.t_data, piece.t_noise) for piece in method.pieces()]
    if to_data:
        legs = [(field, end, start) for field, start, end in reversed(legs)]
    else:
        x = method.affine(x)
    each = max(8, steps // len(legs))
    paths = []
    with torch.no_grad():
        for field, start, end in legs:
            states = [x]
            for t0, t1 in itertools.pairwise(np.linspace(start, end, each + 1).tolist()):
                (x,) = integrate(
                    lambda t, state, v=field: (v(t, state[0]),),  # type: ignore[misc]
                    *((x,), t0, t1, flow.solver),
                )
                states.append(x)
            paths.append([method.affine.inverse(state).double().numpy() for state in states])
    return np.array(paths)


def plane_of(group: Group, rows: Array) -> Plane:
    """Return the plane to see rows `(n, d)` in: two columns, or their two leading principal axes.

    Raises:
        UsageError: one column, or one that does not exist.
    """
    d, columns = group.d, group.columns(2)
    if len(columns) == 1:
        raise UsageError("Paths are drawn in two columns, not in one.", "Name two columns.")
    if group.request.columns or d == 2:
        names = (group.name_of(columns[0]), group.name_of(columns[1]))
        about = "" if d == 2 else f", in columns {columns[0]} and {columns[1]} of {d}"
        return Plane(np.eye(d)[:, columns], np.zeros(d), names, about)
    origin = rows.mean(axis=0)
    _, sizes, directions = np.linalg.svd(rows - origin, full_matrices=False)
    share = float((sizes[:2] ** 2).sum() / (sizes**2).sum())
    about = (
        f", in the plane of the two leading principal axes of the rows, which hold {share:.0%} of "
        f"their variance in {d} dimensions"
    )
    names = (f"principal axis 1 ({style.UNIT})", f"principal axis 2 ({style.UNIT})")
    return Plane(directions[:2].T, origin, names, about)


def _draw_paths(axes: style.Axes, paths: Array, colour: str) -> None:
    """Draw paths `(pieces, points, n, 2)` with the ends of the pieces."""
    for piece in paths:
        axes.plot(piece[..., 0], piece[..., 1], color=colour, lw=0.6, alpha=0.75)
    axes.plot(*paths[0, 0].T, "o", ms=2.4, mfc="white", mec=colour, mew=0.6)
    axes.plot(*paths[-1, -1].T, "o", ms=2.4, color=colour, mew=0, zorder=3)
    axes.plot(*paths[1:, 0].reshape(-1, 2).T, "d", ms=1.6, color=style.INK, mew=0, zorder=4)
