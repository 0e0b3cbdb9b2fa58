"""Loss against its cost, training seconds and memory, with the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.api.declarations import Column
from bench.errors import UsageError
from bench.figures import style
from bench.figures.request import Array, Group, Plot, Request, SelectedRun, select
from bench.records import catalogue
from bench.stats.ranking import pareto_front
from bench.tables.comparison import measured_column
from bench.tables.marks import flags_of

#: Data sets and methods at most.
GROUPS, ROWS = 4, 12

#: The columns of costs, what their values are divided by, and the unit of the quotient.
COSTS = {"train_seconds": (1.0, "s"), "memory_bytes": (2.0**20, "MiB")}


@dataclass(frozen=True)
class CostPoint:
    """A row of the comparison: its seeds' losses `(seeds,)` and costs `(costs, seeds)`.

    `counts` says whether it may be on the front; a row with a failed seed or a flag may not.
    """

    row: SelectedRun
    loss: Array
    costs: Array
    counts: bool


@dataclass(frozen=True)
class CostPanel:
    """A group's points; `loss` names the vertical axis, logarithmic where `log` says so."""

    group: Group
    loss: str
    log: bool
    points: list[CostPoint]


def draw(request: Request) -> Plot:
    """Draw a row of panels for each data set."""
    loss = measured_column(request.metric or "nll")
    if loss.better != "lower" or loss.name in COSTS:
        known = [n for n, c in catalogue.measures().items() if c.better == "lower"]
        raise UsageError(
            f"Can't draw {loss.name} against its cost.",
            f"Choose from: {', '.join(name for name in known if name not in COSTS)}.",
        )
    selection = select(request, GROUPS, ROWS)
    panels, missing = selection.parts(
        lambda group, lines: _panel(group, loss, lines), f"has {loss.title} and its costs"
    )
    return selection.plot(diagram(panels), [*_caption(panels, loss), *missing])


def _panel(group: Group, loss: Column, lines: list[str]) -> CostPanel | None:
    """The points of a group, if it has any; of NLL, above the entropy where all are."""
    points = []
    for one in group.rows:
        cell, flags = one.cell, flags_of(one.cell)
        losses = cell.numbers(loss.name)
        costs = np.array([cell.numbers(name) / unit for name, (unit, _) in COSTS.items()])
        if not (np.isfinite(losses).all() and np.isfinite(costs).all() and (costs > 0).all()):
            lines.append(f"Not shown on {group.title}: {one.label}, which lacks a value.")
            continue
        n, of = len(cell.well), len(cell.rows)
        counts = n == of and not flags
        points.append(CostPoint(one, losses, costs, counts))
        if not counts:
            why = f"{n} of {of} runs ended well" if n < of else f"flagged {flags} in the table"
            lines.append(f"Not on the front on {group.title}: {one.label}, {why}.")
    if not points:
        return None
    name, log = style.axis_name(loss), not loss.unit.startswith("nats")
    entropy = group.rows[0].run["entropy"]
    if loss.name == "nll" and all((point.loss > entropy).all() for point in points):
        name, log = style.axis_name(loss, f"{loss.title} above the entropy"), True
        points = [replace(point, loss=point.loss - entropy) for point in points]
    return CostPanel(group, name, log and all((p.loss > 0).all() for p in points), points)


def _caption(panels: list[CostPanel], loss: Column) -> Iterator[str]:
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
    hardware = {str(one.run["hardware"]) for panel in panels for one in panel.group.rows}
    yield f"Hardware: {'; '.join(sorted(hardware))}."


def diagram(panels: Sequence[CostPanel]) -> style.Figure:
    """Draw a row for each data set, with a panel for each cost."""
    points = [point for panel in panels for point in panel.points]
    titles = [[panel.group.title] * len(COSTS) for panel in panels]
    with style.panel_grid(titles, sharey="row", sharex="col") as (figure, grid):
        for row, panel in zip(grid, panels, strict=True):
            for k, axes in enumerate(row):
                _draw_panel(axes, panel, k)
            if panel.log:
                style.log_ticks(row[0].yaxis)
        style.name_axes(grid, "", *(panel.loss for panel in panels))
        for k, (axes, (name, (_, unit))) in enumerate(zip(grid[-1], COSTS.items(), strict=True)):
            costs = np.concatenate([point.costs[k] for point in points])
            margin = max((costs.max() / costs.min()) ** 0.1, 1.25)  # costs may be nearly equal
            label = style.axis_name(replace(catalogue.column(name), unit=unit))
            axes.set(xlim=(costs.min() / margin, costs.max() * margin), xlabel=label)
            style.log_ticks(axes.xaxis)
        handles = {p.row.label: style.DOT | p.row.look.point | {"mew": 0.8} for p in points}
        handles["Pareto front"] = {"color": style.PALE, "lw": 1.0}
        if not all(point.counts for point in points):
            hollow = {"mfc": "white", "mec": style.PALE, "mew": 1.1}
            handles["hollow: not on the front"] = style.DOT | hollow
        style.legend(figure, handles)
    return figure


def _draw_panel(axes: style.Axes, panel: CostPanel, k: int) -> None:
    """Draw losses against the cost of that number, and the Pareto front of their means."""
    axes.set(xscale="log", yscale="log" if panel.log else "linear")
    axes.margins(0.1)
    means = np.array([(point.costs[k].mean(), point.loss.mean()) for point in panel.points])
    for point, (x, y) in zip(panel.points, means, strict=True):
        costs, losses, look = point.costs[k], point.loss, point.row.look
        bars = {}
        if len(losses) > 1:
            axes.scatter(costs, losses, 7, look.colour, marker=look.marker, alpha=0.6, lw=0)
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
