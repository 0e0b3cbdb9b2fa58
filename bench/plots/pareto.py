"""Loss against what it costs: training seconds and memory, with the Pareto front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import NothingMeasured, UsageError
from bench.plots.asked import Asked, Drawn, wrapped
from bench.plots.selection import Group, Shown, select
from bench.records.measures import measure
from bench.records.selection import latest
from bench.stats.ranking import pareto_front
from bench.tables.marks import flags_of

if TYPE_CHECKING:
    from bench.figures.pareto import Panel, Point

#: Data sets and methods at most.
GROUPS, ROWS = 4, 12

#: The scores that can be drawn; the less the better.
LOSSES = ("nll", "mmd_m", "mmd_1")

#: cost -> the name of its axis, and what its numbers are divided by
COSTS = {
    "train_seconds": ("training (s)", 1.0),
    "memory_bytes": ("peak memory (MiB)", 2.0**20),
}


def draw(asked: Asked) -> Drawn:
    """A row of panels for each data set.

    Raises:
        UsageError: the metric is no loss that can be drawn, or a seed or columns were asked for.
        NothingMeasured: no run has both the loss and the costs.
    """
    from bench.figures.pareto import diagram

    asked.refuse("pareto", "seed", "columns")
    metric = asked.metric or "nll"
    if metric not in LOSSES:
        raise UsageError(
            f"Costs are drawn against {', '.join(LOSSES)}, not against {metric}.",
            "Leave out --metric.",
        )
    frame, left_out = latest(asked.under_budget(asked.frame()))
    selection = select(asked, frame, GROUPS, ROWS)
    found = [(group, _panel(group, metric)) for group in selection.groups]
    panels = [panel for _, panel in found if panel.points]
    if not panels:
        raise NothingMeasured(
            f"No run in {asked.results} has {measure(metric).title} and what it cost."
        )
    lines = [*_caption(panels, metric, selection.groups)]
    for group, panel in found:
        lines += _missing(group, panel)
    return Drawn(
        diagram(panels, [name for name, _ in COSTS.values()]),
        (*map(wrapped, lines), *map(wrapped, selection.not_shown)),
        tuple(left_out),
    )


def _panel(group: Group, metric: str) -> Panel:
    from bench.figures.pareto import Panel

    entropy = group.rows[0].run["entropy"]
    places: Counter[str] = Counter()
    points: list[Point] = []
    for one in group.rows:
        point = _point(one, metric, places[one.method])
        if point is not None:
            points.append(point)
            places[one.method] += 1
    name, log = _axis(metric), metric != "nll"
    if metric == "nll" and entropy == entropy:
        over = [point.loss - entropy for point in points]
        if all((values > 0).all() for values in over):
            points = [replace(p, loss=values) for p, values in zip(points, over, strict=True)]
            name, log = "NLL above the entropy (nats)", True
    fronts = tuple(_front(points, k) for k in range(len(COSTS)))
    return Panel(group.title, name, log, tuple(points), fronts)


def _axis(metric: str) -> str:
    return "NLL (nats)" if metric == "nll" else f"{measure(metric).title}, squared"


def _point(one: Shown, metric: str, place: int) -> Point | None:
    """The point of a row; None where one of its runs that ended well lacks a number."""
    from bench.figures.pareto import Point

    cell = one.cell
    loss = cell.numbers(metric)
    costs = np.array([cell.numbers(column) / unit for column, (_, unit) in COSTS.items()])
    if not (np.isfinite(loss).all() and np.isfinite(costs).all() and (costs > 0).all()):
        return None
    whole = len(cell.well) == len(cell.rows)
    return Point(one.label, one.method, place, loss, costs, whole and not flags_of(cell))


def _front(points: list[Point], k: int) -> tuple[int, ...]:
    loss = np.array([p.loss.mean() if p.counts else np.nan for p in points])
    cost = np.array([p.costs[k].mean() for p in points])
    return tuple(int(i) for i in np.flatnonzero(pareto_front(cost, loss)))


def _caption(panels: list[Panel], metric: str, groups: tuple[Group, ...]) -> Iterator[str]:
    seeds = sorted({len(point.loss) for panel in panels for point in panel.points})
    yield (
        f"{measure(metric).title} against seconds inside the method's updates and against the peak "
        "of memory: of the GPU, or on a CPU resident, with the libraries."
    )
    if any(panel.loss.startswith("NLL above") for panel in panels):
        yield (
            "Where the entropy is known and every NLL lies above it, it is drawn above it, on a "
            "logarithmic axis; else an NLL, which can be negative, has a linear one."
        )
    if seeds[-1] > 1:
        number = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        yield f"Large: the mean over seeds ({number}), bars: their standard deviation; small: each."
    else:
        yield "One seed; no bars."
    hardware = sorted({str(one.run["hardware"]) for group in groups for one in group.rows})
    yield f"On {'; '.join(hardware)}."


def _missing(group: Group, panel: Panel) -> Iterator[str]:
    drawn = {point.label: point for point in panel.points}
    for one in group.rows:
        if one.label not in drawn:
            yield f"Not shown on {group.title}: {one.label}, which lacks a number."
        elif not drawn[one.label].counts:
            n, of, flags = len(one.cell.well), len(one.cell.rows), flags_of(one.cell)
            why = f"{n} of {of} runs ended well" if n < of else f"the table flags it ({flags})"
            yield f"Not on the front on {group.title}: {one.label}; {why}."
