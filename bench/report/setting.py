"""What a report rests on: its runs, their setting and data, the commands that make them again."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import count, groupby
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import DataError
from bench.records import store
from bench.records.format import whole
from bench.records.frame import frame_of, latest
from bench.records.model import DatasetRecord, Record
from bench.records.run_files import densities, read_curve
from bench.records.spec import METRICS_VERSION, Judge
from bench.study.studies import JUDGE, budgets, find, shipped

#: At most so many values of one kind are listed in the setting.
_MOST = 6


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


def gather(results: Path, unread: list[str] | None = None) -> Gathered:
    """Read a results folder; one that is empty or missing holds no runs.

    Runs of which the record or a file that is compared can't be read are left out, and a sentence
    on each goes to `unread`, if that is given.

    Raises:
        DataError: a record can't be read.
    """
    records = []
    for name in store.names(results):
        try:
            record = store.read(results, name)
            if record and unread is not None:
                read_curve(results / name)
                densities(results / name, (), grouped=False, nll=record.metrics.get("nll"))
        except DataError as error:
            if unread is None:
                raise
            unread.append(str(error))
        else:
            records += [record] if record else []
    frame = frame_of(records)
    compared, left_out = latest(frame)
    return Gathered(results, tuple(records), frame, compared, (*left_out, *(unread or ())))


@dataclass(frozen=True)
class Revision:
    """A revision of a data set, the number of runs on it, and whether they are compared."""

    record: DatasetRecord
    runs: int
    compared: bool


def setting(records: Sequence[Record]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The lines of the setting, each with all values that the runs have."""
    yield "Methods", _counted(record.method.name for record in records)
    given = [record.budget for record in records]
    amounts = (f"{whole(b.minibatches)} mini-batches of {whole(b.batch_size)} rows" for b in given)
    names = (budget.name or "unnamed" for budget in given)
    yield "Budget", _counted(map(": ".join, zip(names, amounts, strict=True)))
    yield "Seeds", (ranges(sorted({record.seed for record in records})),)
    yield "Evaluation", _counted(_judge(record.judge) for record in records)
    yield "Machine", _counted(map(_machine, records))
    yield "Code", _counted(map(_code, records))
    times = [record.started for record in records]
    times += [record.finished for record in records if record.finished]
    yield "Runs made", (f"{minute(min(times))} to {minute(max(times))} (UTC)",)


def ranges(numbers: Sequence[int]) -> str:
    """Ascending whole numbers; three or more in a row are written as a range."""
    parts: list[str] = []
    for _, row in groupby(enumerate(numbers), lambda each: each[1] - each[0]):
        run = [number for _, number in row]
        parts += [f"{run[0]}–{run[-1]}"] if len(run) > 2 else map(str, run)
    return ", ".join(parts)


def anchor(name: str, kind: str) -> str:
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
    sizes = Counter((record.dataset.name, record.dataset.revision) for record in records)
    found: dict[tuple[str, str], DatasetRecord] = {}
    for known in (record.dataset for record in records):
        if known.rows or (known.name, known.revision) not in found:  # a failed run may know less
            found[known.name, known.revision] = known
    revisions = [Revision(known, sizes[at], at in places) for at, known in found.items()]
    return sorted(revisions, key=lambda r: (r.record.name, not r.compared, r.record.revision))


def _counted(values: Iterable[str]) -> tuple[str, ...]:
    """The different values, the commonest first, with their number of runs where they differ."""
    found = Counter(values)
    if len(found) == 1:
        return tuple(found)
    shown = [
        f"{value} ({'1 run' if n == 1 else f'{whole(n)} runs'})"
        for value, n in found.most_common(_MOST)
    ]
    if len(found) > _MOST:
        shown.append(f"and {len(found) - _MOST} others")
    return tuple(shown)


def _judge(judge: dict[str, Any]) -> str:
    """The main fields of a judge, and all others that differ from their defaults."""
    usual = vars(Judge())
    main = ("solver", "rtol", "atol", "dtype", "test_rows", "mmd_n", "permutations")
    shown = {k: v for k, v in judge.items() if k in main or v != usual.get(k)}
    return ", ".join(f"{k.replace('_', ' ')} {plain(v)}" for k, v in shown.items())


def _machine(record: Record) -> str:
    where = record.environment
    cores = where.cores or "?"
    threads = f"threads {where.threads}, cores {cores}" if where.threads else None
    parts = (where.cpu, where.gpu, threads, where.platform)
    return ", ".join(filter(None, parts)) or "not recorded"


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


