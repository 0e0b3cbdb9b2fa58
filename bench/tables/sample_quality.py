"""The MMD of samples by the number of solver steps, from the records of the runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import DataError
from bench.records.format import span
from bench.records.frame import Cell
from bench.records.store import read
from bench.tables.layout import labels
from bench.tables.marks import groups_of, heading_of


@dataclass(frozen=True)
class QualityPoint:
    """MMD-m (squared, a V-statistic) of samples that took `nfe` evaluations; NaN where it failed.

    `steps` are Euler's in each piece of the flow, 0 for the evaluation's solver.
    """

    steps: int
    nfe: float
    mmd: float


@dataclass(frozen=True)
class QualityCurve:
    """A row of the comparison: `label`, its `method`, and the points of each seed, by its number.

    The points are those of Euler's method, and last that of the evaluation's `solver`.
    """

    label: str
    method: str
    solver: str
    seeds: dict[int, tuple[QualityPoint, ...]]

    @property
    def steps(self) -> list[int]:
        """The numbers of steps in a piece that some seed has, the fewest first; 0 comes last."""
        found = {point.steps for points in self.seeds.values() for point in points}
        return sorted(found, key=lambda steps: (steps == 0, steps))

    def at(self, steps: int) -> list[QualityPoint]:
        """Each seed's point of so many steps."""
        return [p for points in self.seeds.values() for p in points if p.steps == steps]

    def mean(self, steps: int) -> QualityPoint:
        """The mean over all seeds; its MMD is NaN where a seed has none."""
        points = self.at(steps)
        mmd = [point.mmd for point in points]
        whole = len(mmd) == len(self.seeds)
        nfe = float(np.mean([point.nfe for point in points])) if points else math.nan
        return QualityPoint(steps, nfe, float(np.mean(mmd)) if whole else math.nan)

    def sd(self, steps: int) -> float:
        """The standard deviation over seeds (ddof 1); NaN of one seed."""
        mmd = [point.mmd for point in self.at(steps)]
        return float(np.std(mmd, ddof=1)) if 1 < len(mmd) == len(self.seeds) else math.nan

    @property
    def pieces(self) -> list[int]:
        """The numbers of pieces that the seeds' flows have."""
        found = {p.nfe / p.steps for points in self.seeds.values() for p in points if p.steps}
        return sorted({round(pieces) for pieces in found if math.isfinite(pieces)})


@dataclass(frozen=True)
class QualityPanel:
    """What may be compared: the rows on one revision of a data set, under one budget.

    `rows` is the size of each of the two samples, as text. `tau` is the threshold of MMD-m at that
    size (`threshold`), `tau_rows` the size at which it was measured. `missing` are the labels of
    rows that have no such points.
    """

    heading: tuple[Any, Any, Any]
    curves: tuple[QualityCurve, ...]
    missing: tuple[str, ...]
    rows: str
    tau: float
    tau_rows: str

    @property
    def steps(self) -> list[int]:
        """Euler's numbers of steps in a piece that some row has."""
        return sorted({steps for curve in self.curves for steps in curve.steps if steps})


def panels(frame: pd.DataFrame, results: Path) -> list[QualityPanel]:
    """A panel for each heading of the comparison, in its order; one without curves too."""
    return [panel(members, results) for members in groups_of(frame)]


def panel(members: Sequence[Cell], results: Path) -> QualityPanel:
    """The points of a group's cells, from the records of their runs below `results`."""
    curves, missing, shown = [], [], []
    for cell, label in zip(members, labels(members), strict=True):
        curve = _curve(cell, str(label), results)
        if curve is None:
            missing.append(str(label))
        else:
            curves.append(curve)
            shown.append(cell)
    ok = pd.concat([cell.ok for cell in shown]) if shown else members[0].ok
    return QualityPanel(
        heading_of(members[0]),
        tuple(curves),
        tuple(missing),
        span(ok["aggregated_n"]),
        threshold(ok),
        span(ok["mmd_n"]),
    )


def threshold(ok: pd.DataFrame) -> float:
    """tau of MMD-m for samples of `aggregated_n` rows, by that for `mmd_n`; NaN without either.

    Of two samples of one distribution, n times the statistic has a limit law (Gretton et al., JMLR
    13, 2012, theorem 12; the V-statistic adds a constant to it): the quantile goes with 1/n.
    """
    scale = ok["mmd_n"].astype("float64") / ok["aggregated_n"].astype("float64")
    return float((ok["tau_m"] * scale).mean())


def _curve(cell: Cell, label: str, results: Path) -> QualityCurve | None:
    """The curve of a cell; None where not every seed that ended well has one."""
    seeds, solvers = {}, set()
    for _, run in cell.ok.iterrows():
        found = _points(results, str(run["run"]))
        if found is None:
            return None
        seeds[int(run["seed"])], solver = found
        solvers.add(solver)
    if not seeds:
        return None
    return QualityCurve(label, str(cell.key["method"]), " or ".join(sorted(solvers)), seeds)


def _points(results: Path, run: str) -> tuple[tuple[QualityPoint, ...], str] | None:
    """The points of a run and the evaluation's solver; None where its record keeps too few."""
    try:
        record = read(results, run)
    except DataError:
        return None
    if record is None or len(record.quality) < 2:
        return None
    *few, last = record.quality
    known = [line.nfe for line in few if line.nfe is not None]
    # Records of older metrics do not name the steps, which are 1, 2, 4, ... in each piece.
    pieces = min(known, default=math.nan)
    points = [
        QualityPoint(
            line.steps or round(_number(line.nfe) / pieces), _number(line.nfe), _number(line.mmd_m)
        )
        for line in few
        if line.steps or line.nfe is not None
    ]
    return (*points, QualityPoint(0, _number(last.nfe), _number(last.mmd_m))), last.solver


def _number(value: float | None) -> float:
    return math.nan if value is None else value
