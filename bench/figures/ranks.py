"""Ranks: the critical-difference diagram (Demšar, JMLR 7, 2006, figure 1) and its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.errors import NothingMeasured, UsageError
from bench.figures import style
from bench.figures.request import Plot, Request
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
    lines = (*_numbers(ranking), "", explain(ranking), explain_pairs(ranking))
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
    k, order, bars, cd = len(ranking.methods), ranking.order, ranking.cliques, ranking.cd
    depth = 0.26 + _STEP * len(bars)
    below = depth + _LINE * (k - k // 2)
    # One unit is a rank across and an inch down; the axis lies at height zero.
    unit, middle = 0.44 * _WIDTH / (k - 1), (k + 1) / 2
    half = _WIDTH / unit / 2
    centred: dict[str, Any] = {"ha": "center", "va": "bottom"}
    with style.canvas(_WIDTH, _HEAD + below + _FOOT, layout=None) as figure:
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(middle + half, middle - half), ylim=(-(below + _FOOT), _HEAD))
        axes.axis("off")
        axes.plot([1, k], [0, 0], color=style.INK, lw=1.2)
        axes.vlines(np.arange(1, k) + 0.5, 0, 0.05, color=style.INK, lw=1.0)
        axes.vlines(np.arange(1, k + 1), 0, 0.09, color=style.INK, lw=1.0)
        for rank in range(1, k + 1):
            axes.text(rank, 0.13, str(rank), **centred, fontsize=9)
        if cd > k - 1:
            text = f"CD = {cd:.2f}, more than any two ranks can differ"
            axes.text(middle, 0.38, text, **centred, fontsize=8.5)
        else:
            at = k - cd / 2
            axes.errorbar(at, 0.38, xerr=cd / 2, color=style.INK, lw=1.2, capsize=2.5)
            axes.text(at, 0.42, f"CD = {cd:.2f}", **centred, fontsize=8.5)
        elbow = {"arrowstyle": "-", "connectionstyle": "angle,angleA=0,angleB=90", "shrinkB": 0}
        for place, j in enumerate(order):
            right = place < k // 2
            line = place if right else k - 1 - place
            x = 1 - 0.07 * (k - 1) if right else k + 0.07 * (k - 1)
            axes.annotate(
                f"{ranking.methods[j]}  {ranking.average[j]:.2f}",
                (ranking.average[j], 0),
                (x, -(depth + _LINE * line)),
                arrowprops={**elbow, "color": style.INK, "lw": 0.9},
                ha="left" if right else "right",
                va="center",
                fontsize=9,
                parse_math=False,
            )
        for level, members in enumerate(bars):
            ends = [ranking.average[j] for j in members]
            across = [min(ends) - 0.035 / unit, max(ends) + 0.035 / unit]
            axes.plot(
                across,
                [-0.12 - _STEP * level] * 2,
                color=_BAR,
                lw=3.5,
                zorder=3,
                solid_capstyle="round",
            )
        test = ranking.friedman
        p_value = "p < 0.001" if test.p < 0.001 else f"p = {test.p:.2g}"
        joined = f"a bar joins methods that do not differ significantly at {PERCENT} (Nemenyi)"
        if test.p > LEVEL:
            joined = f"one bar: no difference shown at {PERCENT} (Friedman)"
        foot = (
            f"average rank by {ranking.title} on {len(ranking.datasets)} data sets (1 is best); "
            f"Friedman {p_value}\n{joined}"
        )
        axes.text(middle, 0.08 - below - _FOOT, foot, **centred, fontsize=7.5, linespacing=1.4)
    return figure
