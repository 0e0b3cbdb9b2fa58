"""The columns of a table that a figure shows, and the part of them that lies in the frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.plots.asked import Asked

Array = NDArray[np.float64]

#: What the numbers of a column are in.
UNIT = "data units"


def columns_of(asked: Asked, dataset: str, d: int, most: int) -> list[int]:
    """The columns asked for, or the first ones, `most` of them at most.

    Raises:
        UsageError: the data set has no such column, or more are asked for than are shown.
    """
    if len(asked.columns) > most:
        raise UsageError(
            f"This figure shows {most} columns, not {len(asked.columns)}.", "Name fewer columns."
        )
    for column in asked.columns:
        if column >= d:
            raise UsageError(f"{dataset} has no column {column}.", f"Its columns are 0 to {d - 1}.")
    return list(asked.columns) or list(range(min(d, most)))


def name_of(column: int, d: int) -> str:
    """The name of an axis that shows a column; in two dimensions they are counted as in papers."""
    return f"x{'₁₂'[column]} ({UNIT})" if d == 2 else f"column {column} ({UNIT})"


def frame_around(values: Array) -> tuple[Array, Array]:
    """The ends `(k,)` of axes that hold all but 0.1 % of the rows `(n, k)` at each side."""
    low, high = np.quantile(values, [0.001, 0.999], axis=0)
    margin = 0.12 * np.where(high > low, high - low, 1.0)
    return low - margin, high + margin


def outside(points: Sequence[Array], low: Array, high: Array) -> list[int]:
    """How many of each set of points `(n, k)` lie outside of the axes."""
    return [int(((rows < low) | (rows > high)).any(axis=1).sum()) for rows in points]
