"""What a report rests on: its runs, their setting and data, the commands that make them again."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from bench.records.format import whole
from bench.records.frame import frame_of
from bench.records.model import BudgetRecord, DatasetRecord, MethodRecord, Record
from bench.records.selection import latest
from bench.records.spec import METRICS_VERSION, Judge
from bench.records.store import read_all
from bench.study.budgets import budgets
from bench.study.studies import JUDGE, find, shipped

#: At most so many values of one kind are listed in the setting.
_MOST = 6

#: What a judge's fields are called; the others go by their own names.
_JUDGE_WORDS = {
    "dtype": "",
    "solver": "",
    "test_rows": "test rows at most",
    "mmd_n": "MMD samples",
    "metrics_version": "metrics version",
}

#: The path of a user's own table in a command; no record keeps it.
OWN_TABLE = "PATH/TO/{name}"


@dataclass(frozen=True)
class Gathered:
    """The runs of a results folder.

    Attributes:
        results: the folder.
        records: every finished run's record, by name.
        frame: the same, as `bench.records.frame.records` has them.
        compared: the rows of the frame that can be compared with one another.
        left_out: a sentence on each kind of the others.
    """

    results: Path
    records: tuple[Record, ...]
    frame: pd.DataFrame
    compared: pd.DataFrame
    left_out: tuple[str, ...]


def gather(results: Path) -> Gathered:
    """Read a results folder; one that is empty or missing holds no runs.

    Raises:
        DataError: a record is damaged.
    """
    records = tuple(read_all(results))
    frame = frame_of(records)
    compared, left_out = latest(frame)
    return Gathered(results, records, frame, compared, tuple(left_out))


@dataclass(frozen=True)
class Revision:
    """A revision of a data set, the number of runs on it, and whether they are compared."""

    record: DatasetRecord
    runs: int
    compared: bool


def setting(records: Sequence[Record]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The lines of the setting, each with all values that the runs have."""
    yield ("Methods", _counted(record.method.name for record in records))
    yield ("Budget", _counted(_budget(record.budget) for record in records))
    yield ("Seeds", (ranges(sorted({record.seed for record in records})),))
    yield ("Evaluation", _counted(_judge(record.judge) for record in records))
    yield ("Machine", _counted(map(_machine, records)))
    yield ("Code", _counted(map(_code, records)))
    times = [record.started for record in records]
    times += [record.finished for record in records if record.finished]
    yield "Runs made", (f"{minute(min(times))} to {minute(max(times))} (UTC)",)


def ranges(numbers: Sequence[int]) -> str:
    """Ascending whole numbers; three or more in a row are written as a range."""
    starts: list[list[int]] = []
    for before, each in pairwise([None, *numbers]):
        if before is not None and each == before + 1:
            starts[-1].append(each)
        elif each is not None:
            starts.append([each])
    parts = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in starts]
    return ", ".join(parts)


