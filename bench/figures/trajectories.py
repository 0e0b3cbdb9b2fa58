"""Paths of each method's trained flow, from noise to data and from test rows back to noise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import UsageError
from bench.figures import style
from bench.figures.request import (
    UNIT,
    Array,
    Group,
    Plot,
    RealRows,
    Request,
    Unusable,
    columns_of,
    frame_around,
    name_of,
    plot_strips,
    samples,
    select,
)

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.method import Piece
    from bench.evaluation.flow import Flow

#: Data sets and methods at most; paths each way; points of a path; rows behind the paths.
GROUPS, ROWS, PATHS, STEPS, CLOUD = 2, 5, 40, 48, 1_500

#: The seed of the noise at which the paths begin.
NOISE = 0

#: The size of a panel in inches; the line length of a title.
_WIDTH, _HEIGHT, _LETTERS = 1.75, 1.75, 24


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

    def __call__(self, paths: FlowPaths) -> FlowPaths:
        """The paths as seen in the plane, `(points, n, 2)`."""
        return FlowPaths(self.project(paths.points), paths.joints)

    def project(self, rows: Array) -> Array:
        """The rows `(..., d)` as seen in the plane, `(..., 2)`."""
        return np.asarray((rows - self.origin) @ self.directions)


@dataclass(frozen=True)
class PathPanel:
    """A method's paths in the plane; `back` is None without rows to begin the way back at."""

    title: str
    method: str
    colour: str
    forth: FlowPaths
    back: FlowPaths | None


@dataclass(frozen=True)
class PathStrip:
    """The panels of a data set; `cloud` `(m, 2)` are rows to see the paths against, or None."""

    title: str
    names: tuple[str, str]
    low: Array
    high: Array
    cloud: Array | None
    panels: tuple[PathPanel, ...]


def draw(request: Request) -> Plot:
    """Draw a strip for each data set: a column for each method, one way above the other."""
    request.reject("trajectories", "metric")
    selection = select(request, GROUPS, ROWS)
    make = partial(_strip, request, selection.styles())
    return plot_strips(request, selection, CLOUD, make, diagram, "has a flow with paths to draw")


