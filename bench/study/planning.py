"""The plan of a study: its runs, and those that remain to be made.

A run is stale when a record of the same run exists, made before the method's source, its preset,
the data's revision or the version of the metrics changed. Another `--set`, budget, judge, device or
seed is another run. A source that moved without changing what it computes (see
`bench/registry/moved.toml`) makes nothing stale: records under its former key count as done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bench.data import arrays
from bench.errors import UsageError
from bench.records import store
from bench.records.model import Damaged, Record
from bench.records.spec import RunSpec
from bench.registry import plugins
from bench.study import presets
from bench.study.studies import Study, budget

Only = Literal["missing", "failed", "stale", "all"]


@dataclass(frozen=True)
class Plan:
    """The runs of a study: all of them, and those that remain to be made.

    A run that was recorded under a former key, and is not made again, has that key in `runs`.
    `damaged` are the runs whose record can't be read.
    """

    runs: tuple[RunSpec, ...]
    todo: tuple[RunSpec, ...]
    damaged: tuple[RunSpec, ...] = ()


def plan(
    study: Study,
    results: Path,
    data_root: Path,
    device: str = "cpu",
    only: Only = "missing",
    timeout: float | None = None,
) -> Plan:
    """Return the runs of the study, ordered by seeds, data sets, methods; nothing is run.

    Reads the data, which determine the revision, and writes their array cache. A run with a damaged
    record is made again, unless only stale runs are asked for.

    Raises:
        UsageError: an unknown name or an impossible number.
        DataError: missing data, or a run's record of a newer layout.
    """
    for file in study.include:
        plugins.include(file)
    if not study.seeds:
        raise UsageError("A study needs at least one seed.")
    if min(study.seeds) < 0:
        raise UsageError(f"A seed must not be negative, got {min(study.seeds)}.")
    # One table under two names (own.csv, ./own.csv) is one data set.
    columns = {c.run: c for c in _columns(study, data_root, device, timeout)}.values()
    runs = [replace(first, seed=seed) for seed in study.seeds for first in columns]
    recorded = set(store.names(results))
    older: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in store.read_undamaged(results) if only == "stale" else ():
        older[record.method.name, record.dataset.name, record.seed].append(record)
    planned, todo, damaged = [], [], []
    for spec in runs:
        found, wanted = spec, only in ("missing", "all")
        for candidate in (s for s in (spec, *former(spec)) if s.run in recorded):
            try:
                made = store.read(results, candidate.run)
                failed = made is not None and made.status != "ok"
                found, wanted = candidate, only == "all" or (only == "failed" and failed)
                break
            except Damaged:
                damaged += [spec] if candidate is spec else []
                wanted = only != "stale"
        else:
            if only == "stale" and spec.run not in recorded:
                known = older[spec.method, spec.label, spec.seed]
                wanted = any(precedes(record, spec) for record in known)
        planned.append(spec if wanted else found)
        todo += [spec] if wanted else []
    return Plan(tuple(planned), tuple(todo), tuple(damaged))


def former(spec: RunSpec) -> list[RunSpec]:
    """Return the run as it was keyed before its method's source moved, once per former version."""
    return [replace(spec, version=v) for v in plugins.former_versions(spec.method, spec.version)]


def _columns(
    study: Study, data_root: Path, device: str, timeout: float | None
) -> Iterator[RunSpec]:
    """The runs of the first seed: what does not depend on the seed is found once."""
    amounts = budget(study.budget)
    settings = presets.share(study.settings, study.methods)
    versions = {m: plugins.version(plugins.methods()[m]) for m in study.methods}
    sets = [(name, plugins.dataset(name)) for name in study.datasets]
    revisions = {name: arrays.load(dataset, data_root).revision for name, dataset in sets}
    for name, dataset in sets:
        for method in study.methods:
            amount = amounts.amount(dataset.name, method, study.minibatches, study.batch_size)
            config, preset = presets.configure(method, dataset.name, dataset.d, settings[method])
            try:
                config.check(dataset.d, amount.minibatches, amount.batch_size)
            except ValueError as error:
                raise UsageError(f"{method} can't run on {dataset.name}: {error}.") from error
            yield RunSpec(
                method=method,
                version=versions[method],
                config=asdict(config),
                # Whoever makes the run has another working folder.
                dataset=name if dataset.name == name else str(Path(name).absolute()),
                label=dataset.name,
                revision=revisions[name],
                minibatches=amount.minibatches,
                batch_size=amount.batch_size,
                seed=study.seeds[0],
                device=device,
                judge=study.judge,
                preset=preset,
                settings={
                    key: text if key == "preset" else getattr(config, key)
                    for key, text in settings[method].items()
                },
                budget=study.budget,
                data_root=str(data_root.absolute()),
                timeout=timeout,
                include=plugins.files_of([method, name]),
                metrics=plugins.metric_versions(),
                compile=study.compile and plugins.method(method).compiles,
            )


def precedes(record: Record, spec: RunSpec) -> bool:
    """Return whether a record is of this run, made before something changed.

    Method, data set and seed are the same. Budget and device must agree, and either the user's
    settings or all hyper-parameters. A record from before settings were kept counts where the
    hyper-parameters that both have agree: a later change of its preset can't be distinguished from
    the user's values.
    """
    method, amount = record.method, (record.budget.minibatches, record.budget.batch_size)
    if (*amount, record.environment.device) != (spec.minibatches, spec.batch_size, spec.device):
        return False
    metrics_version = record.judge.get("metrics_version")
    version = plugins.current_version(method.name, method.version)
    now = (spec.version, spec.revision, spec.judge.metrics_version)
    if (version, record.dataset.revision, metrics_version) == now:
        return False
    if method.compiled != spec.compile:
        return False
    same = method.config == dict(spec.config)
    if method.settings is None:
        same = same or _agree(method.config, spec.config)
    else:
        same = same or method.settings == dict(spec.settings)
    # A new version of the metrics may come with new fields of the judge.
    judge = vars(spec.judge) | {"metrics_version": metrics_version}
    return same and _agree(record.judge, judge)


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[name] == other[name] for name in one.keys() & other.keys())
