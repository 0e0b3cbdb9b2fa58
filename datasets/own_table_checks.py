"""Columns of a user's table that can't have a density, and those that are likely to mislead.

A column of whole numbers, a flag, a copy or an affine combination of other columns has no density
with respect to the Lebesgue measure: a likelihood grows without bound as a model finds it out, and
the comparison says nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]

#: Residual of a column given the others, in its standard deviations: none, and hardly any.
DEPENDENT, NEARLY_DEPENDENT = 1e-5, 1e-3
#: The middle half of a column spans fewer standard deviations than this where a value is huge.
COLLAPSED = 1e-3
#: Shares of rows: with the most common value of a column; with a value that others have too; that
#: repeat another row.
ATOM, REPEATED, DOUBLE = 0.05, 0.5, 0.01
#: Rows that the search for dependent columns looks at.
ROWS = 20_000
#: Decimal places of a grid.
PLACES = 9


@dataclass
class Findings:
    """What is wrong with a table: faults, the columns to drop or to dequantise, and warnings."""

    faults: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    dequantise: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def remedy(self) -> str:
        """The options that mend it."""
        options = {"--drop": self.drop, "--dequantise": self.dequantise}
        return " ".join(f"{name} {','.join(found)}" for name, found in options.items() if found)


def grid(column: Table) -> float | None:
    """Return the largest step of which all differences `(n,)` are multiples, or None.

    A step has at most `PLACES` decimal places.
    """
    values = np.unique(column)
    differences = np.diff(values)
    for place in range(PLACES + 1):
        scaled = differences * 10.0**place
        whole = np.rint(scaled)
        scale = np.abs(values).max() * 10.0**place
        if scale > 2**53:
            return None
        if len(whole) and np.abs(scaled - whole).max() <= 1e-12 * scale + 1e-9:
            return float(np.gcd.reduce(whole.astype(np.int64))) / 10.0**place
    return None


def check(columns: Sequence[str], rows: Table, seen: int) -> Findings:
    """Look for what has no density in the rows `(n, d)`, all finite.

    The first `seen` are of training and validation.
    """
    found = Findings()
    by_kind = defaultdict[str, list[str]](list)
    for name, column in zip(columns, rows.T, strict=True):
        by_kind[_kind(column, seen)].append(name)
    for kind, sentence in _FAULTS.items():
        if names := by_kind[kind]:
            found.faults.append(f"{listed(names)} {'have' if names[1:] else 'has'} {sentence}")
            (found.dequantise if kind == "whole" else found.drop).extend(names)
    kept = [k for k, name in enumerate(columns) if name not in by_kind["constant"]]
    _find_dependent([columns[k] for k in kept], rows[:seen, kept], found)
    found.dequantise = [name for name in found.dequantise if name not in found.drop]
    _warn(columns, rows, found)
    return found


_FAULTS = {
    "constant": "the same value in every row of training and validation",
    "flag": "only two values",
    "index": "only row numbers",
    "whole": "only whole numbers",
    "atom": "one value in most rows",
    "huge": "a value so large that all others are nearly equal beside it",
}


def _kind(column: Table, seen: int) -> str:
    """Why a column has no density, as in `_FAULTS`; empty where it may have one."""
    if column[:seen].min() == column[:seen].max():
        return "constant"
    values, counts = np.unique(column, return_counts=True)
    if len(values) == 2:
        return "flag"
    if np.array_equal(values, np.rint(values)):
        nearly_consecutive = len(column) >= 0.75 * (values[-1] - values[0] + 1)
        return "index" if len(values) == len(column) and nearly_consecutive else "whole"
    if counts.max() > len(column) / 2:
        return "atom"
    z = (column - column.mean()) / column.std()
    merged = len(np.unique(z.astype(np.float32))) < len(values) / 2
    low, high = np.quantile(z, [0.25, 0.75])
    return "huge" if merged or high - low < COLLAPSED else ""


def _find_dependent(columns: Sequence[str], rows: Table, found: Findings) -> None:
    """Add the columns that others determine, by a QR decomposition in their order."""
    from scipy.linalg import qr

    rows = rows[:: -(-len(rows) // ROWS)]
    n, d = rows.shape
    if n <= d:
        found.faults.append(f"{n} rows of training and validation are too few for {d} columns")
        return
    if (rows.min(0) == rows.max(0)).any():
        return  # a constant in the rows looked at; most others are
    (r,) = qr((rows - rows.mean(0)) / rows.std(0) / np.sqrt(n), mode="r")
    residual = np.abs(np.diag(r))
    free = np.flatnonzero(residual > DEPENDENT)
    names = np.array(columns)
    for k in np.flatnonzero(residual <= DEPENDENT):
        earlier = free[free < k]
        weights = np.linalg.lstsq(r[:k, earlier], r[:k, k], rcond=None)[0]
        others = names[earlier[np.abs(weights) > DEPENDENT]].tolist()
        how = "an affine combination of" if len(others) > 1 else "a copy or an affine function of"
        found.faults.append(f"{listed([str(names[k])])} is {how} {listed(others)}")
        found.drop += {str(names[k])} - {*found.drop}
    if near := names[free[residual[free] <= NEARLY_DEPENDENT]].tolist():
        found.warnings.append(f"{listed(near)}: almost an affine combination of other columns")


def _warn(columns: Sequence[str], rows: Table, found: Findings) -> None:
    """Add what may have a density, but is likely to mislead."""
    import pandas as pd

    atoms, rounded = [], []
    for name, column in zip(columns, rows.T, strict=True):
        _, counts = np.unique(column, return_counts=True)
        if name in {*found.drop, *found.dequantise}:
            continue
        if counts.max() > max(ATOM * len(column), 2):
            atoms.append(name)
        elif counts[counts > 1].sum() > REPEATED * len(column):
            rounded.append(name)
    if atoms:
        found.warnings.append(f"{listed(atoms)}: one value in over {ATOM:.0%} of the rows")
    if rounded:
        found.warnings.append(f"{listed(rounded)}: rounded, most values occur more than once")
    if (double := pd.DataFrame(rows).duplicated().mean()) > DOUBLE:
        found.warnings.append(f"{double:.0%} of the rows repeat another row")


def listed(names: Sequence[str]) -> str:
    """Return the names as a sentence has them, five at most."""
    shown = ", ".join(repr(name) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"column{'s' * (len(names) > 1)} {shown}{more}"
