"""Ranks: the critical-difference diagram (Demšar, JMLR 7, 2006, figure 1) and its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured, UsageError
from bench.figures import style
from bench.figures.request import Plot, Request, wrapped
from bench.figures.style import INK
from bench.records.frame import cells
from bench.stats.ranking import DATASETS, METHODS, Ranking, explain, explain_pairs
from bench.stats.significance import LEVEL, PERCENT
from bench.tables.comparison import scores_by_budget

#: The colour of bars: Okabe and Ito's blue, which the colour-blind can tell from the ink.
_BAR = "#0072B2"

#: Inches: the width; the height of a method's line, of a bar, above the axis, and of the footer.
_WIDTH, _LINE, _STEP, _HEAD, _FOOT = 6.5, 0.24, 0.11, 0.62, 0.42


def draw(request: Request) -> Plot:
    """Draw the critical-difference diagram; the caption has its numbers and what they bear."""
    request.reject("ranks", "seed", "columns")
    found = scores_by_budget(cells(request.frame()), request.metric or "nll")
    large = [one for one in found if one.enough]
    if not large:
        least = f"average ranks need at least {METHODS} methods and {DATASETS} data sets."
        sizes = (f"Budget {one.budget}: {one.size}: {least}" for one in found)
        raise NothingMeasured(f"There is nothing to rank in {request.results}.", " ".join(sizes))
    if len(large) > 1:
        names = ", ".join(one.budget for one in large)
        raise UsageError(f"These runs use several budgets: {names}.", "Choose one with -b.")
    (ranking,) = large
    lines = (*_numbers(ranking), "", wrapped(explain(ranking)), wrapped(explain_pairs(ranking)))
    return Plot(diagram(ranking), lines)


def _numbers(ranking: Ranking) -> list[str]:
    """A line for each method, the best first: its average rank, and its rank on each data set."""
    ranks = pd.DataFrame(ranking.ranks.T, ranking.methods, ranking.datasets).map("{:g}".format)
    ranks.insert(0, "average", [f"{average:.2f}" for average in ranking.average])
    text = ranks.iloc[list(ranking.order)].rename_axis(columns="method").to_string()
    return text.splitlines()


def diagram(ranking: Ranking) -> style.Figure:
    """Draw average ranks on an axis, the best to the right; bars join methods that do not differ.

    One bar joins them all where Friedman's test finds no difference.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    k, order, bars = len(ranking.methods), ranking.order, ranking.cliques
    right, left = order[: k // 2], order[: k // 2 - 1 if k // 2 else None : -1]
    depth = 0.12 + _STEP * len(bars)
    below = depth + 0.14 + _LINE * max(len(left), len(right))
    height = _HEAD + below + _FOOT
    figure = Figure(figsize=(_WIDTH, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    # One unit is a rank across and an inch down; the axis lies at height zero.
    unit = 0.44 * _WIDTH / (k - 1)
    middle = (k + 1) / 2
    half = _WIDTH / unit / 2
    axes.set_xlim(middle + half, middle - half)
    axes.set_ylim(-(below + _FOOT), _HEAD)
    axes.axis("off")
    _axis(axes, k)
    _critical_difference(axes, ranking, k)
    for side, places in (("right", right), ("left", left)):
        _labels(axes, ranking, places, side, depth, k)
    for level, members in enumerate(bars):
        ends = [ranking.average[j] for j in members]
        y = -0.12 - _STEP * level
        reach = 0.035 / unit
        x = [min(ends) - reach, max(ends) + reach]
        axes.plot(x, [y, y], color=_BAR, lw=3.5, zorder=3, solid_capstyle="round")
    test = ranking.friedman
    p_value = "p < 0.001" if test.p < 0.001 else f"p = {test.p:.2g}"
    joined = f"a bar joins methods that do not differ significantly at {PERCENT} (Nemenyi)"
    if test.p > LEVEL:
        joined = f"one bar: no difference shown at {PERCENT} (Friedman)"
    foot = (
        f"average rank by {ranking.title} on {len(ranking.datasets)} data sets (1 is best); "
        f"Friedman {p_value}\n{joined}"
    )
    y = -(below + _FOOT - 0.08)
    shape: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 7.5, "linespacing": 1.4}
    axes.text(middle, y, foot, color=INK, **shape)
    return figure


def _axis(axes: style.Axes, k: int) -> None:
    axes.plot([1, k], [0, 0], color=INK, lw=1.2)
    axes.vlines(np.arange(1, k) + 0.5, 0, 0.05, color=INK, lw=1.0)
    axes.vlines(np.arange(1, k + 1), 0, 0.09, color=INK, lw=1.0)
    for rank in range(1, k + 1):
        axes.text(rank, 0.13, str(rank), ha="center", va="bottom", fontsize=9, color=INK)


def _critical_difference(axes: style.Axes, ranking: Ranking, k: int) -> None:
    """The critical difference as a length above the axis, or in words where it is too long."""
    y = 0.38
    if ranking.cd > k - 1:
        text = f"CD = {ranking.cd:.2f}, more than any two ranks can differ"
        axes.text((k + 1) / 2, y, text, ha="center", va="bottom", fontsize=8.5, color=INK)
        return
    ends = [k, k - ranking.cd]
    axes.plot(ends, [y, y], color=INK, lw=1.2)
    axes.vlines(ends, y - 0.035, y + 0.035, color=INK, lw=1.2)
    text = f"CD = {ranking.cd:.2f}"
    axes.text(sum(ends) / 2, y + 0.04, text, ha="center", va="bottom", fontsize=8.5, color=INK)


def _labels(
    axes: style.Axes, ranking: Ranking, places: Sequence[int], side: str, depth: float, k: int
) -> None:
    """Names at a side, each with its average rank and a line to its place on the axis."""
    outside = 1 - 0.06 * (k - 1) if side == "right" else k + 0.06 * (k - 1)
    gap = 0.012 * (k - 1)
    for line, j in enumerate(places):
        rank, y = ranking.average[j], -(depth + 0.14 + _LINE * line)
        axes.plot([rank, rank, outside], [0, y, y], color=INK, lw=0.9, solid_joinstyle="miter")
        text = f"{ranking.methods[j]}  {rank:.2f}"
        x = outside - gap if side == "right" else outside + gap
        place = "left" if side == "right" else "right"
        axes.text(x, y, text, ha=place, va="center", fontsize=9, color=INK, parse_math=False)
