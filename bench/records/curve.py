"""Seconds to a target: how soon a method validates as well as the slowest one does at its end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: A validated state: training seconds so far, validation NLL (None where it was not finite).
Point = tuple[float, float | None]


@dataclass(frozen=True)
class Target:
    """A validation NLL to be reached, in nats.

    Attributes:
        nll: the last validation NLL of the slowest run, the one of most training seconds.
        slowest: that run.
        seconds: for each run the training seconds at its first validated state that is as good;
            None where it has none. A run is seen only where it is validated, so this is late by at
            most the time between two validations.
    """

    nll: float
    slowest: str
    seconds: Mapping[str, float | None]


def target(curves: Mapping[str, Sequence[Point]]) -> Target | None:
    """The target of runs on the same data with the same seed, by name; None where none validated.

    Training seconds are those inside the methods' updates: validation is not among them.
    """
    ends = {run: curve[-1] for run, curve in curves.items() if curve}
    solved = {run: seconds for run, (seconds, nll) in ends.items() if nll is not None}
    if not solved:
        return None
    slowest = max(solved, key=lambda run: (solved[run], run))
    goal = ends[slowest][1]
    assert goal is not None
    return Target(goal, slowest, {run: reached(curve, goal) for run, curve in curves.items()})


def reached(curve: Sequence[Point], goal: float) -> float | None:
    """The training seconds at the first validated state whose NLL is at most `goal`."""
    return next((seconds for seconds, nll in curve if nll is not None and nll <= goal), None)


def read_curve(folder: Path) -> list[Point]:
    """The validated states of a run's `curve.jsonl`, in order; none where there is no such file."""
    path = folder / "curve.jsonl"
    if not path.is_file():
        return []
    points: list[Point] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "validation_nll" in entry:
            nll = entry["validation_nll"]
            points.append(
                (entry["seconds"], nll if nll is not None and math.isfinite(nll) else None)
            )
    return points
