"""The runs as a data frame: one row a run, or one for each set of runs that may be averaged."""

from __future__ import annotations

import gc
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.errors import DataError
from bench.records.columns import COLUMNS
from bench.records.measures import MEASURES
from bench.records.store import Record, read_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Columns that follow those of `bench.records.columns`.
#: planned_minibatches: what the budget gave (a failed run's `minibatches` is how far it came).
#: memory_bytes: the peak on the device, of the GPU or resident.
#: judge: solver, tolerances and precision. hardware: the processor and, on a CPU, its threads.
#: variant: a hash of the method's and the judge's settings. config: these settings, in JSON.
#: settings: those that differ between the runs of the same method on the same data set.
#: nll_gap: the NLL less that of the method's own steps. own_rss_bytes: the peak resident memory
#: less what the libraries and the mapped data took before the method was there.
DERIVED = (
    *("planned_minibatches", "memory_bytes", "nll_gap", "own_rss_bytes", "judge", "hardware"),
    *("variant", "config", "settings"),
)

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

_TEXT = {
    *("run", "method", "dataset", "dataset_revision", "status", "reason", "device", "budget"),
    *("data_kind", "version", "commit", "started", "judge", "hardware", "variant", "config"),
    *("settings", "nll_uncertified", "w2_movement"),
}
_WHOLE = {
    *("d", "seed", "params", "minibatches", "batch_size", "samples_seen", "nll_rows", "mmd_n"),
    *("permutations", "peak_gpu_bytes", "peak_rss_bytes", "threads", "planned_minibatches"),
    *("memory_bytes", "own_rss_bytes", "baseline_rss_bytes", "peak_gpu_reserved_bytes"),
    *("nll_groups", "test_rows", "aggregated_n", "metrics_version", "round_trip_rows", "samples"),
    *("judge_rows", "judge_seed"),
}
_TRUTH = {"subset"}


class Columns:
    """The columns of a frame as arrays, each made when it is first asked for.

    Of thousands of small cells, pandas would take a hundred times as long as numpy.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._plain: dict[str, NDArray[np.object_]] = {}

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers `(runs,)`, with NaN for NA."""
        if name not in self._numbers:
            self._numbers[name] = self.frame[name].to_numpy(dtype="float64", na_value=np.nan)
        return self._numbers[name]

    def plain(self, name: str) -> NDArray[np.object_]:
        """A column `(runs,)` of Python's own values, with None for NA and NaN."""
        if name not in self._plain:
            column = self.frame[name]
            values = column.to_numpy(dtype=object, copy=True)
            values[column.isna().to_numpy()] = None
            self._plain[name] = values
        return self._plain[name]


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

    The columns are those of `bench.records.columns`, then `DERIVED`. Text is `string`, lists are
    JSON, counts are `Int64`, truth is `boolean`, all with NA where a record says nothing; other
    numbers are `float64` with NaN. A folder with no runs, or none at all, gives an empty frame.

    Raises:
        DataError: a record can't be read, or holds what its column can't.
    """
    with _uncollected():
        return frame_of(list(read_all(Path(results_dir))))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: of thousands of records none is garbage, and it scans them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def frame_of(read: list[Record]) -> pd.DataFrame:
    """The frame of records that were read already, as `records` has it.

    Raises:
        DataError: one holds what its column can't.
    """
    chosen = [_chosen(record) for record in read]
    settings = _settings(read, chosen)
    variants: dict[str, str] = {}
    rows = [
        _row(record, json.dumps(own, ensure_ascii=False), said, variants)
        for record, own, said in zip(read, chosen, settings, strict=True)
    ]
    names = (*COLUMNS, *DERIVED)
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=_dtype(name)) for name in names}
    )


def cells(frame: pd.DataFrame, *, by_run: bool = False) -> Iterator[Cell]:
    """The frame's runs, parted into those that may be averaged; by run, each stands alone."""
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
    each of `bench.records.measures.MEASURES`. A mean is over all `n_ok` runs, or it is empty.
    """
    known = list(cells(frame))
    columns: dict[str, pd.Series[Any]] = {}
    for name in CELL:
        columns[name] = pd.Series([cell.key[name] for cell in known], dtype=_dtype(name))
    for name in SHARED:
        columns[name] = pd.Series([cell.shared(name) for cell in known], dtype=_dtype(name))
    columns["n_ok"] = pd.Series([len(cell.well) for cell in known], dtype="Int64")
    columns["n_runs"] = pd.Series([len(cell.rows) for cell in known], dtype="Int64")
    columns["n_repeats"] = pd.Series([cell.repeats for cell in known], dtype="Int64")
    for name in MEASURES:
        if name not in SHARED:
            columns[f"{name}_mean"] = pd.Series([c.mean(name) for c in known], dtype="float64")
            columns[f"{name}_sd"] = pd.Series([c.sd(name) for c in known], dtype="float64")
    return pd.DataFrame(columns)


def _dtype(name: str) -> Any:
    if name in _TEXT:
        return "string"
    if name in _WHOLE:
        return "Int64"
    return "boolean" if name in _TRUTH else "float64"


#: The columns by the place in a record that holds them, each with its name there.
_BY_PLACE = [
    (above, [(name, path[-1]) for name, path in COLUMNS.items() if path[:-1] == above])
    for above in dict.fromkeys(path[:-1] for path in COLUMNS.values())
]

#: What a column's value is, where it needs no conversion.
_PLAIN = {
    name: str if name in _TEXT else bool if name in _TRUTH else int if name in _WHOLE else float
    for name in (*COLUMNS, *DERIVED)
}


def _row(record: Record, config: str, settings: str, variants: dict[str, str]) -> dict[str, Any]:
    """A record's values; `variants` keeps the hash of each config, of which there are few."""
    if config not in variants:
        variants[config] = _variant(record)
    row: dict[str, Any] = {}
    for above, names in _BY_PLACE:
        place = _at(record, above)
        known = place if isinstance(place, dict) else {}
        for name, last in names:
            row[name] = known.get(last)
    on_gpu = str(row["device"]).startswith("cuda")
    row |= {
        "planned_minibatches": _at(record, ("budget", "minibatches")),
        "memory_bytes": row["peak_gpu_bytes"] if on_gpu else row["peak_rss_bytes"],
        "nll_gap": _difference(row["nll"], row["nll_native"]),
        "own_rss_bytes": _difference(row["peak_rss_bytes"], row["baseline_rss_bytes"]),
        "judge": _judge(_at(record, ("judge",)) or {}),
        "hardware": _hardware(_at(record, ("environment",)) or {}, on_gpu),
        "variant": variants[config],
        "config": config,
        "settings": settings,
    }
    for name, value in row.items():
        if value is not None and type(value) is not _PLAIN[name]:
            row[name] = _cast(name, value, row["run"])
    return row


