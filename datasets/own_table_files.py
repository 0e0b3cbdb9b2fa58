"""Reading and checking a table of the user's own."""

from __future__ import annotations

import csv
import importlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.api import Splits
from bench.errors import DataError
from bench_datasets.splits import Table, shuffled_tenths, standardised

if TYPE_CHECKING:
    import pandas as pd

SEED = 0
MIN_ROWS = 50  # fewer say nothing about a density
SPLITS = ("train", "validation", "test")

_FORMATS = ".csv, .npy, .npz or .parquet"
_NUMBERS = "Keep only numeric columns."


class Named(NamedTuple):
    """A table `(n, d)` with the names of its columns; `what` names its file or array."""

    what: str
    columns: list[str]
    rows: Table


def width(path: Path) -> int:
    """Return the number of columns, reading as little of the file as possible.

    Raises:
        DataError: as for `from_path`.
    """
    columns: int = _guarded(path, _WIDTHS)
    if not columns:
        raise DataError(f"{path} has no columns.", "Give a table with rows and columns.")
    return columns


def read_splits(path: Path) -> Splits:
    """Read, check, split and standardise the table.

    Raises:
        DataError: it can't be read, has too few rows, a column that is constant or not numeric, or
            a value that is missing or not finite.
    """
    tables: list[Named] = _guarded(path, _READERS)
    for table in tables:
        _check_finite(table)
    n = sum(len(table.rows) for table in tables)
    if n < MIN_ROWS:
        raise DataError(f"{path} has {n} rows.", f"At least {MIN_ROWS} are required.")
    notes: dict[str, object] = {"columns": tables[0].columns}
    if len(tables) == 1:
        train, validation, test = shuffled_tenths(tables[0].rows, SEED)
        notes["split"] = f"shuffled with seed {SEED}, 80/10/10"
    else:
        train, validation, test = (table.rows for table in tables)
        notes["split"] = "as given by the file"
    seen = np.concatenate([train, validation])
    constant = [
        name
        for name, column in zip(tables[0].columns, seen.T, strict=True)
        if column.min() == column.max()
    ]
    if constant:
        raise DataError(
            f"{path} has the same value in every row of {_listed(constant)} (training and "
            "validation).",
            "A constant has no density: remove such columns.",
        )
    return standardised(train, validation, test, notes)


def _guarded(path: Path, by_suffix: dict[str, Callable[[Path], Any]]) -> Any:
    """Apply the function for the file's suffix; raise DataError for what it can't read."""
    act = by_suffix.get(path.suffix.lower())
    if act is None:
        raise DataError(f"{path} is not a supported table.", f"Use a {_FORMATS} file.")
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Check the path.")
    try:
        return act(path)
    except (OSError, EOFError, ValueError, csv.Error, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} can't be read: {' '.join(str(error).split())}.",
            f"Expected a {path.suffix} table of numbers.",
        ) from error


