"""Paths of each method's trained flow, from noise to data and from test rows back to noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import BenchError, DataError, UsageError
from bench.figures import style
from bench.figures.request import (
    UNIT,
    Array,
    Group,
    Plot,
    Request,
    Strip,
    frame_around,
    plot_strips,
    select,
    set_limits,
)

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.method import Piece
    from bench.evaluation.flow import Flow

#: Data sets and methods at most; paths each way; points of a path; rows behind the paths.
GROUPS, ROWS, PATHS, STEPS, CLOUD = 2, 5, 40, 48, 1_500

#: The seed of the noise at which the paths begin.
NOISE = 0


@dataclass(frozen=True)
class FlowPaths:
    """Where rows went, `(points, n, d)` in the data's own coordinates.

    `joints` are the points at which one piece of the flow ends and the next begins.
    """

    points: Array
    joints: tuple[int, ...]


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
    forth: dict[str, FlowPaths] = {}
    back: dict[str, FlowPaths] = {}
    real = group.real_rows(CLOUD, lines)
    kept = group.samples(PATHS) if real.rows is None else {}
    for one in group.rows:
        starts = kept.get(one.label) if real.rows is None else real.rows
        try:
            flow = one.flow(group.request.results)
            paths = paths_of(flow, flow.noise(PATHS, NOISE).numpy(), STEPS, to_data=True)
            if starts is not None:
                chosen = starts[:: max(1, len(starts) // PATHS)][:PATHS]
                back[one.label] = paths_of(flow, chosen, STEPS, to_data=False)
            forth[one.label] = paths
        except BenchError as error:
            lines.append(f"Not shown on {group.title}: {one.label}. {error.problem}")
    if not forth:
        return None
    group = group.only(forth)
    ends = [paths.points[-1] for paths in forth.values()]
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
    if staged := [one.method for one in group.rows if forth[one.label].joints]:
        handles[f"end of a {style.stage_word(staged)}"] = handles["end"] | {"marker": "d"}
    if real.rows is not None:
        handles["test rows"] = style.DOT | {"ms": 3, "color": style.PALE, "mew": 0}
    titles = [f"{one.label}\n{one.metric('straightness')}" for one in group.rows]

    def paint(part: style.SubFigure, grid: list[list[style.Axes]]) -> None:
        """Draw the paths in the plane, one way above the other, before the test rows."""
        seen = [plane.project(paths.points).reshape(-1, 2) for paths in forth.values()]
        for row, way in zip(grid, (forth, back), strict=False):
            for axes, one in zip(row, group.rows, strict=True):
                if real.rows is not None:
                    x, y = plane.project(real.rows).T
                    axes.scatter(x, y, s=1.5, color="#d4d4d4", lw=0, zorder=0, rasterized=True)
                if one.label in way:
                    paths = way[one.label]
                    _draw_paths(axes, plane.project(paths.points), paths.joints, one.look.colour)
        set_limits(grid, *frame_around(np.concatenate([plane.project(basis), *seen])))
        x, y = plane.names
        style.name_axes(grid, x, f"noise → data\n{y}", f"data → noise\n{y}")

    return Strip(group, [titles, [""] * len(titles)] if back else [titles], paint, handles)


def paths_of(flow: Flow, rows: Array, points: int, *, to_data: bool) -> FlowPaths:
    """Return the paths of rows `(n, d)` from noise to data, or from data to noise.

    They have about `points` steps, at least 8 in each piece of the flow.

    Raises:
        DataError: the method has no velocity, or the solver gave up.
    """
    import torch

    from bench.api.method import Continuous
    from bench.numerics.ode import SolverFailed, integrate

    method = flow.method
    if not isinstance(method, Continuous) or flow.solver is None:
        raise DataError("Its method has no velocity.")
    x = torch.from_numpy(rows).to(flow.dtype)
    legs = [(piece, piece.t_data, piece.t_noise) for piece in method.pieces()]
    if to_data:
        legs = [(piece, end, start) for piece, start, end in reversed(legs)]
    else:
        x = method.affine(x)
    each = max(8, points // len(legs))
    states = [x]
    try:
        with torch.no_grad():
            for piece, start, end in legs:

                def velocity(t: Tensor, state: Sequence[Tensor], piece: Piece = piece) -> Any:
                    return (piece.field(t, state[0]),)

                times = np.linspace(start, end, each + 1).tolist()
                for t0, t1 in itertools.pairwise(times):
                    states += integrate(velocity, (states[-1],), t0, t1, flow.solver)
            found = [method.affine.inverse(state).double().numpy() for state in states]
    except SolverFailed as error:
        raise DataError(f"Its paths can't be computed: {error}.") from error
    return FlowPaths(np.stack(found), tuple(each * k for k in range(1, len(legs))))


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
    names = (f"principal axis 1 ({UNIT})", f"principal axis 2 ({UNIT})")
    return Plane(directions[:2].T, origin, names, about)


def _draw_paths(axes: style.Axes, points: Array, joints: Sequence[int], colour: str) -> None:
    """Draw paths `(points, n, 2)` with their ends."""
    axes.plot(points[..., 0], points[..., 1], color=colour, lw=0.6, alpha=0.75)
    axes.plot(*points[0].T, "o", ms=2.4, mfc="white", mec=colour, mew=0.6)
    axes.plot(*points[-1].T, "o", ms=2.4, color=colour, mew=0, zorder=3)
    for joint in joints:
        axes.plot(*points[joint].T, "d", ms=1.6, color=style.INK, mew=0, zorder=4)
