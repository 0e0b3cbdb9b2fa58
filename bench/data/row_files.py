"""Rows in a user's `.npy` or `.csv` file, read and written in blocks, and their units."""

from __future__ import annotations

import csv
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


def count(path: Path, d: int) -> int:
    """Read and check the whole file; return the number of its rows.

    Raises:
        DataError: it can't be read, has no rows or not `d` columns, or a value is missing, not a
            number or not finite. Names lines (`.csv`, from 1) or rows (`.npy`, from 0).
    """
    n = sum(len(block) for block in blocks(path, d))
    if not n:
        raise DataError(f"{path} has no rows.")
    return n


def blocks(path: Path, d: int) -> Iterator[Block]:
    """Yield the rows in float64 blocks `(k, d)`; the first line of a `.csv` may name columns.

    Raises:
        DataError: as `count`.
    """
    try:
        yield from (_npy_blocks if path.suffix.lower() == ".npy" else _csv_blocks)(path, d)
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


def _csv_blocks(path: Path, d: int) -> Iterator[Block]:
    rows: list[list[float]] = []
    lines: list[int] = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        first = True
        try:
            for cells in reader:
                if not cells:
                    continue
                _check_width(f"{path}, line {reader.line_num}", len(cells), d)
                header, first = first and not any(map(_is_number, cells)), False
                if header:
                    continue
                rows.append(_numbers(path, cells, reader.line_num))
                lines.append(reader.line_num)
                if len(rows) == BLOCK:
                    yield _finite(path, np.array(rows), "line", lines)
                    rows, lines = [], []
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} is not a CSV file: {error}.", "Save it as UTF-8.") from error
    if rows:
        yield _finite(path, np.array(rows), "line", lines)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell.strip()
    return True


def _numbers(path: Path, cells: Sequence[str], line: int) -> list[float]:
    try:
        return [float(cell) if cell.strip() else np.nan for cell in cells]
    except ValueError:
        column, cell = next((k, c) for k, c in enumerate(cells, 1) if not _is_number(c))
        raise DataError(
            f"{path}, line {line}, column {column}: {cell.strip()!r} is not a number."
        ) from None


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
            file.write(f"{','.join(names)}\n".encode())
        for k, part in enumerate(parts):
            if form == ".csv":
                np.savetxt(file, part, fmt="%.9g", delimiter=",")
                continue
            if k == 0:
                shape = (n, *part.shape[1:])
                header = {"descr": part.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(part).data)


@dataclass(frozen=True)
class Units:
    """How a table was standardised: preprocessed rows are (rows - `mean`) / `std`, each `(d,)`."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def preprocessed(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return preprocessed rows `(n, d)` for rows in the table's units."""
        return (rows - self.mean) / self.std

    def own(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows `(n, d)` in the table's units for preprocessed rows."""
        return rows * self.std + self.mean

    def log_det(self) -> float:
        """Return log-density in the table's units minus that in preprocessed units, in nats."""
        return -float(np.log(self.std).sum())


def units_of(run: str, d: int, notes: Mapping[str, Any]) -> Units:
    """Return the units of the table of `d` columns that a run was trained on, from its notes.

    Raises:
        UsageError: they do not say how the rows were standardised.
    """
    if notes.get("standardised") == "no":
        return Units(np.zeros(d), np.ones(d))
    try:
        mean, std = (np.array(notes[name], dtype=float).reshape(d) for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError):
        raise UsageError(
            f"The record of {run} does not say how its rows were standardised.",
            "Repeat the run, or use preprocessed units.",
        ) from None
    return Units(mean, std)
