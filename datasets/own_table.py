"""A table of the user's own: .csv, .npy, .npz or .parquet.

The rows are shuffled with a fixed seed and split 80/10/10, unless an .npz gives the arrays
`train`, `validation` and `test`; then they are standardised.
"""

from __future__ import annotations

from pathlib import Path

from bench.api import Dataset, Source, Splits


def from_path(path: Path) -> Dataset:
    """Return the table at `path` as a data set; only its dimension is read now.

    Raises:
        DataError: the file does not exist, can't be read, or has another suffix.
    """
    from bench_datasets.own_table_files import width

    path = path.expanduser().absolute()

    def read(root: Path) -> Splits:
        from bench_datasets.own_table_files import read_splits

        return read_splits(path)

    return Dataset(
        name=path.name,
        d=width(path),
        summary=f"The table {path}",
        sources=(Source(read, "own", "the user's own table", (str(path),)),),
    )
