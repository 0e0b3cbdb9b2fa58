"""Figures by name: runs in, a picture and its caption out.

A kind of figure is a module of its name here: its `draw` chooses what is shown and draws it.
Matplotlib and torch are imported when a figure is drawn.
"""

from __future__ import annotations

import importlib
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from bench.figures.request import Plot, Request

#: kind -> what it shows
KINDS = {
    "samples": "samples of each method beside test rows: points, images, or two columns.",
    "marginals": "the marginals of some columns and of their pairs, for the data and each method.",
    "density": "the density of each method on a grid in the plane, and the true one if known.",
    "trajectories": "paths of a trained flow from noise to data and from data to noise.",
    "curves": "loss and validation NLL against mini-batches and training seconds.",
    "movement": "W2 movement of each block of a flow that has several.",
    "pareto": "NLL against training seconds and against memory, with the Pareto front.",
    "ranks": "average ranks of the methods over the data sets, and which of them do not differ "
    "significantly (critical-difference diagram).",
    "quality": "MMD-m of the samples against evaluations of the velocity, by 1, 2, 4, ... Euler "
    "steps and by the reference solver; a panel for each data set.",
}

#: option -> the kinds on which it has an effect
EFFECTIVE = {
    "metric": ("samples", "marginals", "density", "pareto", "ranks", "quality"),
    "seed": ("samples", "marginals", "density", "trajectories", "curves"),
    "columns": ("samples", "marginals", "trajectories"),
}


def draw(kind: str, request: Request) -> Plot:
    """Return the figure of that kind; lines of its caption have at most 100 characters.

    Raises:
        UsageError: there is no such kind, or it can't be drawn as requested.
        NothingMeasured: the runs hold nothing that it could show; the error says what is missing.
    """
    if kind not in KINDS:
        raise unknown("kind of plot", kind, KINDS)
    for option, kinds in EFFECTIVE.items():
        if kind not in kinds and getattr(request, option) not in (None, ()):
            raise UsageError(f"--{option} has no effect on {kind}.", f"Leave out --{option}.")
    plot: Plot = importlib.import_module(f"bench.figures.{kind}").draw(request)
    lines = (  # of a table, columns are parted by several spaces
        line if "  " in line else textwrap.fill(line, 100, break_on_hyphens=False)
        for line in plot.lines
    )
    return replace(plot, lines=tuple(lines))
