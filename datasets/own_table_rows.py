"""Rows of a user's own table: chosen columns, checked, split and standardised."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.api import Splits
from bench.errors import DataError, unknown
from bench_datasets.own_table import Preparation
from bench_datasets.own_table_checks import Findings, check, grid, listed
from bench_datasets.own_table_files import columns_of, frames_of
from bench_datasets.splits import Table, standardised

if TYPE_CHECKING:
    import pandas as pd

SEED = 0
MIN_ROWS = 50  # fewer say nothing about a density


def width(path: Path, preparation: Preparation) -> int:
    """Return the number of columns that are left, reading as little of the file as possible.

    Raises:
        DataError: as for `from_path`.
    """
    names = columns_of(path, preparation)
    if not names:
        raise DataError(f"{path} has no columns.", "Give a table with rows and columns.")
    _check_names(path, names, preparation)
    left = len(set(names) - {*preparation.drop, preparation.group})
    if not left:
        raise DataError(f"No column of {path} is left.", "Drop fewer columns.")
    return left


def _check_names(path: Path, names: list[str], preparation: Preparation) -> None:
    group = () if preparation.group is None else (preparation.group,)
    for name in (*preparation.drop, *preparation.dequantise, *group):
        if name not in names:
            raise unknown("column", name, names, f"of {path.name}")
    if len({*names}) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{path} has several columns of one name: {listed(twice)}.", "Rename them.")


def read_splits(path: Path, preparation: Preparation) -> Splits:
    """Read, check, split and standardise the table.

    Warns of columns that have a density and are still likely to mislead.

    Raises:
        DataError: it can't be read, has too few rows, or columns that are not numeric, not
            complete, or can't have a density; all faults in one message.
    """
    frames = frames_of(path, preparation)
    n = sum(map(len, frames.values()))
    if n < MIN_ROWS:
        raise DataError(f"{path} has {n} rows.", f"At least {MIN_ROWS} are required.")
    _check_names(path, list(next(iter(frames.values())).columns), preparation)
    given = len(frames) > 1
    if given and preparation.group is not None:
        raise DataError(f"{path} has its own splits.", "Leave the group out.")
    found, tables = Findings(), dict[str, Table]()
    unused = [*preparation.drop, *([] if preparation.group is None else [preparation.group])]
    for what, frame in frames.items():
        tables[what] = _numbers(
            f" of the {what}" if given else "", frame.drop(columns=unused), found
        )
    columns = [name for name in next(iter(frames.values())).columns if name not in unused]
    steps = _dequantise(columns, tables, preparation, found)
    if given:
        parts = list(tables.values())
    else:
        (rows,) = tables.values()
        (frame,) = frames.values()
        parts = [rows[index] for index in _split(path, preparation, frame)]
    rows = np.concatenate(parts)
    complete = np.isfinite(rows.sum(axis=0))
    kept = [name for name, whole in zip(columns, complete, strict=True) if whole]
    if kept:
        density = check(kept, rows[:, complete], len(parts[0]) + len(parts[1]))
        found.faults += density.faults
        found.drop += density.drop
        found.dequantise += density.dequantise
        found.warnings += density.warnings
    if found.faults:
        options = found.remedy()
        mend = f"Leave columns out or add uniform noise: {options}." if options else ""
        raise DataError(
            f"{path} can't be used as it is: {'; '.join(found.faults)}.",
            mend or "Keep only complete rows of finite numbers.",
        )
    if found.warnings:
        warnings.warn(f"{path}: {'; '.join(found.warnings)}.", stacklevel=2)
    how = f"shuffled with seed {SEED}, 80/10/10"
    notes: dict[str, object] = {"columns": columns, "split": how}
    if given:
        notes["split"] = "as given by the file"
    if preparation.group is not None:
        notes |= {"split": f"{how} of the rows, whole groups", "group": preparation.group}
    if preparation.drop:
        notes["dropped"] = list(preparation.drop)
    if steps:
        notes["dequantised"] = steps
    if found.warnings:
        notes["warnings"] = found.warnings
    train, validation, test = parts
    return standardised(train, validation, test, notes)


def test_groups(path: Path, preparation: Preparation) -> NDArray[np.int64]:
    """Return the group of each test row `(n,)`, numbered from 0."""
    (frame,) = frames_of(path, preparation).values()
    groups = np.unique(frame[preparation.group].astype(str), return_inverse=True)[1]
    test: NDArray[np.int64] = groups.astype(np.int64)[_split(path, preparation, frame)[2]]
    return test


def _split(path: Path, preparation: Preparation, frame: pd.DataFrame) -> list[Any]:
    """Indices of the rows of training, validation and test: 80/10/10 after shuffling.

    With a group, whole groups are shuffled and cut where 80 and 90 % of the rows are reached.
    """
    n = len(frame)
    rng = np.random.default_rng(SEED)
    if preparation.group is None:
        return np.split(rng.permutation(n), [n - 2 * (n // 10), n - n // 10])
    names, group = np.unique(frame[preparation.group].astype(str), return_inverse=True)
    place = rng.permutation(len(names))[group]
    filled = np.bincount(place).cumsum() / n
    part = np.searchsorted([0.8, 0.9], filled - np.bincount(place) / n / 2)[place]
    if len(np.unique(part)) < 3:
        raise DataError(
            f"Column {preparation.group!r} of {path} makes {len(names)} groups, too few or too "
            "large to split the rows 80/10/10.",
            "Group by another column.",
        )
    return [np.flatnonzero(part == k) for k in range(3)]


def _dequantise(
    columns: list[str], tables: dict[str, Table], preparation: Preparation, found: Findings
) -> dict[str, float]:
    """Add noise, uniform and as wide as a column's grid, in place; return the widths."""
    rng = np.random.default_rng([SEED, 1])
    steps = dict[str, float]()
    for name in preparation.dequantise:
        if name not in columns:
            raise DataError(f"Column {name!r} is left out and dequantised.", "Choose one.")
        k = columns.index(name)
        step = grid(np.concatenate([rows[:, k] for rows in tables.values()]))
        if step is None:
            found.faults.append(f"{listed([name])} has no grid to dequantise")
            continue
        steps[name] = step
        for rows in tables.values():
            rows[:, k] += rng.uniform(-step / 2, step / 2, len(rows))
    return steps


def _numbers(where: str, frame: pd.DataFrame, found: Findings) -> Table:
    """The columns as float64 `(n, d)`; text, missing and huge values become NaN and faults."""
    import pandas as pd

    rows = np.empty(frame.shape)
    for k, (name, column) in enumerate(frame.items()):
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        rows[:, k] = np.where(np.abs(values) <= np.finfo(np.float32).max, values, np.nan)
        bad = np.flatnonzero(np.isnan(rows[:, k]))
        if not len(bad):
            continue
        text = np.flatnonzero(np.isnan(values) & column.notna().to_numpy())
        row = int(text[0] if len(text) else bad[0])
        cell = column.iloc[row]
        value = "a missing value" if pd.isna(cell) else f"{str(cell)!r:.40}"
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        found.faults.append(f"{listed([str(name)])} has {value} in row {row + 1}{more}{where}")
        if len(text) > len(rows) / 2:
            found.drop.append(str(name))
    return rows
