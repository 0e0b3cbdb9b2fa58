"""MINIBOONE: electron neutrino events of a particle detector (d=43).

UCI "MiniBooNE particle identification" (Roe, 2005; CC BY 4.0), preprocessed as by Papamakarios
et al. (2017): the signal events, without 11 outliers and without 7 columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import Dataset, Source, Splits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def preprocess(data: NDArray[np.floating]) -> Splits:
    """Split the rows `(n, 43)` in stored order and standardise them."""
    import numpy as np

    from bench_datasets.splits import last_tenths, standardised

    notes: dict[str, object] = {
        "split": "in stored order; the last tenth is test, of the rest the last tenth is validation"
    }
    return standardised(*last_tenths(data.astype(np.float64)), notes)


def read_whole(root: Path) -> Splits:
    """The archive's table."""
    import numpy as np

    return preprocess(np.load(root / "miniboone/data.npy", allow_pickle=False))


def read_subset(root: Path) -> Splits:
    """The first rows of the archive's table."""
    import numpy as np

    with np.load(root / "miniboone/miniboone_maf_head1523.npz", allow_pickle=False) as file:
        return preprocess(file["data"])


MINIBOONE = Dataset(
    name="miniboone",
    d=43,
    summary="Electron neutrino events of a particle detector",
    sources=(
        Source(
            read_whole, "whole", "the archive of Zenodo record 1161203", ("miniboone/data.npy",)
        ),
        Source(
            read_subset,
            "subset",
            "the first 1,523 of 36,488 rows",
            ("miniboone/miniboone_maf_head1523.npz",),
        ),
    ),
    rows=(29_556, 3_284, 3_648),
)
