"""POWER: electric power use of one household, by the minute (d=6).

UCI "Individual household electric power consumption" (Hebrail & Berard, 2012; CC BY 4.0),
preprocessed as by Papamakarios et al. (2017).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import Dataset, Source, Splits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def preprocess(data: NDArray[np.floating]) -> Splits:
    """Shuffle, drop reactive power and intensity, smooth by noise, split, standardise.

    Args:
        data: `(n, 8)` in time order: active power, reactive power, voltage, intensity,
            sub-metering 1-3, minute of the day.
    """
    import numpy as np

    from bench_datasets.splits import last_tenths, standardised

    # The published rows rest on this generator and this order of draws.
    rng = np.random.RandomState(42)
    n = len(data)
    # Shuffling the indices draws the same numbers as shuffling the rows, and is quicker.
    order = np.arange(n)
    rng.shuffle(order)
    rows = data[order][:, [0, 2, 4, 5, 6, 7]].astype(np.float64)
    rows[:, 1:2] += 0.01 * rng.rand(n, 1)  # the voltage's noise is drawn first
    rows[:, 0:1] += 0.001 * rng.rand(n, 1)
    rows[:, 2:5] += rng.rand(n, 3)
    notes: dict[str, object] = {
        "split": "shuffled with RandomState(42); the last tenth is test, of the rest the last "
        "tenth is validation",
        "noise": "uniform: active power 0.001, voltage 0.01, sub-metering 1, time none",
    }
    return standardised(*last_tenths(rows), notes)


def read_whole(root: Path) -> Splits:
    """The archive's table."""
    import numpy as np

    return preprocess(np.load(root / "power/data.npy", allow_pickle=False))


def read_subset(root: Path) -> Splits:
    """The first 35 days of the series, in the archive's layout."""
    import numpy as np

    with np.load(root / "power/power_raw8_50835.npz", allow_pickle=False) as file:
        return preprocess(file["data"])


POWER = Dataset(
    name="power",
    d=6,
    summary="Electric power use of one household, by the minute",
    sources=(
        Source(read_whole, "whole", "the archive of Zenodo record 1161203", ("power/data.npy",)),
        Source(
            read_subset,
            "subset",
            "50,835 of 2,049,280 rows, 35 winter days",
            ("power/power_raw8_50835.npz",),
        ),
    ),
    rows=(1_659_917, 184_435, 204_928),
)
