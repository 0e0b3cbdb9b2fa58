"""The file formats of a user's own table: the names of its columns, and its rows."""

from __future__ import annotations

import csv
import gzip
import importlib
import itertools
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench_datasets.own_table import Preparation

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "validation", "test")

_FORMATS = ".csv, .tsv (also with .gz), .npy, .npz or .parquet"
#: Lines that tell how a text file is written.
_FIRST_LINES = 200
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")


def columns_of(path: Path, preparation: Preparation) -> list[str]:
    """Return the names of the columns, reading as little of the file as possible.

    Raises:
        DataError: the file does not exist, can't be read or has another suffix.
    """
    found: list[str] = _guarded(path, _COLUMNS, preparation)
    return found


def frames_of(path: Path, preparation: Preparation) -> dict[str, pd.DataFrame]:
    """Return the tables of the file, one, or one a split, by what to call them.

    Raises:
        DataError: as `columns_of`.
    """
    found: dict[str, pd.DataFrame] = _guarded(path, _READERS, preparation)
    return found


def _guarded(
    path: Path, by_suffix: Mapping[str, Callable[[Path, Preparation], Any]], options: Preparation
) -> Any:
    """Apply the function for the file's suffix; raise DataError for what it can't read."""
    suffix = "".join(path.suffixes[-2:]).lower()
    suffix = suffix if suffix in by_suffix else path.suffix.lower()
    act = by_suffix.get(suffix)
    if act is None:
        raise DataError(f"{path} is not a supported table.", f"Use a {_FORMATS} file.")
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Check the path.")
    try:
        return act(path, options)
    except (OSError, EOFError, ValueError, csv.Error, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} can't be read: {' '.join(str(error).split())}.",
            f"Expected a {suffix} table of numbers.",
        ) from error


class _Text(NamedTuple):
    """How a text file is written: the names of its columns, the separators, and its header."""

    columns: list[str]
    separator: str
    decimal: str
    header: bool


def _opened(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8-sig")
    return open(path, newline="", encoding="utf-8-sig")


def _text(path: Path, preparation: Preparation) -> _Text:
    """Find out how a text file is written, from its first lines.

    Columns are separated by tabs in a .tsv; otherwise by semicolons where the first line has any
    (decimals may have commas then), by tabs where it has no comma, or by commas.
    """
    with _opened(path) as file:
        lines = [line for line in itertools.islice(file, _FIRST_LINES) if line.strip()]
    if not lines:
        return _Text([], ",", ".", False)
    tabs = ".tsv" in path.suffixes or ("\t" in lines[0] and "," not in lines[0])
    separator = "\t" if tabs else ";" if ";" in lines[0] else ","
    first, *cells = ([c.strip() for c in row] for row in csv.reader(lines, delimiter=separator))
    comma = separator != "," and any(_DECIMAL_COMMA.fullmatch(c) for row in cells for c in row)
    decimal = "," if comma else "."

    def number(cell: str) -> float | None:
        try:
            return float(cell.replace(decimal, "."))
        except ValueError:
            return None

    numbers = [number(cell) for cell in first]
    header = preparation.header
    if header is None:
        header = _is_header(path, first, numbers, [[number(c) for c in row] for row in cells])
    columns = [cell if header and cell else str(k) for k, cell in enumerate(first)]
    return _Text(columns, separator, decimal, header)


def _is_header(
    path: Path, first: list[str], numbers: list[float | None], rows: list[list[float | None]]
) -> bool:
    """Whether the first line names the columns.

    Raises:
        DataError: it may be either: it mixes names and numbers, or its numbers look like names
            (whole and different, over columns that have others than whole numbers).
    """
    if not any(cell and value is not None for cell, value in zip(first, numbers, strict=True)):
        return True
    names = [cell for cell, value in zip(first, numbers, strict=True) if value is None]
    whole = all(value is not None and value % 1 == 0 for value in numbers)
    broken = any(value is not None and value % 1 for row in rows for value in row)
    like_names = len(first) > 1 and whole and len({*numbers}) == len(first) and broken
    if names or like_names:
        raise DataError(
            f"The first line of {path} may name its columns or be data: {', '.join(first):.60}.",
            "Say which: --header yes or --header no.",
        )
    return False


def _text_columns(path: Path, preparation: Preparation) -> list[str]:
    return _text(path, preparation).columns


def _text_table(path: Path, preparation: Preparation) -> dict[str, pd.DataFrame]:
    import pandas as pd

    text = _text(path, preparation)
    frame = pd.read_csv(
        path,
        sep=text.separator,
        decimal=text.decimal,
        header=0 if text.header else None,
        skipinitialspace=True,
        encoding="utf-8-sig",
        low_memory=False,
    )
    if frame.shape[1] != len(text.columns) or not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"its first line has {len(text.columns)} columns, other lines have more")
    return {path.name: frame.set_axis(text.columns, axis=1)}


