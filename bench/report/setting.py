"""The setting of a report: budget, seeds, judge, machine, code; and the data that it is on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from bench.records.format import measured, whole
from bench.records.spec import Judge
from bench.records.store import Record
from bench.report.parts import anchor, section

#: No more values of one kind are told apart in the setting.
_MOST = 6

#: What a judge's fields are called; the others go by their own names.
_SAID = {
    "dtype": "",
    "solver": "",
    "test_rows": "test rows at most",
    "mmd_n": "MMD samples",
    "metrics_version": "metrics version",
}


@dataclass(frozen=True)
class Term:
    """A line of the setting: what it is, and its values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class DataFacts:
    """What the records say of a revision of a data set, and how many runs are on it.

    `compared` is whether these runs stand in the comparison.
    """

    name: str
    anchor: str
    d: str
    kind: str
    revision: str
    rows: str
    source: str
    notes: str
    entropy: str
    runs: int
    compared: bool


def setting(records: Sequence[Record]) -> Iterator[Term]:
    """The lines of the setting, each with all values that the runs have."""
    yield Term("Methods", _counted(str(section(r, "method").get("name")) for r in records))
    yield Term("Budget", _counted(map(_budget, records)))
    seeds = sorted({r["seed"] for r in records if isinstance(r.get("seed"), int)})
    yield Term("Seeds", (ranges(seeds) or "unknown",))
    yield Term("Judge", _counted(map(_judge, records)))
    yield Term("Machine", _counted(map(_machine, records)))
    yield Term("Code", _counted(map(_code, records)))
    times = sorted(
        str(r[name])[:16].replace("T", " ")
        for r in records
        for name in ("started", "finished")
        if r.get(name)
    )
    if times:
        yield Term("Runs made", (f"{times[0]} to {times[-1]} (UTC)",))


def ranges(numbers: Sequence[int]) -> str:
    """Ascending whole numbers, those in a row of three or more as a range."""
    starts: list[list[int]] = []
    for before, each in pairwise([None, *numbers]):
        if each is None:
            continue
        if before is not None and each == before + 1:
            starts[-1].append(each)
        else:
            starts.append([each])
    parts = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in starts]
    return ", ".join(parts)


def datasets(records: Sequence[Record], compared: pd.DataFrame) -> list[DataFacts]:
    """Every revision of every data set, by name; those of the comparison first."""
    names = set(zip(compared["dataset"], compared["dataset_revision"], strict=True))
    count = Counter(map(_place, records))
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        known = section(record, "dataset")
        if _place(record) not in found or "rows" in known:  # a failed run may know less
            found[_place(record)] = known
    facts = [
        _facts(name, revision, known, count[name, revision], (name, revision) in names)
        for (name, revision), known in found.items()
    ]
    return sorted(facts, key=lambda each: (each.name, not each.compared, each.revision))


def _place(record: Record) -> tuple[str, str]:
    known = section(record, "dataset")
    return str(known.get("name")), str(known.get("revision"))


def _facts(name: str, revision: str, known: dict[str, Any], runs: int, there: bool) -> DataFacts:
    entropy = known.get("entropy")
    rows = section(known, "rows")
    return DataFacts(
        name=name,
        anchor=anchor("data", name),
        d=str(known.get("d") or "unknown"),
        kind=str(known.get("kind") or "unknown"),
        revision=revision,
        rows=", ".join(f"{k} {whole(v) if isinstance(v, int) else v}" for k, v in rows.items()),
        source=str(known.get("note") or ""),
        notes="; ".join(
            f"{k}: {_plain(v)}"
            for k, v in section(known, "notes").items()
            if k not in ("mean", "std")  # a number a column; the record has them
        ),
        entropy=str(measured(entropy)) if isinstance(entropy, int | float) else "",
        runs=runs,
        compared=there,
    )


def _counted(values: Iterable[str]) -> tuple[str, ...]:
    """The different values, the commonest first, with their number of runs where they differ."""
    count = Counter(values)
    if len(count) == 1:
        return tuple(count)
    shown = [f"{value} ({_runs(n)})" for value, n in count.most_common(_MOST)]
    if len(count) > _MOST:
        shown.append(f"and {len(count) - _MOST} others")
    return tuple(shown)


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{whole(n)} runs"


def _budget(record: Record) -> str:
    budget = section(record, "budget")
    amount = [
        whole(n) if isinstance(n, int) else "?"
        for n in (budget.get("minibatches"), budget.get("batch_size"))
    ]
    return f"{budget.get('name') or 'unnamed'}: {amount[0]} mini-batches of {amount[1]} rows"


def _judge(record: Record) -> str:
    """The solver, and what of the judge differs from the usual one."""
    judge = section(record, "judge")
    usual = vars(Judge())
    shown = ("solver", "rtol", "atol", "dtype", "test_rows", "mmd_n", "permutations")
    differing = [k for k in judge if k not in shown and judge[k] != usual.get(k)]
    return ", ".join(
        f"{_SAID.get(k, k)} {_plain(judge[k])}".strip() for k in (*shown, *differing) if k in judge
    )


def _machine(record: Record) -> str:
    environment = section(record, "environment")
    if not environment.get("cpu"):
        return "not recorded"
    parts = [str(environment["cpu"])]
    if environment.get("gpu"):
        parts.append(str(environment["gpu"]))
    if environment.get("threads"):
        parts.append(f"threads {environment['threads']}, cores {environment.get('cores', '?')}")
    return ", ".join([*parts, str(environment.get("platform") or "")]).rstrip(", ")


def _code(record: Record) -> str:
    environment = section(record, "environment")
    packages = section(environment, "packages")
    known = [f"{k} {packages[k]}" for k in ("cnf-bench", "torch") if packages.get(k)]
    if environment.get("python"):
        known.append(f"Python {environment['python']}")
    commit = environment.get("commit")
    if commit:
        changed = str(commit).endswith("+")
        known.append(
            f"commit {str(commit).rstrip('+')}" + (", with changes of its own" if changed else "")
        )
    return ", ".join(known) or "not recorded"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
