"""The comparison of methods: what each cell says, and what a reader must know beside it.

A table is plain data; `bench.tables.render` turns it into text, LaTeX, Markdown and HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from bench.tables.best import best_notes, contests
from bench.tables.footnotes import Note, notes_of
from bench.tables.format import Number, measured, scientific, whole
from bench.tables.frame import Cell, cells
from bench.tables.labels import labels
from bench.tables.marks import (
    BELOW,
    BLIND,
    FLOOR,
    MIXED,
    ONE,
    SAME,
    STATISTICS,
    amounts_of,
    flags_of,
    heading_of,
    is_blind,
    is_undistinguished,
    place_of,
)
from bench.tables.measures import AMOUNTS, MEASURES, Measure, measure
from bench.tables.standing import standings

#: What a comparison shows unless asked for something else; the wide one is for print.
NARROW = ("params", "nll", "mmd_m", "mmd_1", "train_seconds", "memory_bytes")
WIDE = (
    *("params", "minibatches", "nll", "mmd_m", "tau_m", "mmd_1", "tau_1"),
    *("train_seconds", "memory_bytes"),
)

#: How a heading calls data that are not the whole published set.
_KINDS = {
    "subset": "a subset",
    "redrawn": "redrawn",
    "own": "the user's table",
}


@dataclass(frozen=True)
class Entry:
    """One cell: a number, or the word that stands in its place; then its marks.

    The best ones are shown in bold. `value` is the number before it was rounded, to sort by.
    """

    number: Number | None = None
    word: str = "–"
    marks: str = ""
    best: bool = False
    value: float | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return (str(self.number) if self.number else self.word) + self.marks


@dataclass(frozen=True)
class Row:
    """A method's line: its label and marks, its seeds (3, or 2/3 where one failed), its cells."""

    label: str
    marks: str
    seeds: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Group:
    """What may be compared: rows on one revision of a data set, under one budget.

    `facts` belong into its heading; `references` are the rows of the true data's thresholds.
    """

    name: str
    facts: tuple[str, ...]
    rows: tuple[Row, ...]
    references: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """A comparison, ready to render. `titles` are those of the labels and the seeds."""

    titles: tuple[str, str]
    columns: tuple[Measure, ...]
    groups: tuple[Group, ...]
    notes: tuple[Note, ...]


def comparison(
    frame: pd.DataFrame,
    metrics: Sequence[str] = NARROW,
    *,
    by_run: bool = False,
    results: Path | None = None,
) -> Table:
    """Compare the runs of `bench.tables.frame.records`, a group for each data set and budget.

    ± is the standard deviation over seeds; of one seed, it is the NLL's standard error over test
    rows. By run, every run has a row of its own.

    The lowest NLL, and those not significantly worse, are in bold (`bench.tables.best`); `results`
    is the folder with the log-densities that the runs keep, by which they can be paired. With three
    methods on two data sets or more, the notes end with their average ranks.

    Raises:
        UsageError: a metric has an unknown name.
    """
    for name in metrics:
        measure(name)
    known = sorted(cells(frame, by_run=by_run), key=place_of)
    if metrics is NARROW and any(
        len(amounts_of(list(m))) > 1 for _, m in groupby(known, heading_of)
    ):
        metrics = ("params", "minibatches", *NARROW[1:])
    floors = _floors(known)
    one = ONE if any(len(cell.ok) > 1 for cell in known) else ""
    compared = contests(known, results) if "nll" in metrics and not by_run else []
    best = {id(cell) for contest in compared for cell in contest.best}
    groups = tuple(
        _group(heading, list(members), metrics, floors, one, best)
        for heading, members in groupby(known, heading_of)
    )
    used = "".join(
        row.marks + "".join(entry.marks for entry in row.entries)
        for group in groups
        for row in (*group.rows, *group.references)
    )
    notes = [Note(mark, text) for mark, text in best_notes(compared, known)]
    notes += notes_of(known, metrics, used)
    if compared:
        notes += [Note("", each.explain()) for each in standings(known) if each.enough]
    titles = ("run", "seed") if by_run else ("method", "seeds")
    return Table(titles, tuple(MEASURES[name] for name in metrics), groups, tuple(notes))


def _floors(known: Iterable[Cell]) -> dict[tuple[Any, Any], float]:
    """The lowest NLL of a fitted Gaussian on each revision of each data set."""
    floors: dict[tuple[Any, Any], float] = {}
    for cell in known:
        nll = cell.mean("nll")
        if cell.key["method"] == FLOOR and nll == nll:
            place = heading_of(cell)[:2]
            floors[place] = min(nll, floors.get(place, nll))
    return floors


