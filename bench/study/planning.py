"""The plan of a study: which runs it has, and which of them are still to be made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.api.dataset import Dataset
from bench.data import arrays
from bench.errors import UsageError
from bench.records import store
from bench.records.model import Damaged
from bench.records.spec import RunSpec
from bench.registry import plugins
from bench.study import presets, stale
from bench.study.budgets import Amount, budget
from bench.study.studies import Study

if TYPE_CHECKING:
    from bench.api.method import Options

Only = Literal["missing", "failed", "stale", "all"]


@dataclass(frozen=True)
class Plan:
    """The runs of a study: all of them, and those still to be made.

    `damaged` are those of all whose record is there and can't be read.
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
    """The runs of the study in the order of seeds, data sets, methods; nothing is run.

    Reads the data (they determine the revision) and makes their array cache. Whose record is
    damaged is still to be made, unless the stale ones alone are asked for.

    Raises:
        UsageError: an unknown name, an impossible number.
        DataError: data that are not there, a run's record of a newer layout.
    """
    for file in study.include:
        plugins.include(file)
    for name in study.methods:
        plugins.method(name)
    if not study.seeds:
        raise UsageError("A study has a seed at least.")
    if min(study.seeds) < 0:
        raise UsageError(f"A seed is 0 or more, not {min(study.seeds)}.")
    # One table by two names (own.csv, ./own.csv) is one.
    columns = {c.run: c for c in _columns(study, data_root, device, timeout)}.values()
    runs = tuple(replace(first, seed=seed) for seed in study.seeds for first in columns)
    return Plan(runs, *_todo(runs, results, only))


def _columns(
    study: Study, data_root: Path, device: str, timeout: float | None
) -> Iterator[RunSpec]:
    """The runs of one seed: what does not depend on the seed is found once."""
    amounts = budget(study.budget)
    dealt = presets.share(study.settings, study.methods)
    versions = {m: plugins.version(plugins.methods()[m]) for m in study.methods}
    sets = [(name, plugins.dataset(name)) for name in study.datasets]
    revisions = {name: arrays.load(dataset, data_root).revision for name, dataset in sets}
    for name, dataset in sets:
        for method in study.methods:
            amount = amounts.amount(dataset.name, method, study.minibatches, study.batch_size)
            config, preset = presets.configure(method, dataset.name, dataset.d, dealt[method])
            _check(method, dataset, config, amount)
            yield RunSpec(
                method=method,
                version=versions[method],
                config=asdict(config),
                dataset=name,
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
                    for key, text in dealt[method].items()
                },
                budget=study.budget,
                data_root=str(data_root.absolute()),
                timeout=timeout,
                include=plugins.files_of([method, name]),
                metrics=plugins.metric_versions(),
            )


def _check(method: str, dataset: Dataset, config: Options, amount: Amount) -> None:
    """Refuse hyper-parameters that do not fit the data or the budget, before anything is run."""
    try:
        config.check(dataset.d, amount.minibatches, amount.batch_size)
    except ValueError as error:
        raise UsageError(f"{method} can't be run so on {dataset.name}: {error}.") from error


def _todo(
    runs: Sequence[RunSpec], results: Path, only: Only
) -> tuple[tuple[RunSpec, ...], tuple[RunSpec, ...]]:
    """Those runs that `only` asks for, and those whose record is damaged."""
    predecessor = stale.predecessors(results) if only == "stale" else None
    there = set(store.names(results))
    todo, damaged = [], []
    for spec in runs:
        found = spec.run in there
        wanted = only == "all" or (only == "missing" and not found)
        if found:
            try:
                if only == "failed":
                    content = store.read(results, spec.run)
                    wanted = content is not None and content["status"] != "ok"
                else:
                    store.is_there(results, spec.run)
            except (Damaged, KeyError):
                damaged.append(spec)
                wanted = only != "stale"
        elif predecessor:
            wanted = predecessor(spec) is not None
        if wanted:
            todo.append(spec)
    return tuple(todo), tuple(damaged)
