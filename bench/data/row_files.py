"""Rows in a user's `.npy` or `.csv` file, read and written in blocks; their columns and units."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError, UsageError

#: Rows of a block.
BLOCK = 2**16
#: Lines that an error message names at most.
NAMED = 5

Block = NDArray[Any]
#: The means and the divisors that standardised a table's columns, each `(d,)`.
Units = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class TrainedColumns:
    """The `d` columns that a flow was trained on, and their names where its data have any.

    A header may also name columns in `unused`, which are skipped.
    """

    d: int
    names: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @classmethod
    def of(cls, d: int, notes: Mapping[str, Any]) -> TrainedColumns:
        """The columns by a record's notes on its data; numbers are no names."""
        names = tuple(map(str, notes.get("columns") or ()))
        if len(names) != d or names == tuple(map(str, range(d))):
            return cls(d)
        dropped = [*(notes.get("dropped") or ()), notes.get("group")]
        return cls(d, names, tuple(str(name) for name in dropped if name is not None))

    def places(self, where: str, header: Sequence[str]) -> list[int]:
        """Return where each column is in a line under this header.

        Raises:
            DataError: columns are missing, unknown or named twice; all are listed.
        """
        if not self.names:
            return list(range(self.d))
        faults = {
            "misses": [name for name in self.names if name not in header],
            "has the unknown": [n for n in header if n not in (*self.names, *self.unused)],
            "has several times": [n for n in self.names if header.count(n) > 1],
        }
        said = [
            f"{fault} column{'s' * (len(names) > 1)} {', '.join(map(repr, names[:NAMED]))}"
            + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
            for fault, names in faults.items()
            if names
        ]
        if said:
            raise DataError(
                f"{where} {' and '.join(said)}.",
                f"The flow was trained on {', '.join(self.names):.200}.",
            )
        return [header.index(name) for name in self.names]


def count(path: Path, columns: TrainedColumns) -> int:
    """Read and check the whole file; return the number of its rows.

    Raises:
        DataError: it can't be read, has no rows or other columns, or a value is missing, not a
            number or not finite. Names lines (`.csv`, from 1) or rows (`.npy`, from 0).
    """
    n = sum(len(block) for block in blocks(path, columns))
    if not n:
        raise DataError(f"{path} has no rows.")
    return n


def blocks(path: Path, columns: TrainedColumns) -> Iterator[Block]:
    """Yield the rows in float64 blocks `(k, d)`.

    The columns of a `.csv` with a header are found by their names, where the flow's data have any;
    otherwise they come in the flow's order.

    Raises:
        DataError: as `count`.
    """
    try:
        if path.suffix.lower() == ".npy":
            yield from _npy_blocks(path, columns.d)
        else:
            yield from _csv_blocks(path, columns)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error


def _npy_blocks(path: Path, d: int) -> Iterator[Block]:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} can't be read: {error}.", "Save it with numpy.save.") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise DataError(
            f"Expected numbers of shape (n, {d}) in {path}, got {rows.dtype} of shape {rows.shape}."
        )
    _check_width(str(path), rows.shape[1], d)
    for start in range(0, len(rows), BLOCK):
        block = np.array(rows[start : start + BLOCK], dtype=np.float64)
        yield _finite(path, block, "row", range(start, start + len(block)))


def _csv_blocks(path: Path, columns: TrainedColumns) -> Iterator[Block]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = _csv_lines(path, file, columns)
        try:
            while block := list(itertools.islice(lines, BLOCK)):
                numbers, rows = zip(*block, strict=True)
                yield _finite(path, np.array(rows), "line", numbers)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} is not a CSV file: {error}.", "Save it as UTF-8.") from error


def _csv_lines(
    path: Path, file: Iterable[str], columns: TrainedColumns
) -> Iterator[tuple[int, list[float]]]:
    """Yield the number and the values of each line, NaN for an empty cell."""
    reader = csv.reader(file)
    places, width = list(range(columns.d)), columns.d
    for n, cells in enumerate(filter(None, reader)):
        where = f"{path}, line {reader.line_num}"
        if n == 0:
            header = [cell.strip() for cell in cells]
            named = not any(cell and _is_number(cell) for cell in header)
            if named or {*columns.names} & {*header}:
                if not columns.names:
                    _check_width(where, len(cells), width)
                places, width = columns.places(str(path), header), len(cells)
                continue
        _check_width(where, len(cells), width)
        chosen = [cells[place] for place in places]
        try:
            values = [float(cell) if cell.strip() else np.nan for cell in chosen]
        except ValueError:
            k = next(k for k in places if not _is_number(cells[k]))
            raise DataError(
                f"{where}, column {k + 1}: {cells[k].strip()!r} is not a number."
            ) from None
        yield reader.line_num, values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return True


def _check_width(where: str, width: int, d: int) -> None:
    if width != d:
        raise DataError(
            f"Expected {d} columns, got {width} in {where}.",
            "Use the columns that the flow was trained on, in their order.",
        )


def _finite(path: Path, block: Block, what: str, numbers: Sequence[int]) -> Block:
    """Return the block after checking it; `numbers` are those of its rows or lines."""
    broken = np.array(numbers)[~np.isfinite(block).all(1)]
    if len(broken):
        more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        lines = ", ".join(map(str, broken[:NAMED]))
        raise DataError(
            f"{path} has missing or non-finite values in {what} {lines}{more}.",
            "Fill them in or drop these rows.",
        )
    return block


def write(path: Path, form: str, parts: Iterable[Block], n: int, names: Sequence[str]) -> None:
    """Write `n` rows that come in parts `(k, d)` or `(k,)`, as `.npy` or `.csv`.

    `names` are the columns' names, for the first line of a `.csv`.

    Raises:
        OSError: it can't be written.
    """
    with open(path, "wb") as file:
        if form == ".csv":
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerow(names)
            file.write(text.getvalue().encode())
        for k, part in enumerate(parts):
            if form == ".csv":
                np.savetxt(file, part, fmt="%.9g", delimiter=",")
                continue
            if k == 0:
                shape = (n, *part.shape[1:])
                header = {"descr": part.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(part).data)


def units_of(run: str, d: int, notes: Mapping[str, Any]) -> Units:
    """Return the units of the table of `d` columns that a run was trained on.

    Raises:
        UsageError: the run's notes on the data do not say how its rows were standardised.
    """
    if notes.get("standardised") == "no":
        return np.zeros(d), np.ones(d)
    try:
        mean, std = (np.array(notes[name], dtype=float).reshape(d) for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            f"The record of {run} does not say how its rows were standardised.",
            "Repeat the run, or use preprocessed units.",
        ) from None
    return mean, std