def _group(
    heading: tuple[Any, Any, Any],
    members: list[Cell],
    metrics: Sequence[str],
    floors: dict[tuple[Any, Any], float],
    one: str,
    best: set[int],
) -> Group:
    by_run = "run" in members[0].key
    names = [cell.key["run"] for cell in members] if by_run else labels(members)
    rows = [
        _row(cell, str(name), metrics, floors.get(heading[:2]), one, id(cell) in best)
        for cell, name in zip(members, names, strict=True)
    ]
    thresholds = [STATISTICS[m][0] for m in metrics if m in STATISTICS]
    references = []
    if any(tau not in metrics for tau in thresholds):
        references.append(_true_data(members, metrics))
    return Group(str(heading[0] or "?"), _facts(heading, members), tuple(rows), tuple(references))


def _facts(heading: tuple[Any, Any, Any], members: list[Cell]) -> tuple[str, ...]:
    d, kind, entropy, subset = (
        next((v for v in (c.shared(n) for c in members) if v is not None), None)
        for n in ("d", "data_kind", "entropy", "subset")
    )
    facts = [f"d = {d}"] if d is not None else []
    if kind in _KINDS or subset:
        facts.append(_KINDS.get(str(kind), _KINDS["subset"]))
    if entropy is not None:
        facts.append(f"best attainable NLL {measured(float(entropy))}")
    each = ", ".join(f"{whole(n)} × {whole(b)} rows" for n, b in amounts_of(members))
    facts.append(f"budget {heading[2] or '?'}" + (f" ({each})" if each else ""))
    facts.append(f"revision {str(heading[1] or 'unknown')[:8]}")
    return tuple(facts)


def _row(
    cell: Cell, label: str, metrics: Sequence[str], floor: float | None, one: str, best: bool
) -> Row:
    ok, total = len(cell.ok), len(cell.runs)
    seeds = str(total) if ok == total else f"{ok}/{total}"
    if "run" in cell.key:
        seeds = str(cell.shared("seed"))
    if not ok:
        ended = " + ".join(str(s) for s in cell.runs["status"].unique())
        main = next((i for i, m in enumerate(metrics) if m not in AMOUNTS), 0)
        entries = [Entry(word=ended) if i == main else Entry() for i in range(len(metrics))]
        if "params" in metrics and (params := cell.shared("params")) is not None:
            number = _form("params", params)
            entries[list(metrics).index("params")] = Entry(number, value=float(params))
        return Row(label, "", seeds, tuple(entries))
    marks = ""
    nll = cell.mean("nll")
    if floor is not None and nll > floor and cell.key["method"] != FLOOR:
        marks += BELOW
    marks += flags_of(cell.ok)
    if cell.ok["hardware"].nunique() > 1:
        marks += MIXED
    return Row(label, marks, seeds, tuple(_entry(cell, name, one, best) for name in metrics))


def _entry(cell: Cell, name: str, one: str, best: bool) -> Entry:
    mean, sd = cell.mean(name), cell.sd(name)
    if mean != mean:
        return Entry()
    marks = ""
    if name == "nll" and len(cell.ok) == 1:
        sd = cell.mean("nll_se")
        marks += one
    if name in STATISTICS:
        marks += SAME if is_undistinguished(cell, name) else ""
    if any(name == tau and is_blind(cell, s) for s, (tau, _) in STATISTICS.items()):
        marks += BLIND
    number = _form(name, mean, None if sd != sd else sd)
    return Entry(number, marks=marks, best=best and name == "nll", value=mean)


def _form(name: str, value: float, error: float | None = None) -> Number:
    return MEASURES[name].form(float(value), error)


def _true_data(members: list[Cell], metrics: Sequence[str]) -> Row:
    """The row of thresholds: what the statistics of two samples of true data stay below."""
    taus = [STATISTICS[name][0] for name in metrics if name in STATISTICS]
    ok = pd.concat([cell.ok[list(dict.fromkeys(["seed", *taus]))] for cell in members])
    entries = []
    for name in metrics:
        tau = STATISTICS[name][0] if name in STATISTICS else None
        # The threshold depends on the seed's test sample and not on the method.
        known = ok.groupby("seed")[tau].mean().dropna() if tau and tau not in metrics else None
        if known is None or not len(known):
            entries.append(Entry(word=""))
        else:
            sd = float(known.std()) if len(known) > 1 else None
            blind = any(len(cell.ok) and is_blind(cell, name) for cell in members)
            number = scientific(float(known.mean()), sd)
            entries.append(Entry(number, marks=BLIND if blind else ""))
    return Row("true data, τ", "", "", tuple(entries))
