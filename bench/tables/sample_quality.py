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
class QualityCurve:
    """A row of the comparison: `label`, its `method`, and its MMD-m by evaluations of the velocity.

    `mmd` (squared, a V-statistic) and `nfe` have a row for each number of Euler's steps in a piece
    of the flow, the fewest first and last 0 for the evaluation's `solver`, and a column for each
    seed; NaN where it failed or was not measured.
    """

    label: str
    method: str
    solver: str
    nfe: pd.DataFrame
    mmd: pd.DataFrame

    @property
    def pieces(self) -> list[int]:
        """The numbers of pieces that the seeds' flows have."""
        euler = self.nfe[self.nfe.index > 0]
        found = (euler.to_numpy() / euler.index.to_numpy()[:, None]).ravel()
        return sorted({round(pieces) for pieces in found.tolist() if math.isfinite(pieces)})


@dataclass(frozen=True)
class QualityPanel:
    """What may be compared: the rows on one revision of a data set, under one budget.

    `rows` is the size of each of the two samples, as text. `tau` is the threshold of MMD-m at that
    size, NaN where it is not known, `tau_rows` the size at which it was measured. `missing` are the
    labels of rows that have no such points.

    Of two samples of one distribution, n times the statistic has a limit law (Gretton et al., JMLR
    13, 2012, theorem 12; the V-statistic adds a constant to it): the quantile goes with 1/n.
    """

    heading: tuple[Any, Any, Any]
    curves: tuple[QualityCurve, ...]
    missing: tuple[str, ...]
    rows: str
    tau: float
    tau_rows: str


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
            shown.append(cell.ok)
    ok = pd.concat(shown) if shown else members[0].ok
    scale = ok["mmd_n"].astype("float64") / ok["aggregated_n"].astype("float64")
    tau, heading = float((ok["tau_m"] * scale).mean()), heading_of(members[0])
    rows, tau_rows = span(ok["aggregated_n"]), span(ok["mmd_n"])
    return QualityPanel(heading, tuple(curves), tuple(missing), rows, tau, tau_rows)


def _curve(cell: Cell, label: str, results: Path) -> QualityCurve | None:
    """The curve of a cell; None where not every seed that ended well has points to show."""
    nfe, mmd, solvers = {}, {}, set()
    for run, seed in zip(cell.ok["run"], cell.ok["seed"], strict=True):
        try:
            record = read(results, str(run))
        except DataError:
            return None
        if record is None or len(record.quality) < 2:
            return None
        *few, last = record.quality
        # Records of older metrics do not name the steps, which are 1, 2, 4, ... in each piece.
        pieces = min((line.nfe for line in few if line.nfe is not None), default=math.nan)
        lines = {
            line.steps or round((line.nfe or 0.0) / pieces): line
            for line in few
            if line.steps or line.nfe
        }
        lines[0] = last
        nfe[int(seed)] = {steps: line.nfe for steps, line in lines.items()}
        mmd[int(seed)] = {steps: line.mmd_m for steps, line in lines.items()}
        solvers.add(last.solver)
    if not solvers:
        return None
    tables = (
        pd.DataFrame(table, dtype="float64").sort_index(key=lambda n: n.where(n > 0, np.inf))
        for table in (nfe, mmd)
    )
    return QualityCurve(label, str(cell.key["method"]), " or ".join(sorted(solvers)), *tables)
