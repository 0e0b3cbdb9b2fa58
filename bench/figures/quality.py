"""Quality against evaluations of the velocity (Liu et al. 2023, table 1, as a picture)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.figures.canvas import DASHES, canvas, dress, horizontal_grid, legend, name_axes
from bench.figures.looks import PALE, look
from bench.tables.sample_quality import QualityCurve, QualityPanel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches: a panel's width where there are one, two, three or more; its height.
_WIDTHS, _HEIGHT = (4.4, 3.1, 2.35), 2.25

#: The threshold's dashes.
_TAU = (0, (5, 2))


def diagram(panels: Sequence[QualityPanel]) -> Figure:
    """A panel for each data set, with a line for each row of the comparison.

    A line is the mean over seeds, by Euler's method; where there are several seeds each is a thin
    line. The hollow marker is the judge's own solver. Both axes are logarithmic.
    """
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    with canvas(_WIDTHS[across - 1] * across, _HEIGHT * down) as figure:
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey="row")
        names = Counter(panel.heading[0] for panel in panels)
        for axes, each in zip(grid.flat, panels, strict=False):
            _panel(axes, each, title(each, alone=names[each.heading[0]] == 1))
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        for column in range(across):
            below = grid[(len(panels) - 1 - column) // across, column]
            below.tick_params(labelbottom=True)
            name_axes(below, "evaluations a sample (NFE)")
        for left in grid[:, 0]:
            name_axes(left, y="MMD-m, squared")
        _ticks(grid[0, 0], panels)
        _legend(figure, panels)
    return figure


def title(panel: QualityPanel, *, alone: bool) -> str:
    """The data set; with its budget and revision where it has several panels."""
    dataset, revision, budget = panel.heading
    return str(dataset) if alone else f"{dataset} ({budget}, {str(revision)[:8]})"


def _panel(axes: Axes, panel: QualityPanel, title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.margins(x=0.06, y=0.09)
    dress(axes, title)
    horizontal_grid(axes)
    for curve, dashes in _dashes(panel):
        _curve(axes, curve, dashes)
    if panel.tau == panel.tau:
        axes.axhline(panel.tau, color=PALE, lw=1.0, ls=_TAU, zorder=1.5, gid="tau")


def _dashes(panel: QualityPanel) -> list[tuple[QualityCurve, Any]]:
    seen: Counter[str] = Counter()
    found = []
    for curve in panel.curves:
        found.append((curve, DASHES[seen[curve.method] % len(DASHES)]))
        seen[curve.method] += 1
    return found


def _curve(axes: Axes, curve: QualityCurve, dashes: Any) -> None:
    style = look(curve.method)
    points = [curve.mean(steps) for steps in curve.steps if steps]
    (line,) = axes.plot(
        [p.nfe for p in points],
        [p.mmd for p in points],
        color=style.colour,
        marker=style.marker,
        ms=3.6,
        mew=0,
        lw=1.4,
        zorder=3,
        label=curve.label,
    )
    line.set_linestyle(dashes)
    if len(curve.seeds) > 1:
        for seed in curve.seeds.values():
            few = [p for p in seed if p.steps]
            axes.plot(
                [p.nfe for p in few], [p.mmd for p in few], color=style.colour, lw=0.5, alpha=0.6
            )
    last = curve.mean(0)
    axes.plot(
        [last.nfe], [last.mmd], color=style.colour, marker=style.marker, ms=5.5, mfc="white",
        mew=1.1, zorder=4, ls="none",
    )  # fmt: skip


def _ticks(axes: Axes, panels: Sequence[QualityPanel]) -> None:
    """Every power of two, or every other one where there are many; the axes share them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    nfe = [p.nfe for each in panels for c in each.curves for s in c.seeds.values() for p in s]
    known = [math.log2(value) for value in nfe if math.isfinite(value) and value > 0]
    low, high = math.floor(min(known, default=0)), math.ceil(max(known, default=5))
    step = 1 if high - low < 6 else 2
    axes.xaxis.set_major_locator(FixedLocator([2.0**k for k in range(low, high + 1, step)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _legend(figure: Figure, panels: Sequence[QualityPanel]) -> None:
    from matplotlib.lines import Line2D

    handles: dict[str, Line2D] = {}
    for panel in panels:
        for curve, dashes in _dashes(panel):
            style = look(curve.method)
            line = Line2D([], [], color=style.colour, marker=style.marker, ms=4, mew=0, lw=1.4)
            line.set_linestyle(dashes)
            handles.setdefault(curve.label, line)
    solvers = sorted({curve.solver for panel in panels for curve in panel.curves})
    hollow = Line2D([], [], color=PALE, marker="o", ms=5.5, mfc="white", mew=1.1, ls="none")
    handles[f"hollow: the judge's {' or '.join(solvers)}"] = hollow
    if any(panel.tau == panel.tau for panel in panels):
        handles["τ (below: not told from data)"] = Line2D([], [], color=PALE, lw=1.0, ls=_TAU)
    legend(figure, handles)
