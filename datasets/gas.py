"""GAS: chemical sensors exposed to ethylene and carbon monoxide (d=8).

UCI "Gas sensor array under dynamic gas mixtures" (Fonollosa et al., 2015), preprocessed as by
Papamakarios et al. (2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import Dataset, Source, Splits
from bench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "gas/ethylene_CO.pickle"

#: Columns that are not sensors: concentrations and time.
DROPPED = ("Meth", "Eth", "Time")


def preprocess(columns: Sequence[str], data: NDArray[np.float64]) -> Splits:
    """Drop columns that are not sensors, then correlated sensors; standardise; split in order.

    The rows are ordered in time, and mean and std include the test rows: both are part of the
    published benchmark.

    Args:
        columns: the names of the columns.
        data: `(n, len(columns))`.

    Raises:
        DataError: one of `DROPPED` is missing.
    """
    import numpy as np

    from bench_datasets.splits import float32, last_tenths

    absent = [name for name in DROPPED if name not in columns]
    if absent:
        raise DataError(
            f"The table of {FILE} has no column {' and no column '.join(absent)}.",
            "Put the archive's file in its place.",
        )
    sensors = [i for i, name in enumerate(columns) if name not in DROPPED]
    rows = data[:, sensors]
    kept = uncorrelated(np.atleast_2d(np.corrcoef(rows, rowvar=False)))
    rows = rows[:, kept]
    mean, std = rows.mean(axis=0), rows.std(axis=0, ddof=1)
    rows = (rows - mean) / std
    notes: dict[str, object] = {
        "split": "in stored order; the last tenth is test, of the rest the last tenth is "
        "validation",
        "standardised": "mean and std (ddof 1) of the whole table, test rows included",
        "mean": mean.tolist(),
        "std": std.tolist(),
        "columns": [columns[sensors[i]] for i in kept],
    }
    return float32(*last_tenths(rows), notes=notes)


def uncorrelated(correlation: NDArray[np.float64]) -> list[int]:
    """The columns left when no two of them have a correlation above 0.98.

    The first column with such a partner is removed, again and again.
    """
    kept = list(range(len(correlation)))
    while True:
        partners = (correlation[kept][:, kept] > 0.98).sum(axis=1)
        if not (partners > 1).any():
            return kept
        del kept[int((partners > 1).argmax())]


def read(root: Path) -> Splits:
    """The archive's table."""
    from bench_datasets.old_pickle import read_frame

    return preprocess(*read_frame(root / FILE))


GAS = Dataset(
    name="gas",
    d=8,
    summary="Chemical sensors exposed to ethylene and carbon monoxide",
    sources=(Source(read, "whole", "the archive of Zenodo record 1161203", (FILE,)),),
    rows=(852_174, 94_685, 105_206),
)
