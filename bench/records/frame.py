"""The runs as a data frame, those that are chosen of it, and the sets that may be averaged."""

from __future__ import annotations

import gc
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd

from bench.errors import NothingMeasured
from bench.records.catalogue import columns, measures
from bench.records.model import TABLES, Record
from bench.records.store import read_all
from bench.registry import plugins

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Runs that agree in these differ in their seeds alone, and may be averaged.
CELL = (
    "dataset",
    "dataset_revision",
    "method",
    "planned_minibatches",
    "batch_size",
    "device",
    "version",
    "variant",
)

#: What the runs of one cell share besides, and a summary repeats.
SHARED = ("budget", "settings", "params", "d", "subset", "data_kind", "entropy", "judge")


class Columns:
    """The columns of a frame as arrays `(runs,)`, each made when it is first asked for.

    `numbers(name)` has NaN for NA; `plain(name)` has Python's own values, and None for NA and NaN.
    Of thousands of small cells, pandas would take a hundred times as long as numpy.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.numbers = cache(self._numbers)
        self.plain = cache(self._plain)

    def _numbers(self, name: str) -> NDArray[np.float64]:
        return self.frame[name].to_numpy(dtype="float64", na_value=np.nan)

    def _plain(self, name: str) -> NDArray[np.object_]:
        column = self.frame[name]
        values = column.to_numpy(dtype=object, copy=True)
        values[column.isna().to_numpy()] = None
        return values


def deviation(values: NDArray[np.float64]) -> float:
    """The standard deviation (ddof 1) of values `(n,)`; NaN where there are fewer than two.

    What rounding alone makes of equal values is none.
    """
    if len(values) < 2:
        return float("nan")
    sd = float(values.std(ddof=1))
    return 0.0 if sd <= 1e-12 * abs(float(values.mean())) else sd


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seeds alone: what they share, and the latest run of each seed.

    `rows` are the places of those runs in the columns; `repeats` counts the earlier runs of those
    seeds, which are left out.
    """

    key: dict[str, Any]
    columns: Columns
    rows: NDArray[np.intp]
    repeats: int

    @cached_property
    def well(self) -> NDArray[np.intp]:
        """The rows of the runs that ended well."""
        well: NDArray[np.intp] = self.rows[self.columns.plain("status")[self.rows] == "ok"]
        return well

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The runs."""
        return self.columns.frame.iloc[self.rows]

    @cached_property
    def ok(self) -> pd.DataFrame:
        """The runs that ended well."""
        return self.columns.frame.iloc[self.well]

    def mean(self, metric: str) -> float:
        """The mean over all runs that ended well; NaN where one of them lacks the metric."""
        values = self.numbers(metric)
        return float(values.mean()) if len(values) else float("nan")

    def sd(self, metric: str) -> float:
        """Their standard deviation (ddof 1); NaN where there are fewer than two."""
        return deviation(self.numbers(metric))

    def shared(self, column: str) -> Any:
        """The first value of a column that is known."""
        values = self.columns.plain(column)[self.rows]
        return next((value for value in values if value is not None), None)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column of the runs that ended well, `(n,)`, with NaN for NA."""
        return self.columns.numbers(column)[self.well]

    def known(self, column: str) -> list[Any]:
        """The values of the runs that ended well, without those that are not known."""
        return [value for value in self.columns.plain(column)[self.well] if value is not None]


def records(results_dir: str | Path) -> pd.DataFrame:
    """Every finished run below a results folder, failed ones too: one row a run, by name.

    The columns are those of the catalogue. Text is `string`, lists are JSON, whole numbers are
    `Int64`, flags are `boolean`, all with NA where a record has no value; other numbers are
    `float64` with NaN. A folder without runs, or no folder at all, gives an empty frame.

    Raises:
        DataError: a record can't be read, or is damaged.
    """
    enabled = gc.isenabled()
    gc.disable()  # it would scan thousands of records again and again
    try:
        return frame_of(list(read_all(Path(results_dir))))
    finally:
        if enabled:
            gc.enable()


