"""Figures by name: the runs in, a picture and what it rests on out.

Each kind is `draw(asked)` of the module of its name here; how a picture is drawn, `bench.figures`
knows.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from bench.errors import unknown

if TYPE_CHECKING:
    from bench.plots.asked import Asked, Drawn

#: kind -> what it shows
KINDS = {
    "samples": "samples of each method beside test rows: points, pictures, or two columns.",
    "marginals": "the marginals of some columns and of their pairs, of data and of each method.",
    "density": "the density of each method on a grid in the plane, and the true one where known.",
    "trajectories": "paths of a trained flow from noise to data and from data to noise.",
    "curves": "loss and validation NLL against mini-batches and training seconds.",
    "movement": "W2 movement of each block of a flow that has several.",
    "pareto": "NLL against training seconds and against memory, with the Pareto front.",
    "ranks": "average ranks of the methods over the data sets, and which of them are not told "
    "apart (critical-difference diagram).",
    "quality": "MMD-m of the samples against evaluations of the velocity, by 1, 2, 4, ... Euler "
    "steps and by the judge's solver; a panel for each data set.",
}


def draw(kind: str, asked: Asked) -> Drawn:
    """The figure of that kind.

    Raises:
        UsageError: there is no such kind, or it can't be drawn as asked.
        NothingMeasured: the runs hold nothing of it; the error says what is missing.
    """
    if kind not in KINDS:
        raise unknown("kind of plot", kind, KINDS)
    drawn: Drawn = importlib.import_module(f"bench.plots.{kind}").draw(asked)
    return drawn


def defect(error: Exception) -> str:
    """What stands in the place of a figure that failed by no fault of its runs."""
    said = f"{type(error).__name__}: {error}"
    return f"It can't be drawn, by a defect of CNF Bench: {' '.join(said.split())}."