def anchor(kind: str, name: str) -> str:
    """The id of an element about something of that name: letters and digits only."""
    return f"{kind}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def plain(value: object) -> str:
    """A value of a record as text."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def minute(time: str) -> str:
    """A time of a record without its seconds."""
    return time[:16].replace("T", " ")


def datasets(records: Sequence[Record], compared: pd.DataFrame) -> list[Revision]:
    """Every revision of every data set, by name; those of the comparison first."""
    places = set(zip(compared["dataset"], compared["dataset_revision"], strict=True))
    count = Counter((record.dataset.name, record.dataset.revision) for record in records)
    found: dict[tuple[str, str], DatasetRecord] = {}
    for known in (record.dataset for record in records):
        if known.rows or (known.name, known.revision) not in found:  # a failed run may know less
            found[known.name, known.revision] = known
    revisions = [Revision(known, count[at], at in places) for at, known in found.items()]
    return sorted(revisions, key=lambda r: (r.record.name, not r.compared, r.record.revision))


def _counted(values: Iterable[str]) -> tuple[str, ...]:
    """The different values, the commonest first, with their number of runs where they differ."""
    count = Counter(values)
    if len(count) == 1:
        return tuple(count)
    shown = [
        f"{value} ({'1 run' if n == 1 else f'{whole(n)} runs'})"
        for value, n in count.most_common(_MOST)
    ]
    if len(count) > _MOST:
        shown.append(f"and {len(count) - _MOST} others")
    return tuple(shown)


def _budget(budget: BudgetRecord) -> str:
    amount = f"{whole(budget.minibatches)} mini-batches of {whole(budget.batch_size)} rows"
    return f"{budget.name or 'unnamed'}: {amount}"


def _judge(judge: dict[str, Any]) -> str:
    """The solver, and every other field that differs from its default."""
    usual = vars(Judge())
    shown = ("solver", "rtol", "atol", "dtype", "test_rows", "mmd_n", "permutations")
    differing = [k for k in judge if k not in shown and judge[k] != usual.get(k)]
    return ", ".join(
        f"{_JUDGE_WORDS.get(k, k)} {plain(judge[k])}".strip()
        for k in (*shown, *differing)
        if k in judge
    )


def _machine(record: Record) -> str:
    where = record.environment
    if not where.cpu:
        return "not recorded"
    threads = where.threads and f"threads {where.threads}, cores {where.cores or '?'}"
    return ", ".join(filter(None, (where.cpu, where.gpu, threads, where.platform)))


def _code(record: Record) -> str:
    where = record.environment
    known = [f"{k} {where.packages[k]}" for k in ("cnf-bench", "torch") if where.packages.get(k)]
    if where.python:
        known.append(f"Python {where.python}")
    if where.commit:
        changed = " with uncommitted changes" if where.commit.endswith("+") else ""
        known.append(f"commit {where.commit.rstrip('+')}{changed}")
    return ", ".join(known) or "not recorded"


@dataclass(frozen=True)
class Command:
    """A command line for a POSIX shell, the number of runs it makes, and remarks on it.

    `study` is the study file that it reads, where no option can express what was asked.
    """

    line: str
    runs: int
    study: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class _Variant:
    """A method with the user's own settings, as `--set` takes them."""

    method: str
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Cell:
    """A run to be made again: `shared` is what all runs of one command have in common."""

    shared: tuple[tuple[str, ...], tuple[tuple[str, Any], ...], tuple[str, ...]]
    variant: _Variant
    dataset: str
    seed: int
    threads: int | None


def commands(records: Iterable[Record]) -> list[Command]:
    """As few commands as possible, by budget and judge, which make these runs and no others.

    Several records of a run, all but one of older code or rows, count as one.
    """
    alike = defaultdict(list)
    for cell in map(_cell, records):
        alike[cell.shared].append(cell)
    return [each for shared in sorted(alike, key=repr) for each in _grids(alike[shared])]


def _cell(record: Record) -> _Cell:
    method, name, device = record.method, record.dataset.name, record.environment.device
    options = [*_amount(record.budget, name, method.name)]
    options += ["--device", device] if device != "cpu" else []
    usual = asdict(Judge())
    differs = [(k, record.judge[k]) for k in JUDGE if record.judge.get(k, usual[k]) != usual[k]]
    remarks = []
    if record.dataset.kind == "own":
        name = OWN_TABLE.format(name=name)
        remarks.append("This is your own table: replace its path.")
    version = record.judge.get("metrics_version", METRICS_VERSION)
    if version != METRICS_VERSION:
        remarks.append(
            f"These runs were evaluated by version {version} of the metrics; this program has "
            f"version {METRICS_VERSION}. Check out the commit that the runs name."
        )
    return _Cell(
        (tuple(options), tuple(differs), tuple(remarks)),
        _Variant(method.name, tuple(_settings(method))),
        name,
        record.seed,
        record.environment.threads,
    )