def frame_of(read: Sequence[Record]) -> pd.DataFrame:
    """The frame of records that were read already, as `records` has it."""
    # The settings of the method and of the judge, which many runs share.
    keys = [msgspec.json.encode((r.method.config, r.judge, r.method.compiled)) for r in read]
    few = {key: _Given(record) for key, record in dict(zip(keys, read, strict=True)).items()}
    given = [few[key] for key in keys]
    derived: dict[str, list[Any]] = {"settings": _settings(read, [each.all for each in given])}
    for name in ("config", "variant", "judge"):
        derived[name] = [getattr(each, name) for each in given]
    rows = list(map(_derived, read))
    # Column by column: row by row, pandas takes far longer for thousands of records.
    for name in rows[0] if rows else ():
        derived[name] = [row[name] for row in rows]
    tables = {table: [getattr(record, table) for record in read] for table in TABLES}
    series = {}
    for name, column in columns().items():
        table, _, key = ".".join(column.path).partition(".")
        if name in derived:
            values = derived[name]
        elif table in TABLES:
            values = [values.get(key) for values in tables[table]]
        else:
            values = list(map(attrgetter(".".join(column.path)), read))
        if column.type == "text" and table in TABLES:
            values = [json.dumps(v) if isinstance(v, list) else v for v in values]
        series[name] = pd.Series(values, dtype=_dtype(name))
    return pd.DataFrame(series)