def _strip(
    request: Request, styles: dict[str, style.Style], group: Group, real: RealRows
) -> tuple[PathStrip | None, Group, list[str]]:
    """The strip of a group, if it has one; what it shows, and lines of the caption."""
    ways: dict[str, tuple[FlowPaths, FlowPaths | None]] = {}
    lines = []
    for one in group.rows:
        starts = real.rows
        if starts is None:
            starts = samples(request.results, one.name, PATHS)
        try:
            flow = one.flow(request.results)
            noise = flow.noise(PATHS, NOISE).numpy()
            forth, back = paths_of(flow, noise, STEPS, to_data=True), None
            if starts is not None:
                chosen = starts[:: max(1, len(starts) // PATHS)][:PATHS]
                back = paths_of(flow, chosen, STEPS, to_data=False)
            ways[one.label] = forth, back
        except Unusable as error:
            lines.append(f"Not shown on {group.title}: {one.label}. {error}")
    if not ways:
        return None, group, lines
    group, basis = group.only(ways), real.rows
    if basis is None:
        basis = np.concatenate([forth.points[-1] for forth, _ in ways.values()])
    plane = plane_of(request, group, basis)
    panels = tuple(
        PathPanel(
            f"{one.label}\n{one.metric('straightness')}",
            one.method,
            styles[one.label].colour,
            plane(forth),
            plane(back) if back else None,
        )
        for one, (forth, back) in zip(group.rows, ways.values(), strict=True)
    )
    seen = [panel.forth.points.reshape(-1, 2) for panel in panels]
    low, high = frame_around(np.concatenate([plane.project(basis), *seen]))
    cloud = None if real.rows is None else plane.project(real.rows)
    lines += _about(group, plane, real)
    return PathStrip(group.title, plane.names, low, high, cloud, panels), group, lines


def _about(group: Group, plane: Plane, real: RealRows) -> Iterator[str]:
    starts = "test rows" if real.rows is not None else "samples"
    yield (
        f"{group.title}: {PATHS} paths from noise, the same for every method, and {PATHS} from "
        f"{starts}, by the reference solver ({group.rows[0].run['judge']}){plane.about}. "
        "Straightness, from the record, is 0 where every path is straight and has constant speed."
    )
    if real.rows is None:
        yield f"No test rows of {group.title}: {real.reason}"
    layers = [one.label for one in group.rows if '"affine": "none"' not in one.run["config"]]
    if layers:
        yield (
            "Noise is drawn in the data's coordinates, through the affine layer of "
            f"{', '.join(sorted(layers))}."
        )


def paths_of(flow: Flow, rows: Array, points: int, *, to_data: bool) -> FlowPaths:
    """Return the paths of rows `(n, d)` from noise to data, or from data to noise.

    They have about `points` steps, at least 8 in each piece of the flow.

    Raises:
        Unusable: the method has no velocity, or the solver gave up.
    """
    import torch

    from bench.api.method import Continuous
    from bench.numerics.ode import SolverFailed, integrate

    method = flow.method
    if not isinstance(method, Continuous) or flow.solver is None:
        raise Unusable("Its method has no velocity.")
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
        raise Unusable(f"Its paths can't be computed: {error}.") from error
    return FlowPaths(np.stack(found), tuple(each * k for k in range(1, len(legs))))


def plane_of(request: Request, group: Group, rows: Array) -> Plane:
    """Return the plane to see rows `(n, d)` in: two columns, or their two leading principal axes.

    Raises:
        UsageError: one column, or one that does not exist.
    """
    d = group.d
    if d == 1 or len(request.columns) == 1:
        raise UsageError("Paths are drawn in two columns, not in one.", "Name two columns.")
    if request.columns or d == 2:
        columns = columns_of(request, group, 2)
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


def diagram(strips: list[PathStrip]) -> style.Figure:
    """Draw a strip for each data set, with a column for each method."""
    across = max(len(strip.panels) for strip in strips)
    downs = [2 if any(panel.back for panel in strip.panels) else 1 for strip in strips]
    heights = [_HEIGHT * down + 0.75 for down in downs]
    with style.canvas(max(across * _WIDTH + 0.4, 3.4), sum(heights) + 0.3) as figure:
        parts = figure.subfigures(len(strips), 1, squeeze=False, height_ratios=heights)
        for part, strip, down in zip(parts[:, 0], strips, downs, strict=True):
            _draw_strip(part, strip, down, across)
        handles = {
            "start": style.key_marker(ms=4, mfc="white", mec=style.INK, mew=0.8),
            "end": style.key_marker(ms=4, color=style.INK, mew=0),
        }
        panels = [panel for strip in strips for panel in strip.panels]
        if staged := [panel.method for panel in panels if panel.forth.joints]:
            mark = style.key_marker("d", ms=4, color=style.INK, mew=0)
            handles[f"end of a {style.stage_word(staged)}"] = mark
        if any(strip.cloud is not None for strip in strips):
            handles["test rows"] = style.key_marker(ms=3, color=style.PALE, mew=0)
        style.legend(figure, handles)
    return figure


def _draw_strip(part: style.SubFigure, strip: PathStrip, down: int, across: int) -> None:
    style.heading(part, strip.title)
    grid = part.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for column, panel in enumerate(strip.panels):
        for axes, paths in zip(grid[:, column], (panel.forth, panel.back), strict=False):
            style.dress(axes, panel.title if paths is panel.forth else "", _LETTERS)
            axes.set_box_aspect(1)
            axes.set_xlim(strip.low[0], strip.high[0])
            axes.set_ylim(strip.low[1], strip.high[1])
            axes.locator_params(nbins=5)
            if strip.cloud is not None:
                x, y = strip.cloud.T
                axes.scatter(x, y, s=1.5, color="#d4d4d4", lw=0, zorder=0, rasterized=True)
            if paths is not None:
                _draw_paths(axes, paths, panel.colour)
        style.name_axes(grid[-1, column], strip.names[0])
    for axes, direction in zip(grid[:, 0], ("noise → data", "data → noise"), strict=False):
        style.name_axes(axes, y=f"{direction}\n{strip.names[1]}")
    for axes in grid[:, len(strip.panels) :].flat:
        axes.remove()


def _draw_paths(axes: style.Axes, paths: FlowPaths, colour: str) -> None:
    from matplotlib.collections import LineCollection

    lines = LineCollection(
        list(paths.points.transpose(1, 0, 2)), colors=colour, linewidths=0.6, alpha=0.75, zorder=2
    )
    axes.add_collection(lines, autolim=False)
    axes.plot(*paths.points[0].T, "o", ms=2.4, mfc="white", mec=colour, mew=0.6)
    axes.plot(*paths.points[-1].T, "o", ms=2.4, color=colour, mew=0, zorder=3)
    for joint in paths.joints:
        axes.plot(*paths.points[joint].T, "d", ms=1.6, color=style.INK, mew=0, zorder=4)