def _amount(budget: BudgetRecord, dataset: str, method: str) -> Iterator[str]:
    """The budget's name, and its numbers where they are not those that it names."""
    known = budgets()
    if budget.name in known:
        yield from ("-b", str(budget.name))
        amount = known[str(budget.name)].amount(dataset, method)
        if (budget.minibatches, budget.batch_size) == (amount.minibatches, amount.batch_size):
            return
    yield from ("--minibatches", str(budget.minibatches), "--batch-size", str(budget.batch_size))


def _settings(method: MethodRecord) -> Iterator[tuple[str, str]]:
    """The user's own settings; of a record from before they were kept, all hyper-parameters."""
    chosen = method.config if method.settings is None else method.settings
    for key, value in chosen.items():
        text = value if isinstance(value, str) else json.dumps(value)
        yield key, "none" if value is None else text


def _grids(cells: Sequence[_Cell]) -> Iterator[Command]:
    """The runs, split into products of methods, data sets and seeds."""
    seeds: dict[tuple[str, _Variant], set[int]] = defaultdict(set)
    for cell in cells:
        seeds[cell.dataset, cell.variant].add(cell.seed)
    layers: dict[tuple[str, tuple[int, ...], int], list[_Variant]] = defaultdict(list)
    taken: Counter[tuple[str, tuple[int, ...], str]] = Counter()
    for (dataset, variant), found in sorted(seeds.items()):
        same = tuple(sorted(found))
        # A command has one group of settings for each method.
        layers[dataset, same, taken[dataset, same, variant.method]].append(variant)
        taken[dataset, same, variant.method] += 1
    grids: dict[tuple[tuple[_Variant, ...], tuple[int, ...]], list[str]] = defaultdict(list)
    for (dataset, same, _), variants in layers.items():
        grids[tuple(variants), same].append(dataset)
    for (each, same), names in grids.items():
        members = [c for c in cells if c.variant in each and c.dataset in names]
        yield _command(members, each, names, same)


def _command(
    cells: Sequence[_Cell],
    variants: Sequence[_Variant],
    names: Sequence[str],
    seeds: Sequence[int],
) -> Command:
    options, differs, remarks = cells[0].shared
    methods = [variant.method for variant in variants]
    judged, study = _judged(differs, methods, names)
    words = ["bench", "run", *judged]
    for option, values in (("-m", methods), ("-d", names), ("-s", map(str, seeds))):
        words += [word for value in values for word in (option, value)]
    words += options
    for variant in variants:
        scope = f"{variant.method}." if len(variants) > 1 else ""
        words += [w for k, v in variant.settings for w in ("--set", f"{scope}{k}={v}")]
    threads = {cell.threads for cell in cells if cell.threads is not None}
    if len(threads) == 1:
        words += ["--threads", str(*threads)]
    elif threads:
        several = ", ".join(map(str, sorted(threads)))
        remarks += (f"These runs had {several} threads; the command of each run has its own.",)
    return Command(shlex.join(words), len(variants) * len(names) * len(seeds), study, remarks)


def _judged(
    differs: tuple[tuple[str, Any], ...], methods: Sequence[str], names: Sequence[str]
) -> tuple[list[str], str]:
    """The options that ask for a judge, and the study file that they read, if any."""
    if not differs:
        return [], ""
    if [name for name, _ in differs] == ["test_rows"]:
        return ["--test-rows", str(differs[0][1])], ""
    for name in shipped():
        study = find(name)
        if not study.settings and study.judge == Judge(**dict(differs)):
            return ["--study", name], ""
    to_toml: Callable[[Any], str] = json.dumps  # numbers, text and lists are the same in both
    lines = [f"methods = {to_toml(list(methods))}", f"datasets = {to_toml(list(names))}", ""]
    lines += ["[judge]", *(f"{name} = {to_toml(value)}" for name, value in differs)]
    return ["--study", "study.toml"], "\n".join(lines)