def _difference(a: Any, b: Any) -> Any:
    """None where one of them is no number."""
    return a - b if isinstance(a, int | float) and isinstance(b, int | float) else None


def _at(record: Record, path: Sequence[str]) -> Any:
    value: Any = record
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _cast(name: str, value: Any, run: object) -> Any:
    try:
        if name in _TEXT:
            return value if isinstance(value, str) else json.dumps(value)
        if name in _TRUTH:
            return bool(value)
        number = float(value)
        if name not in _WHOLE:
            return number
        if number != int(number):
            raise ValueError
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"The record of the run {run} has {value!r} as its {name}, which is not a "
            f"{'whole ' if name in _WHOLE else ''}number.",
            "Move its folder away, and run that cell again.",
        ) from None


def _judge(judge: dict[str, Any]) -> str:
    names = {"solver": "", "dtype": "", "rtol": "rtol ", "atol": "atol "}
    return ", ".join(f"{t}{judge[k]}" for k, t in names.items() if judge.get(k) is not None)


def _hardware(environment: dict[str, Any], on_gpu: bool) -> str | None:
    """The processor; None where a run failed before it knew."""
    name, threads = environment.get("gpu" if on_gpu else "cpu"), environment.get("threads")
    if on_gpu or not name or threads is None:
        return name or None
    return f"{name}, {threads} {'thread' if threads == 1 else 'threads'}"


def _variant(record: Record) -> str:
    chosen = [_at(record, ("method", "config")), _at(record, ("judge",))]
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]


def _chosen(record: Record) -> dict[str, Any]:
    """The settings of the method and of the judge."""
    config, judge = (_at(record, path) or {} for path in (("method", "config"), ("judge",)))
    return {str(k): v for k, v in config.items()} | {f"judge {k}": v for k, v in judge.items()}


def _settings(read: list[Record], chosen: list[dict[str, Any]]) -> list[str]:
    """For each record, the settings in which its method's runs on its data set differ."""
    kin = defaultdict(list)
    for record, values in zip(read, chosen, strict=True):
        kin[_kin(record)].append(values)
    varied = {name: _varied(several) for name, several in kin.items()}
    return [
        ", ".join(f"{k}={_plain(values[k])}" for k in values if k in names) if names else ""
        for names, values in zip((varied[_kin(record)] for record in read), chosen, strict=True)
    ]


def _varied(several: list[dict[str, Any]]) -> set[str]:
    """The names that not all have, or not with the same value."""
    first = several[0]
    return {
        name
        for values in several
        for name in values.keys() | first.keys()
        if name not in first or name not in values or first[name] != values[name]
    }


def _kin(record: Record) -> tuple[object, object]:
    return _at(record, ("method", "name")), _at(record, ("dataset", "name"))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
