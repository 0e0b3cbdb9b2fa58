"""A table's own units, and the standardised ones that a flow learns in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.records.store import Record

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """Preprocessed rows are (rows - `mean`) / `std`, each `(d,)`."""

    mean: Rows
    std: Rows

    def preprocessed(self, rows: Rows) -> Rows:
        """The rows `(n, d)` that a flow is asked about, of rows `(n, d)` in the table's units."""
        return (rows - self.mean) / self.std

    def own(self, rows: Rows) -> Rows:
        """The rows `(n, d)` in the table's units, of preprocessed ones `(n, d)`."""
        return rows * self.std + self.mean

    def log_det(self) -> float:
        """What a log-density in the table's units has more than in preprocessed ones, in nats."""
        return -float(np.log(self.std).sum())


def of_run(content: Record) -> Units:
    """The units of the table that a run has learned from.

    Raises:
        UsageError: the record does not keep what the rows were standardised by.
    """
    notes = content["dataset"].get("notes", {})
    d = int(content["dataset"].get("d") or 0)
    if notes.get("standardised") == "no":
        return Units(np.zeros(d), np.ones(d))
    mean, std = (np.array(notes.get(name, []), dtype=float) for name in ("mean", "std"))
    if not d or len(mean) != d or len(std) != d:
        raise UsageError(
            f"The record of {content['run']} does not keep what its rows were standardised by.",
            "Make the run again (records keep it now), or give rows in preprocessed units.",
        )
    return Units(mean, std)
