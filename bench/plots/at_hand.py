"""What lies on disk beside a record: the run's samples, and the test rows of its data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.data.arrays import load
from bench.errors import BenchError
from bench.paths import data_root
from bench.plots.selection import Group, Selection
from bench.records.densities import UNREADABLE
from bench.registry import plugins

if TYPE_CHECKING:
    from bench.api.dataset import Dataset

Array = NDArray[np.float64]
S = TypeVar("S")


@dataclass(frozen=True)
class RealRows:
    """Test rows `(n, d)` of a data set, at most as many as were asked for, of `total`.

    None where they are not at hand, for the `reason`; `dataset` is None where it is not installed.
    """

    rows: Array | None
    total: int = 0
    reason: str = ""
    dataset: Dataset | None = None


def real_rows(group: Group, root: Path | None, most: int) -> RealRows:
    """The test rows of the revision that a group's runs had; the same ones for every figure."""
    try:
        dataset = plugins.dataset(group.dataset)
    except BenchError as error:
        return RealRows(None, reason=error.problem)
    try:
        loaded = load(dataset, data_root(root))
    except BenchError as error:
        return RealRows(None, reason=error.problem, dataset=dataset)
    if loaded.revision != group.revision:
        return RealRows(
            None,
            reason=f"The rows of {group.dataset} on disk are of revision {loaded.revision}, those "
            f"of the runs of {group.revision}.",
        )
    return RealRows(some(loaded.test, most), len(loaded.test), dataset=dataset)


def samples(results: Path, run: str, most: int) -> Array | None:
    """The first samples `(n, d)` that a run keeps; None where it keeps none that can be drawn."""
    try:
        with np.load(results / run / "samples.npz", allow_pickle=False) as kept:
            found = np.asarray(kept["samples"][:most], dtype=np.float64)
    except (KeyError, *UNREADABLE):
        return None
    return found if found.ndim == 2 and len(found) and np.isfinite(found).all() else None


def some(rows: NDArray[np.float32], most: int) -> Array:
    """At most so many of the rows, drawn without replacement by a fixed seed."""
    if len(rows) > most:
        rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))]
    return np.asarray(rows, dtype=np.float64)


def rows_of(selection: Selection, root: Path | None, most: int) -> list[RealRows]:
    """The test rows of each group."""
    return [real_rows(group, root, most) for group in selection.groups]


def strips_of(
    selection: Selection,
    root: Path | None,
    most: int,
    make: Callable[[Group, RealRows], tuple[S | None, Group, list[str]]],
) -> tuple[list[S], list[Group], list[str]]:
    """What `make` gives for each group and at most so many of its test rows, where it has a strip.

    Returns:
        The strips, the groups as they are shown, and all lines of the caption.
    """
    strips, shown, lines = [], [], []
    for group, real in zip(selection.groups, rows_of(selection, root, most), strict=True):
        strip, kept, told = make(group, real)
        lines += told
        if strip is not None:
            strips.append(strip)
            shown.append(kept)
    return strips, shown, lines


def without_rows(selection: Selection, found: list[RealRows]) -> list[str]:
    """A sentence on each group whose test rows are not at hand."""
    return [
        f"No data beside the samples of {group.title}: {one.reason}"
        for group, one in zip(selection.groups, found, strict=True)
        if one.rows is None
    ]