def cells(frame: pd.DataFrame, *, by_run: bool = False) -> Iterator[Cell]:
    """The frame's runs, grouped into those that may be averaged; by run, one run each."""
    names = [*CELL, "run"] if by_run else list(CELL)
    # Sorted and freed of repeats as a whole, as there may be thousands of cells.
    ordered = frame.sort_values("started", kind="stable", na_position="first")
    latest = ordered.drop_duplicates([*names, "seed"], keep="last")
    columns = Columns(latest.sort_values("seed", kind="stable"))
    sizes = frame.groupby(names, dropna=False, sort=True).size()
    places = columns.frame.groupby(names, dropna=False, sort=True).indices
    key: Any
    for key, size in sizes.items():
        rows = np.asarray(places[key])
        plain = {n: None if pd.isna(v) else v for n, v in zip(names, key, strict=True)}
        yield Cell(plain, columns, rows, int(size) - len(rows))


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell of a comparison: means and standard deviations over seeds.

    The columns are `CELL`, `SHARED`, `n_ok` (runs that ended well), `n_runs`, `n_repeats`
    (earlier runs of the same seeds, left out), and `<metric>_mean` and `<metric>_sd` (ddof 1) for
    each of `bench.records.catalogue.measures`. A mean is over all `n_ok` runs, or it is empty.
    """
    known = list(cells(frame))
    values: dict[str, tuple[list[Any], Any]] = {}
    for name in CELL:
        values[name] = [cell.key[name] for cell in known], _dtype(name)
    for name in SHARED:
        values[name] = [cell.shared(name) for cell in known], _dtype(name)
    values["n_ok"] = [len(cell.well) for cell in known], "Int64"
    values["n_runs"] = [len(cell.rows) for cell in known], "Int64"
    values["n_repeats"] = [cell.repeats for cell in known], "Int64"
    for name in (name for name in measures() if name not in SHARED):
        values[f"{name}_mean"] = [cell.mean(name) for cell in known], "float64"
        values[f"{name}_sd"] = [cell.sd(name) for cell in known], "float64"
    return pd.DataFrame({name: pd.Series(v, dtype=dtype) for name, (v, dtype) in values.items()})


def _dtype(name: str) -> Any:
    kinds = {"text": "string", "whole": "Int64", "flag": "boolean", "number": "float64"}
    return kinds[columns()[name].type]


def _derived(record: Record) -> dict[str, Any]:
    """The columns that follow from one record; the version is what a moved source has now."""
    cost, environment, metrics = record.cost, record.environment, record.metrics
    on_gpu = environment.device.startswith("cuda")
    hardware, threads = environment.gpu if on_gpu else environment.cpu, environment.threads
    if hardware and threads and not on_gpu:
        hardware += f", {threads} {'thread' if threads == 1 else 'threads'}"
    return {
        "version": plugins.current_version(record.method.name, record.method.version),
        "planned_minibatches": record.budget.minibatches,
        "memory_bytes": cost.get("peak_gpu_bytes" if on_gpu else "peak_rss_bytes"),
        "nll_gap": _difference(metrics, "nll", "nll_native"),
        "own_rss_bytes": _difference(cost, "peak_rss_bytes", "baseline_rss_bytes"),
        "hardware": hardware,
    }


def _difference(table: dict[str, Any], a: str, b: str) -> float | None:
    return None if table.get(a) is None or table.get(b) is None else table[a] - table[b]


class _Given:
    """The settings of a method and of the judge, and the columns that follow from them."""

    def __init__(self, record: Record) -> None:
        config, judge = record.method.config, record.judge
        compiled = {"compiled": True} if record.method.compiled else {}
        self.all = config | {f"judge {k}": v for k, v in judge.items()} | compiled
        self.config = json.dumps(self.all, ensure_ascii=False)
        both = json.dumps([config | compiled, judge], sort_keys=True)
        self.variant = hashlib.sha256(both.encode()).hexdigest()[:8]
        words = {"solver": "", "dtype": "", "rtol": "rtol ", "atol": "atol "}
        self.judge = ", ".join(f"{word}{judge[k]}" for k, word in words.items() if k in judge)


def _settings(read: Sequence[Record], given: Sequence[dict[str, Any]]) -> list[str]:
    """For each record, the settings in which its method's runs on its data set differ."""
    places = [(record.method.name, record.dataset.name) for record in read]
    first: dict[tuple[str, str], dict[str, Any]] = {}
    varied: dict[tuple[str, str], set[str]] = defaultdict(set)
    for place, values in zip(places, given, strict=True):
        other = first.setdefault(place, values)
        if values != other:
            both = values.keys() | other.keys()
            varied[place] |= {k for k in both if values.get(k, ...) != other.get(k, ...)}
    return [
        ", ".join(f"{k}={_plain(v)}" for k, v in values.items() if k in varied[place])
        for place, values in zip(places, given, strict=True)
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def runs_in(folder: Path) -> pd.DataFrame:
    """The runs in a results folder, as `records` returns them.

    Raises:
        NothingMeasured: there are none.
    """
    frame = records(folder)
    if not len(frame):
        raise NothingMeasured(
            f"There are no runs in {folder}.",
            "Type `bench run`, or name another results folder with --results.",
        )
    return frame


def chosen(
    frame: pd.DataFrame,
    folder: Path,
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    budgets: Sequence[str] = (),
) -> pd.DataFrame:
    """The runs of these methods, on these data sets, under these budgets; an empty one means all.

    Raises:
        NothingMeasured: no run has one of these names, or no run matches them all.
    """
    found = frame
    for column, names in (("method", methods), ("dataset", datasets), ("budget", budgets)):
        known = set(frame[column].dropna())
        for name in names:
            if name not in known:
                raise NothingMeasured(
                    f"No run in {folder} has the {column} {name!r}.",
                    f"Known: {', '.join(sorted(known))}.",
                )
        if names:
            found = found[found[column].isin(names)]
    if not len(found):
        options = (("-m", methods), ("-d", datasets), ("-b", budgets))
        named = " ".join(f"{option} {name}" for option, names in options for name in names)
        filters = sum(bool(names) for _, names in options)
        raise NothingMeasured(
            f"No run in {folder} matches {'both' if filters == 2 else 'all'} filters.",
            f"Type `bench run {named}`.",
        )
    return found


def latest(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The runs on the latest revision of each data set, by the latest metrics.

    A data set's latest revision is that of its latest run. Records of another revision are on
    other rows; records of older metrics hold other quantities under the same names.

    Returns:
        The frame without the others, and a sentence for each kind of them.
    """
    known = frame[["dataset", "dataset_revision", "metrics_version"]].drop_duplicates()
    if known["dataset"].is_unique:
        return frame, []
    kept, left_out = [], []
    for dataset, runs in frame.groupby("dataset", dropna=False, sort=True):
        newest = runs.sort_values("started", kind="stable", na_position="first").iloc[-1]
        same_rows = runs["dataset_revision"].eq(newest["dataset_revision"]).fillna(True)
        versions = runs["metrics_version"].fillna(0)
        same_metrics = versions.eq(versions[same_rows].max())
        kept.append(runs[same_rows & same_metrics])
        for others, why in (
            (~same_rows, "on another revision of its rows"),
            (same_rows & ~same_metrics, "by an older version of the metrics"),
        ):
            if n := int(others.sum()):
                left_out.append(f"{dataset}: {n} {'run' if n == 1 else 'runs'} {why}")
    return (pd.concat(kept).sort_index() if kept else frame), left_out
