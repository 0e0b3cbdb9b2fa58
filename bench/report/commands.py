"""The `bench run` commands that make the runs of some records again, and those runs alone."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from bench.records.spec import METRICS_VERSION, Judge
from bench.records.store import Record
from bench.report.parts import section
from bench.study.budgets import budgets
from bench.study.studies import JUDGE, find, shipped

#: What stands for the path of a user's own table, which no record keeps.
OWN_TABLE = "PATH/TO/{name}"


@dataclass(frozen=True)
class Command:
    """A command line for a POSIX shell; how many runs it makes; what it takes besides.

    `study` is the file that it reads, where no option of the command says what was asked for.
    """

    line: str
    runs: int
    study: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class _Way:
    """What all runs of a command share: options, and how they were judged."""

    options: tuple[str, ...]
    judge: tuple[tuple[str, Any], ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, order=True)
class _Variant:
    """A method with the user's own settings, as `--set` takes them."""

    method: str
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Run:
    way: _Way
    variant: _Variant
    dataset: str
    seed: int
    threads: int | None


def commands(records: Iterable[Record]) -> list[Command]:
    """As few commands as these, by budget and judge; each makes just the runs that are there.

    A run with several records, of which all but one are of older code or rows, is made once.
    """
    by_way: dict[_Way, list[_Run]] = defaultdict(list)
    for record in records:
        run = _run(record)
        by_way[run.way].append(run)
    return [command for way in sorted(by_way, key=repr) for command in _grids(way, by_way[way])]


def _run(record: Record) -> _Run:
    dataset, environment = section(record, "dataset"), section(record, "environment")
    name = str(dataset.get("name"))
    remarks = []
    if dataset.get("kind") == "own":
        name = OWN_TABLE.format(name=name)
        remarks.append("The table is the user's own: name its path.")
    method = str(section(record, "method").get("name"))
    device = environment.get("device")
    options = list(_amount(section(record, "budget"), str(dataset.get("name")), method))
    if device and device != "cpu":
        options += ["--device", str(device)]
    judge, more = _judge(section(record, "judge"))
    way = _Way(tuple(options), judge, tuple(remarks + more))
    threads = environment.get("threads")
    seed = record.get("seed")
    return _Run(
        way,
        _Variant(method, tuple(_settings(section(record, "method")))),
        name,
        seed if isinstance(seed, int) else 0,
        threads if isinstance(threads, int) else None,
    )


def _amount(budget: dict[str, Any], dataset: str, method: str) -> Iterator[str]:
    """The budget's name, and its numbers where they are not those that it names."""
    name, known = str(budget.get("name")), budgets()
    asked = (budget.get("minibatches"), budget.get("batch_size"))
    if name in known:
        yield from ("-b", name)
        amount = known[name].amount(dataset, method)
        if asked == (amount.minibatches, amount.batch_size):
            return
    for option, value in zip(("--minibatches", "--batch-size"), asked, strict=True):
        if value is not None:
            yield from (option, str(value))


def _judge(judge: dict[str, Any]) -> tuple[tuple[tuple[str, Any], ...], list[str]]:
    """The fields in which a record's judge differs from the usual one, and what to say of it."""
    usual = asdict(Judge())
    differs = tuple((k, judge[k]) for k in JUDGE if k in judge and judge[k] != usual[k])
    version = judge.get("metrics_version")
    remarks = []
    if version is not None and version != METRICS_VERSION:
        remarks.append(
            f"They were judged by version {version} of the metrics, this program's is "
            f"{METRICS_VERSION}: check out the commit that the runs name."
        )
    return differs, remarks


def _settings(method: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The user's own settings; of a record from before they were kept, all hyper-parameters."""
    chosen = method.get("settings", method.get("config"))
    for key, value in (chosen if isinstance(chosen, dict) else {}).items():
        yield str(key), _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def _grids(way: _Way, runs: Sequence[_Run]) -> Iterator[Command]:
    """The runs, parted into products of methods, data sets and seeds."""
    seeds: dict[tuple[str, _Variant], set[int]] = defaultdict(set)
    for run in runs:
        seeds[run.dataset, run.variant].add(run.seed)
    layers: dict[tuple[str, tuple[int, ...], int], list[_Variant]] = defaultdict(list)
    taken: dict[tuple[str, tuple[int, ...], str], int] = defaultdict(int)
    for (dataset, variant), found in sorted(seeds.items()):
        same = tuple(sorted(found))
        place = taken[dataset, same, variant.method]
        taken[dataset, same, variant.method] += 1
        layers[dataset, same, place].append(variant)
    grids: dict[tuple[tuple[_Variant, ...], tuple[int, ...]], list[str]] = defaultdict(list)
    for (dataset, same, _), variants in layers.items():
        grids[tuple(variants), same].append(dataset)
    for (each, same), datasets in grids.items():
        members = [r for r in runs if r.variant in each and r.dataset in datasets]
        threads = {r.threads for r in members if r.threads is not None}
        yield _command(way, each, datasets, same, threads)


def _command(
    way: _Way,
    variants: Sequence[_Variant],
    datasets: Sequence[str],
    seeds: Sequence[int],
    threads: set[int],
) -> Command:
    judged, study = _judged(way.judge, [v.method for v in variants], datasets)
    words = ["bench", "run", *judged]
    for option, values in (
        ("-m", [v.method for v in variants]),
        ("-d", datasets),
        ("-s", [str(seed) for seed in seeds]),
    ):
        words += [word for value in values for word in (option, value)]
    words += way.options
    for variant in variants:
        scope = f"{variant.method}." if len(variants) > 1 else ""
        for key, value in variant.settings:
            words += ["--set", f"{scope}{key}={value}"]
    if len(threads) == 1:
        words += ["--threads", str(*threads)]
    remarks = list(way.remarks)
    if len(threads) > 1:
        several = ", ".join(map(str, sorted(threads)))
        remarks.append(f"They ran with {several} threads; what each had, its own command says.")
    runs = len(variants) * len(datasets) * len(seeds)
    return Command(shlex.join(words), runs, study, tuple(remarks))


def _judged(
    differs: tuple[tuple[str, Any], ...], methods: Sequence[str], datasets: Sequence[str]
) -> tuple[list[str], str]:
    """The options that ask for a judge, and the study file that they read, if any."""
    if not differs:
        return [], ""
    if [name for name, _ in differs] == ["test_rows"]:
        return ["--test-rows", str(differs[0][1])], ""
    for name in shipped():
        study = find(name)
        if not study.settings and _differences(study.judge) == differs:
            return ["--study", name], ""
    lines = [f"methods = {_toml(list(methods))}", f"datasets = {_toml(list(datasets))}", ""]
    lines += ["[judge]", *(f"{name} = {_toml(value)}" for name, value in differs)]
    return ["--study", "study.toml"], "\n".join(lines)


def _differences(judge: Judge) -> tuple[tuple[str, Any], ...]:
    usual = Judge()
    names = [f.name for f in fields(Judge) if f.name in JUDGE]
    return tuple(
        (name, getattr(judge, name))
        for name in names
        if getattr(judge, name) != getattr(usual, name)
    )


def _toml(value: Any) -> str:
    """Numbers, text and lists of text are written alike in JSON and in TOML."""
    return json.dumps(value)