def _check_finite(table: Named) -> None:
    bad = ~(np.abs(table.rows) <= np.finfo(np.float32).max)  # so that NaN is bad, too
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        value = table.rows[row, column]
        found = "a missing value" if np.isnan(value) else f"the value {value}"
        count = int(bad.any(axis=1).sum())
        raise DataError(
            f"{table.what} has {found} in row {row + 1} (counted from 1), "
            f"column {table.columns[column]}; {count} such rows in all.",
            "Keep only complete rows whose values are finite in float32.",
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"column{'s' * (len(names) > 1)} {shown}{more}"


def _csv_start(path: Path) -> tuple[list[str], bool]:
    """The cells of the first line, and whether they are a header: names, or 0, 1, 2, ..."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        cells = [cell.strip() for cell in next((line for line in csv.reader(file) if line), [])]
    if len(cells) == 1 and (";" in cells[0] or "\t" in cells[0]):
        raise DataError(f"{path} has no comma in its first line.", "Separate columns by commas.")
    numbered = len(cells) > 1 and cells == [str(i) for i in range(len(cells))]
    return cells, numbered or not all(cell == "" or _is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _csv_width(path: Path) -> int:
    return len(_csv_start(path)[0])


def _csv_tables(path: Path) -> list[Named]:
    import pandas as pd

    cells, header = _csv_start(path)
    frame = pd.read_csv(
        path, header=0 if header else None, skipinitialspace=True, encoding="utf-8-sig"
    )
    if frame.shape[1] != len(cells) or not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"its first line has {len(cells)} columns, other lines have more")
    return [_from_frame(path, frame)]


def _parquet() -> ModuleType:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(
            "Reading .parquet files needs pyarrow.", "Run `pip install 'cnf-bench[parquet]'`."
        ) from error


def _parquet_width(path: Path) -> int:
    return len(_parquet().read_schema(path).names)


def _parquet_tables(path: Path) -> list[Named]:
    return [_from_frame(path, _parquet().read_table(path).to_pandas(ignore_metadata=True))]


def _from_frame(path: Path, frame: pd.DataFrame) -> Named:
    names = [str(name) for name in frame.columns]
    if not len(frame):
        return Named(str(path), names, np.empty((0, len(names))))
    columns = [column for _, column in frame.items()]
    first = {name: _first_other(column) for name, column in zip(names, columns, strict=True)}
    wrong = {name: cell for name, cell in first.items() if cell is not None}
    if wrong:
        name, (row, cell) = next(iter(wrong.items()))
        raise DataError(
            f"{path} has other values than numbers in {_listed(list(wrong))}; the first, {name!r}, "
            f"has {cell!r} in row {row + 1} (counted from 1).",
            _NUMBERS,
        )
    return Named(str(path), names, frame.to_numpy(dtype=np.float64, na_value=np.nan))


def _first_other(column: pd.Series[Any]) -> tuple[int, object] | None:
    """The row and value of the first cell that is neither a number nor missing, or None."""
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(column.dtype) and not is_bool_dtype(column.dtype):
        return None
    text = column.astype(str)
    other = (pd.to_numeric(text, errors="coerce").isna() & column.notna()).to_numpy()
    row = int(other.argmax())
    return row, str(column.iloc[row])


def _npy_width(path: Path) -> int:
    with open(path, "rb") as file:
        return _columns(str(path), *_header(file))


def _npy_tables(path: Path) -> list[Named]:
    return [_from_array(str(path), np.load(path, mmap_mode="r", allow_pickle=False))]


def _npz_keys(path: Path) -> tuple[str, ...]:
    """The arrays to read: the three splits, or the only array."""
    with zipfile.ZipFile(path) as file:
        keys = [name.removesuffix(".npy") for name in file.namelist()]
    if set(SPLITS) <= set(keys):
        return SPLITS
    if len(keys) != 1:
        raise DataError(
            f"{path} has the arrays {', '.join(keys) or '(none)'}.",
            "Expected one array, or `train`, `validation` and `test`.",
        )
    return (keys[0],)


def _npz_width(path: Path) -> int:
    widths = dict[str, int]()
    with zipfile.ZipFile(path) as file:
        for key in _npz_keys(path):
            with file.open(f"{key}.npy") as member:
                widths[key] = _columns(f"{path}, array {key!r}", *_header(member))
    if len(set(widths.values())) > 1:
        raise DataError(f"The splits of {path} differ in columns: {widths}.", "Make them equal.")
    return widths.popitem()[1]


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and dtype of an array in numpy's format, without its values."""
    if np.lib.format.read_magic(file) == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype


def _npz_tables(path: Path) -> list[Named]:
    with np.load(path, allow_pickle=False) as file:
        return [_from_array(f"{path}, array {key!r}", file[key]) for key in _npz_keys(path)]


def _from_array(what: str, rows: NDArray[Any]) -> Named:
    names = [str(i) for i in range(_columns(what, rows.shape, rows.dtype))]
    return Named(what, names, rows.astype(np.float64))


def _columns(what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    if len(shape) != 2:
        raise DataError(
            f"{what} has the shape {shape}.", "A table has two dimensions: rows and columns."
        )
    if dtype.kind not in "fiu":
        raise DataError(f"{what} has the dtype {dtype}.", _NUMBERS)
    return shape[1]


_WIDTHS: dict[str, Callable[[Path], int]] = {
    ".csv": _csv_width,
    ".npy": _npy_width,
    ".npz": _npz_width,
    ".parquet": _parquet_width,
}

_READERS: dict[str, Callable[[Path], list[Named]]] = {
    ".csv": _csv_tables,
    ".npy": _npy_tables,
    ".npz": _npz_tables,
    ".parquet": _parquet_tables,
}
