"""Loss against its cost, training seconds and memory, with the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.api.declarations import Column
from bench.errors import NothingMeasured, UsageError
from bench.figures import style
from bench.figures.request import Array, Group, Plot, Request, metric_column, select
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
    """A data set's points; `loss` names the vertical axis, logarithmic where `log` says so."""

    title: str
    loss: str
    log: bool
    points: tuple[CostPoint, ...]


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
    shown, missing = [], []
    for group in selection.groups:
        points = []
        for one in group.rows:
            cell, flags = one.cell, flags_of(one.cell)
            losses = cell.numbers(loss.name)
            costs = np.array([cell.numbers(name) / unit for name, (unit, _) in COSTS.items()])
            if not (np.isfinite(losses).all() and np.isfinite(costs).all() and (costs > 0).all()):
                missing.append(f"Not shown on {group.title}: {one.label}, which lacks a value.")
                continue
            n, of = len(cell.well), len(cell.rows)
            counts = n == of and not flags
            points.append(CostPoint(one.label, styles[one.label], losses, costs, counts))
            if not counts:
                why = f"{n} of {of} runs ended well" if n < of else f"flagged {flags} in the table"
                missing.append(f"Not on the front on {group.title}: {one.label}, {why}.")
        if points:
            shown.append(_panel(group, loss, points))
    if not shown:
        raise NothingMeasured(f"No run in {request.results} has {loss.title} and its costs.")
    lines = [*_caption(shown, loss, selection.groups), *missing]
    return selection.plot(diagram(shown), lines)


def _panel(group: Group, loss: Column, points: list[CostPoint]) -> CostPanel:
    """The panel of the points; of NLL, above the entropy where all are."""
    name, log = style.axis_name(loss), not loss.unit.startswith("nats")
    entropy = group.rows[0].run["entropy"]
    if loss.name == "nll" and all((point.loss > entropy).all() for point in points):
        name, log = style.axis_name(loss, f"{loss.title} above the entropy"), True
        points = [replace(point, loss=point.loss - entropy) for point in points]
    log = log and all((point.loss > 0).all() for point in points)
    return CostPanel(group.title, name, log, tuple(points))


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


def diagram(panels: Sequence[CostPanel]) -> style.Figure:
    """Draw a row for each data set, with a panel for each cost."""
    costs = [(catalogue.column(name), unit) for name, (_, unit) in COSTS.items()]
    names = [style.axis_name(replace(column, unit=unit)) for column, unit in costs]
    with style.canvas(_WIDTH * len(names), _HEIGHT * len(panels) + 0.4) as figure:
        grid = figure.subplots(len(panels), len(names), squeeze=False, sharey="row", sharex="col")
        for row, panel in zip(grid, panels, strict=True):
            for k, (axes, name) in enumerate(zip(row, names, strict=True)):
                style.dress(axes, panel.title)
                style.horizontal_grid(axes)
                every = np.concatenate([p.costs[k] for each in panels for p in each.points])
                margin = max((every.max() / every.min()) ** 0.1, 1.25)  # costs may be nearly equal
                axes.set_xlim(every.min() / margin, every.max() * margin)
                _draw_panel(axes, panel, k)
                style.name_axes(axes, name if panel is panels[-1] else "", "" if k else panel.loss)
            if panel.log:
                style.log_ticks(row[0].yaxis)
        for axes in grid[-1]:
            style.log_ticks(axes.xaxis)
        points = [point for panel in panels for point in panel.points]
        handles = {point.label: style.key_marker(**point.look.point, mew=0.8) for point in points}
        handles["Pareto front"] = style.key_line(color=style.PALE, lw=1.0)
        if not all(point.counts for point in points):
            hollow = style.key_marker(mfc="white", mec=style.PALE, mew=1.1)
            handles["hollow: not on the front"] = hollow
        style.legend(figure, handles)
    return figure


def _draw_panel(axes: style.Axes, panel: CostPanel, k: int) -> None:
    """Draw losses against the cost of that number, and the Pareto front of their means."""
    axes.set(xscale="log", yscale="log" if panel.log else "linear")
    axes.margins(0.1)
    means = np.array([(point.costs[k].mean(), point.loss.mean()) for point in panel.points])
    for point, (x, y) in zip(panel.points, means, strict=True):
        costs, losses, look = point.costs[k], point.loss, point.look
        bars = {}
        if len(losses) > 1:
            axes.plot(
                costs, losses, ls="none", marker=look.marker, ms=2.6, mew=0, color=look.colour,
                alpha=0.6,
            )  # fmt: skip
            bars = {"xerr": np.std(costs, ddof=1), "yerr": np.std(losses, ddof=1)}
        axes.errorbar(
            x, y, **bars, **look.point, elinewidth=0.9, zorder=3, ms=6, mew=1.1,
            mfc=look.colour if point.counts else "white",
        )  # fmt: skip
    score = np.where([point.counts for point in panel.points], means[:, 1], np.nan)
    front = sorted(means[pareto_front(means[:, 0], score)].tolist())
    if front:
        x, y = np.array(front).T
        axes.plot(x, y, drawstyle="steps-post", color=style.PALE, lw=1.0, zorder=1.5, gid="front")
