"""From records to what the gate compares: cells, with the watched numbers of each run."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.api.declarations import Watch
from bench.errors import NothingMeasured, UsageError
from bench.records import catalogue
from bench.records.model import EnvironmentRecord, Record
from bench.records.run_files import read_curve

#: The libraries whose arithmetic affects a watched number.
LIBRARIES = ("torch", "torchdiffeq", "numpy", "scipy", "scikit-learn")

#: What is kept of an environment, besides the versions of these libraries.
KEPT = ("device", "threads", "cpu", "cpu_capability", "arithmetic", "python", "platform")

#: The ratio from which on a step's cost counts. A method that became twice as slow is beyond it;
#: the noise of a step's CPU time on a machine with shared cores is not (results/README.md).
SLOWER = 1.5

#: The gate's own number for the cost of a step: the one that depends on the machine.
STEP = "step"

#: Numbers that the gate derives from a record and its curve: title and rule.
DERIVED = {
    "integral_error": ("integral error", Watch("bound", limit=0.05)),
    STEP: ("step cost", Watch("cost", noticed=1.2, limit=SLOWER)),
    "memory": ("memory growth", Watch("cost", noticed=1.1)),
}

#: The smallest number of steps whose median is taken for the cost of a step.
_STEPS = 5


@dataclass(frozen=True)
class WatchedCell:
    """A method with the user's settings on a data set: what ran, and what was measured.

    Attributes:
        version: that of the method's source; `config` has all its hyper-parameters.
        seeds: a run each.
        figures: the watched numbers that some run has, by name; a value for each seed, None where
            it is missing.
        failed: a sentence on each run that failed, by its seed; a baseline has no such runs.
    """

    method: str
    settings: Mapping[str, Any]
    dataset: str
    revision: str
    minibatches: int
    batch_size: int
    version: str
    config: Mapping[str, Any]
    seeds: list[int]
    figures: dict[str, list[int | float | None]]
    failed: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"{self.name} has no seeds, or one of them twice")
        for number, values in self.figures.items():
            if number not in watched():
                raise ValueError(f"{self.name} has {number!r}, which this version does not watch")
            if (n := len(values)) != (seeds := len(self.seeds)):
                raise ValueError(f"{self.name} has {n} values of {number} for {seeds} seeds")

    @property
    def key(self) -> tuple[str, str, str]:
        """What cells are matched by; a change of anything else is a finding."""
        return self.method, json.dumps(self.settings, sort_keys=True), self.dataset

    @property
    def name(self) -> str:
        """The cell in words."""
        settings = ", ".join(f"{k}={v}" for k, v in self.settings.items())
        return f"{self.method}{f' ({settings})' if settings else ''} on {self.dataset}"

    def values(self, number: str) -> dict[int, float]:
        """The values of a number by seed, of the runs that have one."""
        row = zip(self.seeds, self.figures.get(number, ()), strict=False)
        return {seed: value for seed, value in row if value is not None}


@dataclass(frozen=True)
class Measured:
    """The cells of one study, where they ran, and how they were evaluated.

    `environment` has the fields of `KEPT`, and the versions of `LIBRARIES`. In a baseline `made`
    says what made it: the version, the commit and the date.
    """

    environment: EnvironmentRecord
    judge: Mapping[str, Any]
    cells: tuple[WatchedCell, ...]
    made: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len({cell.key for cell in self.cells}) < len(self.cells):
            raise ValueError("a cell is in it twice")

    def part(self, methods: Collection[str] = (), datasets: Collection[str] = ()) -> Measured:
        """Return only the cells of these methods and data sets, where any is named."""
        kept = [c for c in self.cells if not methods or c.method in methods]
        kept = [c for c in kept if not datasets or c.dataset in datasets]
        return replace(self, cells=tuple(kept))


def watched() -> dict[str, Watch]:
    """How each number is compared, by name: the catalogue's watched columns, then the gate's own.

    Less is better in all of them.
    """
    columns = {name: column.watch for name, column in catalogue.columns().items() if column.watch}
    return columns | {name: watch for name, (_, watch) in DERIVED.items()}


def title(name: str) -> str:
    """The heading of a watched number."""
    return DERIVED[name][0] if name in DERIVED else catalogue.column(name).title or name


def gather(
    records: Iterable[Record],
    results: Path,
    methods: Collection[str] = (),
    datasets: Collection[str] = (),
) -> Measured:
    """Return the cells of these records in order of their names.

    Of several runs of a seed the latest counts, and of several budgets of a method on a data set
    the one with the latest run.

    Args:
        records: of runs below `results`, where their curves are.
        results: the results folder.
        methods: only these, where any is named; `datasets` likewise.

    Raises:
        NothingMeasured: there are none.
        UsageError: the runs were made on more than one machine, or evaluated in more than one way.
    """
    found: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        method, dataset = record.method.name, record.dataset.name
        if (not methods or method in methods) and (not datasets or dataset in datasets):
            settings = json.dumps(record.method.settings or {}, sort_keys=True)
            found[method, settings, dataset].append(record)
    if not found:
        raise NothingMeasured(f"{results} has no such runs.", "Leave out --no-run to make them.")
    chosen = [_latest(group) for _, group in sorted(found.items())]
    every = [record for group in chosen for record in group]
    # A run whose process died did not record where it ran.
    known = [r for r in every if r.environment.threads is not None] or every[:1]
    return Measured(
        environment=_shared([_kept(r.environment) for r in known], "machines"),
        judge=_shared([r.judge for r in every], "evaluation settings"),
        cells=tuple(_cell(group, results) for group in chosen),
    )


def differences(now: EnvironmentRecord, before: EnvironmentRecord) -> list[str]:
    """Say why runs in these two environments can't be compared to the bit; empty where they can.

    They can on a CPU with the same number of threads, the same versions of the libraries, the same
    instruction set chosen by torch, and the same bits of the computation in
    `bench.training.reference_timing`. The processor's name is ignored: virtual machines hide it.
    """
    found = [] if now.device == before.device == "cpu" else ["not on a CPU"]
    for name in ("threads", "cpu_capability", "arithmetic"):
        one, other = getattr(now, name), getattr(before, name)
        if one is None or other is None:
            found.append(f"{name} unknown")
        elif one != other:
            found.append(f"{name} {one}, not {other}")
    for name in LIBRARIES:
        one, other = now.packages.get(name), before.packages.get(name)
        if one != other:
            found.append(f"{name} {one}, not {other}")
    return found


def _kept(environment: EnvironmentRecord) -> EnvironmentRecord:
    packages = {name: environment.packages.get(name) for name in LIBRARIES}
    return EnvironmentRecord(
        **{name: getattr(environment, name) for name in KEPT}, packages=packages
    )


def _latest(group: Sequence[Record]) -> list[Record]:
    """The latest run of each seed, with the budget and the device of the latest of all."""

    def setting(record: Record) -> tuple[int, int, str]:
        return record.budget.minibatches, record.budget.batch_size, record.environment.device

    ordered = sorted(group, key=lambda record: record.started)
    seeds = {r.seed: r for r in ordered if setting(r) == setting(ordered[-1])}
    return [seeds[seed] for seed in sorted(seeds)]


def _cell(group: Sequence[Record], results: Path) -> WatchedCell:
    last = max(group, key=lambda record: record.started)
    numbers = [_numbers(record, results) for record in group]
    figures = {name: [each[name] for each in numbers] for name in watched()}
    return WatchedCell(
        method=last.method.name,
        settings=last.method.settings or {},
        dataset=last.dataset.name,
        revision=last.dataset.revision,
        minibatches=last.budget.minibatches,
        batch_size=last.budget.batch_size,
        version=last.method.version,
        config=last.method.config,
        seeds=[record.seed for record in group],
        figures={name: row for name, row in figures.items() if set(row) != {None}},
        failed={
            r.seed: f"seed {r.seed}: {r.status}: {r.reason}" for r in group if r.status != "ok"
        },
    )


def _numbers(record: Record, results: Path) -> dict[str, int | float | None]:
    """The watched numbers of a run; a step's cost is None where steps were not timed."""
    paths = {name: column.path for name, column in catalogue.columns().items() if column.watch}
    found = {name: getattr(record, table).get(key) for name, (table, key) in paths.items()}
    integral = record.metrics.get("density_integral")
    start, peak = (record.cost.get(name) for name in ("baseline_rss_bytes", "peak_rss_bytes"))
    curve = read_curve(results / record.run)
    steps = curve.step_cost[np.isfinite(curve.step_cost)] if curve else ()
    return found | {
        "integral_error": None if integral is None else abs(integral - 1),
        "memory": peak / start if start and peak else None,
        STEP: float(np.median(steps)) if len(steps) >= _STEPS else None,
    }


def _shared(values: Sequence[Any], what: str) -> Any:
    if any(value != values[0] for value in values):
        raise UsageError(
            f"These runs can't be checked together: their {what} differ.",
            "Let one bench check make them all, in a folder of its own.",
        )
    return values[0]
