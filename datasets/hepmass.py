"""HEPMASS: simulated collisions with an exotic particle of mass 1000 (d=21).

UCI "HEPMASS" (Whiteson, 2016), preprocessed as by Papamakarios et al. (2017).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import Dataset, Source, Splits
from bench.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

FILES = ("hepmass/1000_train.csv", "hepmass/1000_test.csv")


def preprocess(train: pd.DataFrame, test: pd.DataFrame) -> Splits:
    """Keep the signal, standardise, drop columns with a repeated smallest value, split.

    Args:
        train: the label, then the columns.
        test: the same, with one more column at the end, which is dropped.

    Raises:
        DataError: the tables differ in columns otherwise.
    """
    import numpy as np

    from bench_datasets.splits import float32

    kept, tested = (
        frame[frame.iloc[:, 0] == 1].iloc[:, 1:].to_numpy(dtype=np.float64)
        for frame in (train, test.iloc[:, :-1])
    )
    if kept.shape[1] != tested.shape[1]:
        raise DataError(
            f"HEPMASS's training table has {kept.shape[1]} columns in addition to the label, its "
            f"test table {tested.shape[1] + 1}; the test table should have one more.",
            f"Put the archive's {' and '.join(FILES)} in their place.",
        )
    mean, std = kept.mean(axis=0), kept.std(axis=0, ddof=1)
    kept, tested = (kept - mean) / std, (tested - mean) / std
    # A quirk of the published benchmark: the smallest value, not the most frequent.
    columns = np.count_nonzero(kept == kept.min(axis=0), axis=0) <= 5
    kept, tested = kept[:, columns], tested[:, columns]
    n_train = len(kept) - int(0.1 * len(kept))
    notes: dict[str, object] = {
        "split": "the last tenth of the train table is validation; the test table is test",
        "standardised": "mean and std (ddof 1) of the train table, validation rows included",
        "mean": mean[columns].tolist(),
        "std": std[columns].tolist(),
    }
    return float32(kept[:n_train], kept[n_train:], tested, notes)


def read(root: Path) -> Splits:
    """The archive's two tables."""
    import pandas as pd

    # Rows may have a separator at their end: without `index_col=False` it would make an index.
    train, test = (pd.read_csv(root / name, index_col=False) for name in FILES)
    return preprocess(train, test)


HEPMASS = Dataset(
    name="hepmass",
    d=21,
    summary="Simulated collisions with an exotic particle of mass 1000",
    sources=(Source(read, "whole", "the archive of Zenodo record 1161203", FILES),),
    rows=(315_123, 35_013, 174_987),
)
