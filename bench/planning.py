"""The plan of a study: which runs it has, and which of them are still to be made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench import plugins, presets, record
from bench.budget import Amount, budget
from bench.data import arrays
from bench.dataset import Dataset
from bench.errors import UsageError
from bench.spec import RunSpec
from bench.study import Study

if TYPE_CHECKING:
    from bench.method import Options

Only = Literal["missing", "failed", "stale", "all"]


@dataclass(frozen=True)
class Plan:
    """The runs of a study: all of them, and those still to be made."""

    runs: tuple[RunSpec, ...]
    todo: tuple[RunSpec, ...]


def plan(
    study: Study,
    results: Path,
    data_root: Path,
    device: str = "cpu",
    only: Only = "missing",
    timeout: float | None = None,
) -> Plan:
    """The runs of the study in the order of seeds, data sets, methods; nothing is run.

    Reads the data (they determine the revision) and makes their array cache.

    Raises:
        UsageError: an unknown name, an impossible number.
        DataError: data that are not there.
    """
    for name in study.methods:
        plugins.method(name)
    if min(study.seeds) < 0:
        raise UsageError(f"A seed is 0 or more, not {min(study.seeds)}.")
    amounts = budget(study.budget)
    settings = presets.share(study.settings, study.methods)
    versions = {m: plugins.version(plugins.methods()[m]) for m in study.methods}
    sets = [(name, plugins.dataset(name)) for name in study.datasets]
    revisions = {name: arrays.load(dataset, data_root).revision for name, dataset in sets}
    runs = []
    for seed in study.seeds:
        for name, dataset in sets:
            for method in study.methods:
                amount = amounts.amount(dataset.name, method, study.minibatches, study.batch_size)
                config, preset = presets.configure(
                    method, dataset.name, dataset.d, settings[method]
                )
                _check(method, dataset, config, amount)
                runs.append(
                    RunSpec(
                        method=method,
                        version=versions[method],
                        config=asdict(config),
                        dataset=name,
                        label=dataset.name,
                        revision=revisions[name],
                        minibatches=amount.minibatches,
                        batch_size=amount.batch_size,
                        seed=seed,
                        device=device,
                        judge=study.judge,
                        preset=preset,
                        budget=study.budget,
                        data_root=str(data_root.absolute()),
                        timeout=timeout,
                    )
                )
    return Plan(tuple(runs), tuple(_todo(runs, results, only)))


def _check(method: str, dataset: Dataset, config: Options, amount: Amount) -> None:
    """Refuse hyper-parameters that do not fit the data or the budget, before anything is run."""
    try:
        config.check(dataset.d, amount.minibatches, amount.batch_size)
    except ValueError as error:
        raise UsageError(f"{method} can't be run so on {dataset.name}: {error}.") from error


def _todo(runs: Sequence[RunSpec], results: Path, only: Only) -> Iterator[RunSpec]:
    """Those runs that `only` asks for.

    Stale is a run without a record, of which there is a record with another version of the
    method, another preset or other rows.
    """
    records = {r["run"]: r for r in record.read_all(results)}
    cells = {_cell(r) for r in records.values()}
    for spec in runs:
        found = records.get(spec.run)
        wanted = {
            "all": True,
            "missing": found is None,
            "failed": found is not None and found["status"] != "ok",
            "stale": found is None and _cell_of(spec) in cells,
        }
        if wanted[only]:
            yield spec


def _cell(r: record.Record) -> tuple[object, ...]:
    """What a stale run and its successor share."""
    amount = (r["budget"]["minibatches"], r["budget"]["batch_size"])
    return r["method"]["name"], r["dataset"]["name"], r["seed"], *amount, r["environment"]["device"]


def _cell_of(s: RunSpec) -> tuple[object, ...]:
    return s.method, s.label, s.seed, s.minibatches, s.batch_size, s.device
