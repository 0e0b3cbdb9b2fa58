"""Loss against its cost, training seconds and memory, with the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.api.declarations import Column
from bench.errors import NothingMeasured, UsageError
from bench.figures import style
from bench.figures.request import Array, Group, Plot, Request, SelectedRun, metric_column, select
from bench.records import catalogue
from bench.stats.ranking import pareto_front
from bench.tables.marks import flags_of

#: Data sets and methods at most; the size of a panel in inches.
GROUPS, ROWS = 4, 12
_WIDTH, _HEIGHT = 3.2, 2.3

#: The columns of costs, what their values are divided by, and the unit of the quotient.
COSTS = {"train_seconds": (1.0, "s"), "memory_bytes": (2.0**20, "MiB")}


@dataclass(frozen=True)
class CostPoint:
    """A row of the comparison: its seeds' losses `(seeds,)` and costs `(costs, seeds)`.

    `counts` says whether it may be on the front; a row with a failed seed or a flag may not.
    """

    label: str
    look: style.Style
    loss: Array
    costs: Array
    counts: bool


@dataclass(frozen=True)
class CostPanel:
    """A data set's points, and for each cost the indices of those on its front.

    `loss` names the vertical axis, which is logarithmic where `log` says so.
    """

    title: str
    loss: str
    log: bool
    points: tuple[CostPoint, ...]
    fronts: tuple[tuple[int, ...], ...]


def draw(request: Request) -> Plot:
    """Draw a row of panels for each data set."""
    request.reject("pareto", "seed", "columns")
    loss = metric_column(request.metric or "nll")
    if loss.better != "lower" or loss.name in COSTS:
        known = [n for n, c in catalogue.measures().items() if c.better == "lower"]
        raise UsageError(
            f"Can't draw {loss.name} against its cost.",
            f"Choose from: {', '.join(name for name in known if name not in COSTS)}.",
        )
    selection = select(request, GROUPS, ROWS)
    styles = selection.styles()
    panels = [_panel(group, loss, styles) for group in selection.groups]
    shown = [panel for panel in panels if panel.points]
    if not shown:
        raise NothingMeasured(f"No run in {request.results} has {loss.title} and its costs.")
    lines = [*_caption(shown, loss, selection.groups)]
    for group, panel in zip(selection.groups, panels, strict=True):
        lines += _missing(group, panel)
    return selection.plot(diagram(shown), lines)


def _panel(group: Group, loss: Column, styles: dict[str, style.Style]) -> CostPanel:
    points = [point for one in group.rows if (point := _point(one, loss, styles[one.label]))]
    name, log = style.axis_name(loss), not loss.unit.startswith("nats")
    entropy = group.rows[0].run["entropy"]
    if loss.name == "nll" and all((point.loss > entropy).all() for point in points):
        name, log = style.axis_name(loss, f"{loss.title} above the entropy"), True
        points = [replace(point, loss=point.loss - entropy) for point in points]
    log = log and all((point.loss > 0).all() for point in points)
    score = np.array([point.loss.mean() if point.counts else np.nan for point in points])
    costs = np.array([point.costs.mean(axis=1) for point in points]).reshape(-1, len(COSTS))
    fronts = (np.flatnonzero(pareto_front(cost, score)).tolist() for cost in costs.T)
    return CostPanel(group.title, name, log, tuple(points), tuple(map(tuple, fronts)))


def _point(one: SelectedRun, loss: Column, look: style.Style) -> CostPoint | None:
    """The point of a row; None if one of its runs that ended well lacks a number."""
    cell = one.cell
    losses = cell.numbers(loss.name)
    costs = np.array([cell.numbers(column) / unit for column, (unit, _) in COSTS.items()])
    if not (np.isfinite(losses).all() and np.isfinite(costs).all() and (costs > 0).all()):
        return None
    counts = len(cell.well) == len(cell.rows) and not flags_of(cell)
    return CostPoint(one.label, look, losses, costs, counts)


def _caption(panels: list[CostPanel], loss: Column, groups: Sequence[Group]) -> Iterator[str]:
    seeds = sorted({len(point.loss) for panel in panels for point in panel.points})
    yield (
        f"{loss.title} against seconds inside the method's updates and against peak memory: of the "
        "GPU, or on a CPU resident memory, which includes the libraries."
    )
    if any("above the entropy" in panel.loss for panel in panels):
        yield (
            "Where the entropy is known and every NLL is above it, the difference is drawn on a "
            "logarithmic axis; elsewhere NLL, which can be negative, has a linear one."
        )
    if seeds[-1] > 1:
        number = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        yield f"Large: mean over seeds ({number}); bars: standard deviation; small: each seed."
    else:
        yield "One seed; no error bars."
    hardware = sorted({str(one.run["hardware"]) for group in groups for one in group.rows})
    yield f"Hardware: {'; '.join(hardware)}."


def _missing(group: Group, panel: CostPanel) -> Iterator[str]:
    drawn = {point.label: point for point in panel.points}
    for one in group.rows:
        if one.label not in drawn:
            yield f"Not shown on {group.title}: {one.label}, which lacks a value."
        elif not drawn[one.label].counts:
            n, of, flags = len(one.cell.well), len(one.cell.rows), flags_of(one.cell)
            why = f"{n} of {of} runs ended well" if n < of else f"flagged {flags} in the table"
            yield f"Not on the front on {group.title}: {one.label}, {why}."


def diagram(panels: Sequence[CostPanel]) -> style.Figure:
    """Draw a row for each data set, with a panel for each cost."""
    costs = [(catalogue.column(name), unit) for name, (_, unit) in COSTS.items()]
    names = [style.axis_name(replace(column, unit=unit)) for column, unit in costs]
    with style.canvas(_WIDTH * len(names), _HEIGHT * len(panels) + 0.4) as figure:
        grid = figure.subplots(len(panels), len(names), squeeze=False, sharey="row", sharex="col")
        points = [point for panel in panels for point in panel.points]
        for k, axes in enumerate(grid[-1]):
            axes.set_xlim(*_limits(np.concatenate([p.costs[k] for p in points]), log=True))
        for row, panel in zip(grid, panels, strict=True):
            for k, (axes, name) in enumerate(zip(row, names, strict=True)):
                style.dress(axes, panel.title)
                style.horizontal_grid(axes)
                _draw_panel(axes, panel, k)
                style.name_axes(axes, name if panel is panels[-1] else "", "" if k else panel.loss)
        for axes in grid[-1]:
            style.log_ticks(axes.xaxis)
        for axes, panel in zip(grid[:, 0], panels, strict=True):
            if panel.log:
                style.log_ticks(axes.yaxis)
        style.legend(figure, _handles(points))
    return figure


def _limits(values: Array, *, log: bool) -> tuple[float, float]:
    """Limits that hold the values, with a margin."""
    low, high = float(values.min()), float(values.max())
    if log:
        margin = max((high / low) ** 0.1, 1.25)
        return low / margin, high * margin
    margin = 0.1 * (high - low) or 0.1 * max(abs(high), 1.0)
    return low - margin, high + margin


def _draw_panel(axes: style.Axes, panel: CostPanel, k: int) -> None:
    axes.set_xscale("log")
    if panel.log:
        axes.set_yscale("log")
    axes.set_ylim(*_limits(np.concatenate([point.loss for point in panel.points]), log=panel.log))
    for point in panel.points:
        costs, losses, look = point.costs[k], point.loss, point.look
        several = len(losses) > 1
        if several:
            axes.plot(
                costs, losses, ls="none", marker=look.marker, ms=2.6, mew=0, color=look.colour,
                alpha=0.6,
            )  # fmt: skip
        xerr, yerr = (np.std(v, ddof=1) if several else 0.0 for v in (costs, losses))
        axes.errorbar(
            costs.mean(), losses.mean(), xerr=xerr, yerr=yerr, **look.point, elinewidth=0.9,
            zorder=3, ms=6, mew=1.1, mfc=look.colour if point.counts else "white",
        )  # fmt: skip
    front = [
        (panel.points[i].costs[k].mean(), panel.points[i].loss.mean()) for i in panel.fronts[k]
    ]
    if front:
        x, y = np.array(sorted(front)).T
        axes.plot(x, y, drawstyle="steps-post", color=style.PALE, lw=1.0, zorder=1.5, gid="front")


def _handles(points: list[CostPoint]) -> dict[str, Any]:
    handles = {point.label: style.key_marker(**point.look.point, mew=0.8) for point in points}
    handles["Pareto front"] = style.key_line(color=style.PALE, lw=1.0)
    if not all(point.counts for point in points):
        handles["hollow: not on the front"] = style.key_marker(mfc="white", mec=style.PALE, mew=1.1)
    return handles
