"""Rows in files of a user's own, a part at a time: `.npy` and `.csv`, in and out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError, UsageError

Array = NDArray[np.floating[Any]]

#: The forms of a file, by the end of its name.
FORMS = (".npy", ".csv")


def form_of(path: Path) -> str:
    """`.npy` or `.csv`.

    Raises:
        UsageError: the name ends otherwise.
    """
    if path.suffix.lower() not in FORMS:
        raise UsageError(
            f"{path} has no form that rows can have.", f"Let its name end in {' or '.join(FORMS)}."
        )
    return path.suffix.lower()


def read_rows(path: Path, d: int, at_once: int) -> Iterator[NDArray[np.float64]]:
    """The rows of a file, `at_once` of them at most at a time, each part `(n, d)`.

    A `.csv` has a line a row and commas between its numbers; a first line that is not of numbers
    is taken for the names of the columns.

    Raises:
        DataError: the file can't be read, has no row, or holds other than `d` finite numbers a row.
    """
    parts = _npy(path, at_once) if form_of(path) == ".npy" else _csv(path, at_once)
    read = 0
    for part in parts:
        if part.ndim != 2 or part.shape[1] != d:
            raise DataError(
                f"{path} has rows of shape {part.shape[1:]}; those of the run are of ({d},)."
            )
        bad = ~np.isfinite(part)
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"{path} has no number in row {read + row}, column {column} (counted from 0)."
            )
        read += len(part)
        yield part
    if not read:
        raise DataError(f"There is no row in {path}.")


def _npy(path: Path, at_once: int) -> Iterator[NDArray[np.float64]]:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} can't be read: {error}.") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise DataError(
            f"{path} holds an array of shape {rows.shape} and type {rows.dtype}, "
            "not rows of numbers (n, d)."
        )
    for start in range(0, len(rows), at_once):
        yield np.array(rows[start : start + at_once], dtype=np.float64)


def _csv(path: Path, at_once: int) -> Iterator[NDArray[np.float64]]:
    import pandas as pd

    try:
        with open(path, encoding="utf-8-sig") as file:
            first = file.readline()
        header = 0 if first.strip() and not _numbers(first) else None
        if not first.strip():
            raise DataError(f"There is no row in {path}.")
        reader = pd.read_csv(path, header=header, chunksize=at_once, encoding="utf-8-sig")
        with reader:
            for part in reader:
                # what is no number becomes NaN, which is found with its row and column
                numbers = part.apply(lambda column: pd.to_numeric(column, errors="coerce"))
                yield numbers.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{path} can't be read: {error}.") from error


def _numbers(line: str) -> bool:
    try:
        return bool([float(part) for part in line.split(",")])
    except ValueError:
        return False


def writer(path: Path, parts: Iterable[Array], columns: Sequence[str]) -> Callable[[Path], None]:
    """What writes parts of rows, `(n, d)` or `(n,)` each, one after the other, to another path.

    The form is that of `path`; a `.csv` begins with the names of its columns.
    """
    write = _to_npy if form_of(path) == ".npy" else _to_csv

    def fill(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            write(file, parts, columns)

    return fill


def _to_npy(file: IO[bytes], parts: Iterable[Array], columns: Sequence[str]) -> None:
    """The number of rows stands in front of them, and is known when they are all there."""
    rows, last = 0, np.empty((0, len(columns)), dtype=np.float32)
    with tempfile.TemporaryFile(dir=Path(file.name).parent) as body:
        for part in parts:
            last = np.ascontiguousarray(part)
            body.write(last.tobytes())
            rows += len(last)
        header = {
            "descr": np.lib.format.dtype_to_descr(last.dtype),
            "fortran_order": False,
            "shape": (rows, *last.shape[1:]),
        }
        np.lib.format.write_array_header_1_0(file, header)
        body.seek(0)
        shutil.copyfileobj(body, file)


def _to_csv(file: IO[bytes], parts: Iterable[Array], columns: Sequence[str]) -> None:
    file.write(f"{','.join(columns)}\n".encode())
    for part in parts:
        digits = 9 if part.dtype == np.float32 else 17
        np.savetxt(file, part, delimiter=",", fmt=f"%.{digits}g")