#: A method with the user's own settings, as `--set` takes them.
Variant = tuple[str, tuple[tuple[str, str], ...]]

#: What the runs of one command share: its options, fields of the judge, and remarks.
Shared = tuple[tuple[str, ...], tuple[tuple[str, Any], ...], tuple[str, ...]]

#: The threads of each run by its seed, for each data set and variant.
Runs = dict[tuple[str, Variant], dict[int, int | None]]


def commands(records: Iterable[Record]) -> list[Command]:
    """As few commands as possible, by budget and judge, which make these runs and no others.

    Several records of a run, all but one of older code or rows, count as one.
    """
    alike: dict[Shared, Runs] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        shared, place = _shared(record)
        alike[shared][place][record.seed] = record.environment.threads
    return [command for one in sorted(alike, key=repr) for command in _grids(one, alike[one])]


def _shared(record: Record) -> tuple[Shared, tuple[str, Variant]]:
    """What a run shares with others of its command, and its data set and variant."""
    method, budget, name = record.method, record.budget, record.dataset.name
    amount = (budget.minibatches, budget.batch_size)
    known = budgets().get(budget.name or "")
    options = ["-b", str(budget.name)] if known else []
    if known is None or amount != astuple(known.amount(name, method.name)):
        options += ["--minibatches", str(amount[0]), "--batch-size", str(amount[1])]
    if record.environment.device != "cpu":
        options += ["--device", record.environment.device]
    usual = asdict(Judge())
    differs = [(k, record.judge[k]) for k in JUDGE if record.judge.get(k, usual[k]) != usual[k]]
    remarks = []
    if record.dataset.kind == "own":
        name = f"PATH/TO/{name}"  # no record keeps it
        remarks.append("This is your own table: replace its path.")
    version = record.judge.get("metrics_version", METRICS_VERSION)
    if version != METRICS_VERSION:
        remarks.append(
            f"These runs were evaluated by version {version} of the metrics; this program has "
            f"version {METRICS_VERSION}. Check out the commit that the runs name."
        )
    # Records from before a user's own settings were kept give all hyper-parameters.
    chosen = method.config if method.settings is None else method.settings
    settings = tuple((k, plain(v)) for k, v in chosen.items())
    return (tuple(options), tuple(differs), tuple(remarks)), (name, (method.name, settings))


def _grids(shared: Shared, runs: Runs) -> Iterator[Command]:
    """A command for each product of methods, data sets and seeds that the runs are split into."""
    layers: dict[tuple[str, tuple[int, ...], int], list[Variant]] = defaultdict(list)
    for (name, variant), found in sorted(runs.items(), key=lambda each: each[0]):
        seeds = tuple(sorted(found))
        # A command has one group of settings for each method.
        layer = next(k for k in count() if variant[0] not in dict(layers[name, seeds, k]))
        layers[name, seeds, layer].append(variant)
    grids: dict[tuple[tuple[Variant, ...], tuple[int, ...]], list[str]] = defaultdict(list)
    for (name, seeds, _), variants in layers.items():
        grids[tuple(variants), seeds].append(name)
    options, differs, remarks = shared
    for (each, seeds), names in grids.items():
        methods = [method for method, _ in each]
        judged, study = _judged(differs, methods, names)
        words = ["bench", "run", *judged]
        for option, values in (("-m", methods), ("-d", names), ("-s", map(str, seeds))):
            words += [word for value in values for word in (option, value)]
        words += options
        for method, settings in each:
            scope = f"{method}." if len(each) > 1 else ""
            words += [word for k, v in settings for word in ("--set", f"{scope}{k}={v}")]
        used = {runs[name, one][seed] for name in names for one in each for seed in seeds} - {None}
        threads = ", ".join(map(str, sorted(filter(None, used))))
        several = f"These runs had {threads} threads; the command of each run has its own."
        words += ["--threads", threads] if len(used) == 1 else []
        notes = (*remarks, several) if len(used) > 1 else remarks
        yield Command(shlex.join(words), len(each) * len(names) * len(seeds), study, notes)


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
    # JSON and TOML write numbers, text and lists alike.
    lines = [f"methods = {json.dumps(methods)}", f"datasets = {json.dumps(names)}", ""]
    lines += ["[judge]", *(f"{name} = {json.dumps(value)}" for name, value in differs)]
    return ["--study", "study.toml"], "\n".join(lines)
