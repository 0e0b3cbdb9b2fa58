"""A table of the user's own: .csv, .tsv (also .gz), .npy, .npz or .parquet.

The rows are shuffled with a fixed seed and split 80/10/10, unless an .npz gives the arrays
`train`, `validation` and `test`; then they are standardised. What is done to the columns before
that may follow the path: `wine.csv?drop=id,row&dequantise=age&group=patient&header=yes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bench.api import Dataset, Source, Splits
from bench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KEYS = ("drop", "dequantise", "group", "header")


@dataclass(frozen=True)
class Preparation:
    """What is done to a table's columns before its rows are split.

    `drop` leaves columns out. `dequantise` adds uniform noise as wide as the column's grid. Rows
    with one value of the column `group` come in one split; the column is left out. `header` says
    whether the first line of a text file names the columns; None: it is found out.
    """

    drop: tuple[str, ...] = ()
    dequantise: tuple[str, ...] = ()
    group: str | None = None
    header: bool | None = None


def from_path(path: Path) -> Dataset:
    """Return the table at `path` as a data set; only its dimension is read now.

    Raises:
        DataError: the file does not exist, can't be read, or has another suffix or other columns.
        UsageError: what follows the path is not understood.
    """
    from bench_datasets.own_table_rows import width

    path, preparation = _parsed(path.expanduser().absolute())

    def read(root: Path) -> Splits:
        from bench_datasets.own_table_rows import read_splits

        return read_splits(path, preparation)

    def groups(index: NDArray[np.int64]) -> NDArray[np.int64]:
        from bench_datasets.own_table_rows import test_groups

        return test_groups(path, preparation)[index]

    return Dataset(
        name=path.name,
        d=width(path, preparation),
        summary=f"The table {path}",
        sources=(
            Source(
                read,
                "own",
                "the user's own table" + _described(preparation),
                (str(path),),
                groups if preparation.group is not None else None,
            ),
        ),
    )


def _parsed(path: Path) -> tuple[Path, Preparation]:
    """Split a path from the preparation that follows it; a file of that very name has none."""
    if "?" not in path.name or path.exists():
        return path, Preparation()
    name, _, query = str(path).rpartition("?")
    found: dict[str, tuple[str, ...]] = {}
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key not in _KEYS or not value or key in found:
            raise UsageError(
                f"{part!r} in {path.name!r} is not understood.",
                f"Known: {', '.join(f'{key}=...' for key in _KEYS)}, each once.",
            )
        found[key] = tuple(unquote(column) for column in value.split(","))
    group, header = found.get("group", (None,)), found.get("header", (None,))
    if len(group) > 1:
        raise UsageError(f"Rows are grouped by one column, got {', '.join(map(str, group))}.")
    if header not in {(None,), ("yes",), ("no",)}:
        raise UsageError(f"header must be yes or no, got {','.join(map(str, header))!r}.")
    return Path(name), Preparation(
        drop=tuple(sorted(found.get("drop", ()))),
        dequantise=tuple(sorted(found.get("dequantise", ()))),
        group=group[0],
        header=None if header == (None,) else header == ("yes",),
    )


def _described(preparation: Preparation) -> str:
    """The preparation in words; the cache tells tables apart by them. Empty where there is none."""
    parts = [
        f"without {', '.join(preparation.drop)}" if preparation.drop else "",
        f"dequantised {', '.join(preparation.dequantise)}" if preparation.dequantise else "",
        f"split by {preparation.group}" if preparation.group is not None else "",
        "" if preparation.header is None else ("without", "with")[preparation.header] + " a header",
    ]
    return "".join(f"; {part}" for part in parts if part)