def _parquet() -> ModuleType:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(
            "Reading .parquet files needs pyarrow.", "Run `pip install 'cnf-bench[parquet]'`."
        ) from error


def _parquet_columns(path: Path, _: Preparation) -> list[str]:
    return [str(name) for name in _parquet().read_schema(path).names]


def _parquet_table(path: Path, _: Preparation) -> dict[str, pd.DataFrame]:
    frame: pd.DataFrame = _parquet().read_table(path).to_pandas(ignore_metadata=True)
    return {path.name: frame.set_axis([str(name) for name in frame.columns], axis=1)}


def _npy_columns(path: Path, _: Preparation) -> list[str]:
    with open(path, "rb") as file:
        return _numbered(str(path), *_header(file))


def _npy_table(path: Path, _: Preparation) -> dict[str, pd.DataFrame]:
    return {path.name: _framed(str(path), np.load(path, mmap_mode="r", allow_pickle=False))}


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


def _npz_columns(path: Path, _: Preparation) -> list[str]:
    columns = dict[str, list[str]]()
    with zipfile.ZipFile(path) as file:
        for key in _npz_keys(path):
            with file.open(f"{key}.npy") as member:
                columns[key] = _numbered(f"{path}, array {key!r}", *_header(member))
    widths = {key: len(names) for key, names in columns.items()}
    if len(set(widths.values())) > 1:
        raise DataError(f"The splits of {path} differ in columns: {widths}.", "Make them equal.")
    return columns.popitem()[1]


def _npz_table(path: Path, _: Preparation) -> dict[str, pd.DataFrame]:
    with np.load(path, allow_pickle=False) as file:
        return {
            f"array {key!r}": _framed(f"{path}, array {key!r}", file[key])
            for key in _npz_keys(path)
        }


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and dtype of an array in numpy's format, without its values."""
    if np.lib.format.read_magic(file) == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype


def _framed(what: str, rows: NDArray[Any]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows.astype(np.float64), columns=_numbered(what, rows.shape, rows.dtype))


def _numbered(what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[str]:
    """The names of an array's columns: their numbers from 0."""
    if len(shape) != 2:
        raise DataError(
            f"{what} has the shape {shape}.", "A table has two dimensions: rows and columns."
        )
    if dtype.kind not in "fiu":
        raise DataError(f"{what} has the dtype {dtype}.", "Expected numbers.")
    return [str(k) for k in range(shape[1])]


#: By the file's suffix: the functions that read its columns' names, and its rows.
_COLUMNS: dict[str, Callable[[Path, Preparation], list[str]]] = {
    **dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz"), _text_columns),
    ".npy": _npy_columns,
    ".npz": _npz_columns,
    ".parquet": _parquet_columns,
}
_READERS: dict[str, Callable[[Path, Preparation], dict[str, pd.DataFrame]]] = {
    **dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz"), _text_table),
    ".npy": _npy_table,
    ".npz": _npz_table,
    ".parquet": _parquet_table,
}
