"""Rows in a user's file, `.npy` or `.csv`: read and written a block at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError, UsageError

#: The forms of a file of rows, by the end of its name.
FORMS = (".npy", ".csv")
#: Rows of a block.
BLOCK = 2**16
#: Lines that a complaint names.
NAMED = 5

Block = NDArray[Any]


def check_form(path: Path) -> None:
    """Refuse a file whose name has none of the endings.

    Raises:
        UsageError: it has none.
    """
    if path.suffix.lower() not in FORMS:
        raise UsageError(
            f"{path} has no form that rows can have.", f"Let its name end in {' or '.join(FORMS)}."
        )


def count(path: Path, d: int) -> int:
    """Read the whole file once, and count its rows.

    Raises:
        DataError: it can't be read, it has no rows, its columns are not `d`, or a value is no
            number, missing or not finite; says on which lines (`.csv`, the first is 1) or in which
            rows (`.npy`, the first is 0).
    """
    n = sum(len(block) for block in blocks(path, d))
    if not n:
        raise DataError(f"{path} has no rows.")
    return n


def blocks(path: Path, d: int) -> Iterator[Block]:
    """The rows `(n, d)` in float64, in blocks; in a `.csv` the first line may name the columns.

    Raises:
        DataError: as `count`.
    """
    try:
        yield from (_of_npy if path.suffix.lower() == ".npy" else _of_csv)(path, d)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error


def _of_npy(path: Path, d: int) -> Iterator[Block]:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} can't be read: {error}.", "Save it by numpy.save.") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise DataError(
            f"{path} holds {rows.dtype} of shape {rows.shape}.", f"Give numbers (n, {d})."
        )
    _check_width(path, rows.shape[1], d)
    for start in range(0, len(rows), BLOCK):
        block = np.array(rows[start : start + BLOCK], dtype=np.float64)
        _check_finite(path, block, "row", np.arange(start, start + len(block)))
        yield block


def _of_csv(path: Path, d: int) -> Iterator[Block]:
    rows: list[list[float]] = []
    lines: list[int] = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        first = True
        try:
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != d:
                    where = "" if first else f", line {reader.line_num},"
                    _check_width(path, len(cells), d, where)
                header, first = first and not any(map(_is_number, cells)), False
                if header:
                    continue
                rows.append(_numbers(path, cells, reader.line_num))
                lines.append(reader.line_num)
                if len(rows) == BLOCK:
                    yield _checked(path, rows, lines)
                    rows, lines = [], []
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} is no CSV text: {error}.", "Save it as UTF-8.") from error
    if rows:
        yield _checked(path, rows, lines)


def _checked(path: Path, rows: list[list[float]], lines: list[int]) -> Block:
    block = np.array(rows)
    _check_finite(path, block, "line", np.array(lines))
    return block


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
            f"{path}, line {line}, column {column}: {cell.strip()!r} is no number."
        ) from None


def _check_width(path: Path, has: int, d: int, where: str = "") -> None:
    if has != d:
        raise DataError(
            f"{path}{where} has {has} columns, and the flow is of {d}.",
            "Give the columns that it was trained on, in that order.",
        )


def _check_finite(path: Path, block: Block, what: str, numbers: NDArray[np.int64]) -> None:
    broken = numbers[~np.isfinite(block).all(1)]
    if len(broken):
        more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        lines = ", ".join(map(str, broken[:NAMED]))
        raise DataError(
            f"{path} has a value that is missing or not finite in {what} {lines}{more}.",
            "Fill it in, or leave the row out.",
        )


def write(path: Path, form: str, parts: Iterable[Block], n: int, names: Sequence[str]) -> None:
    """Write `n` rows, which come in parts `(k, d)` or `(k,)`.

    Args:
        path: the file.
        form: its form, `.npy` or `.csv`.
        parts: the rows, in float32 or float64.
        n: how many there are in all.
        names: of the columns, the first line of a `.csv`.

    Raises:
        OSError: it can't be written.
    """
    with open(path, "wb") as file:
        if form == ".npy":
            _write_npy(file, parts, n)
            return
        file.write(f"{','.join(names)}\n".encode())
        for part in parts:
            np.savetxt(file, part, fmt="%.9g", delimiter=",")


def _write_npy(file: IO[bytes], parts: Iterable[Block], n: int) -> None:
    for k, part in enumerate(parts):
        if k == 0:
            head = {"descr": part.dtype.str, "fortran_order": False, "shape": (n, *part.shape[1:])}
            np.lib.format.write_array_header_1_0(file, head)
        file.write(np.ascontiguousarray(part).data)
