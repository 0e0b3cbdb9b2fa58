"""The comparison of methods: what each cell says, and what a reader must know beside it.

A table is plain data; `bench.tables.render` turns it into text, LaTeX, Markdown and HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.records.format import Number, scientific
from bench.records.frame import Cell, cells, deviation
from bench.records.measures import AMOUNTS, MEASURES, measure
from bench.tables.arrange import ROWS, Block, By, blocks, place_notes
from bench.tables.best import best_notes, contests
from bench.tables.caption import caption_of
from bench.tables.columns_asked import NARROW, WIDE
from bench.tables.footnotes import Note, notes_of
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
from bench.tables.parts import Entry, Group, Row, Table
from bench.tables.standing import standings

__all__ = ["NARROW", "WIDE", "Entry", "Group", "Row", "Table", "comparison"]


def comparison(
    frame: pd.DataFrame,
    metrics: Sequence[str] = NARROW,
    *,
    by_run: bool = False,
    by: By = "dataset",
    results: Path | None = None,
) -> Table:
    """Compare the runs of `bench.records.frame.records`, a group for each data set and budget.

    By method or by budget, the groups are those; what is compared by a test is the same.

    ± is the standard deviation over seeds; of one seed, it is the NLL's standard error over test
    rows. By run, every run has a row of its own.

    The lowest NLL, and those not significantly worse, are in bold (`bench.tables.best`), the next
    underlined; `results` is the folder with the log-densities that the runs keep, by which they
    can be paired. With three methods on two data sets or more, the notes end with their average
    ranks.

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
    if by != "dataset":
        metrics = _with_thresholds(metrics)
    floors = _floors(known)
    one = ONE if any(len(cell.well) > 1 for cell in known) else ""
    compared = contests(known, results) if "nll" in metrics and not by_run else []
    best = {id(cell) for contest in compared for cell in contest.best}
    below = {id(cell) for cell in known if _is_below(cell, floors)}
    second = {id(cell) for contest in compared for cell in contest.second(below)}
    groups = []
    for block in blocks(known, by):
        rows = []
        for cell, label in zip(block.cells, block.labels, strict=True):
            row = _row(cell, label, metrics, id(cell) in below, one)
            if id(cell) in best | second:
                row = _ranked(row, list(metrics).index("nll"), best=id(cell) in best)
            rows.append(row)
        references = _references(block, metrics)
        groups.append(Group(block.name, block.facts, tuple(rows), references, block.short))
    used = "".join(
        row.marks + "".join(entry.marks for entry in row.entries)
        for group in groups
        for row in (*group.rows, *group.references)
    )
    told = best_notes(compared, known, second=bool(second))
    notes = [Note(mark, text) for mark, text in told]
    notes += notes_of(known, metrics, used)
    notes += place_notes(known, by)
    ok = frame[(frame["status"] == "ok").fillna(False)]
    absent = [MEASURES[name].title for name in metrics if not ok[name].notna().any()]
    if absent and len(ok):
        notes.append(Note("", f"No run has {', '.join(absent)}."))
    if compared:
        notes += [Note("", each.explain()) for each in standings(known) if each.enough]
    titles = ("run", "seed") if by_run else (ROWS[by], "seeds")
    columns = tuple(MEASURES[name] for name in metrics)
    return Table(titles, columns, tuple(groups), tuple(notes), caption_of(known, metrics))


def _with_thresholds(metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics, each statistic followed by its threshold: there is no row to hold it."""
    found: list[str] = []
    for name in metrics:
        found.append(name)
        if name in STATISTICS and STATISTICS[name][0] not in metrics:
            found.append(STATISTICS[name][0])
    return tuple(found)


def _floors(known: Iterable[Cell]) -> dict[tuple[Any, Any], float]:
    """The lowest NLL of a fitted Gaussian on each revision of each data set."""
    floors: dict[tuple[Any, Any], float] = {}
    for cell in known:
        if cell.key["method"] == FLOOR and (nll := cell.mean("nll")) == nll:
            place = heading_of(cell)[:2]
            floors[place] = min(nll, floors.get(place, nll))
    return floors


def _is_below(cell: Cell, floors: dict[tuple[Any, Any], float]) -> bool:
    """Whether its NLL is worse than the floor; one that ended badly has none."""
    floor = floors.get(heading_of(cell)[:2])
    return floor is not None and cell.key["method"] != FLOOR and cell.mean("nll") > floor


def _references(block: Block, metrics: Sequence[str]) -> tuple[Row, ...]:
    thresholds = [STATISTICS[name][0] for name in metrics if name in STATISTICS]
    if not block.alone or all(tau in metrics for tau in thresholds):
        return ()
    return (_true_data(list(block.cells), metrics),)


def _ranked(row: Row, place: int, *, best: bool) -> Row:
    """The row with its NLL in bold, or underlined."""
    entries = list(row.entries)
    entries[place] = replace(entries[place], best=best, second=not best)
    return replace(row, entries=tuple(entries))


def _row(cell: Cell, label: str, metrics: Sequence[str], below: bool, one: str) -> Row:
    ok, total = len(cell.well), len(cell.rows)
    seeds = str(total) if ok == total else f"{ok}/{total}"
    if "run" in cell.key:
        seeds = str(cell.shared("seed"))
    if not ok:
        ended = " + ".join(str(s) for s in dict.fromkeys(cell.columns.plain("status")[cell.rows]))
        main = next((i for i, m in enumerate(metrics) if m not in AMOUNTS), 0)
        entries = [Entry(word=ended) if i == main else Entry() for i in range(len(metrics))]
        if "params" in metrics and (params := cell.shared("params")) is not None:
            number = _form("params", params)
            entries[list(metrics).index("params")] = Entry(number, value=float(params))
        return Row(label, "", seeds, tuple(entries))
    marks = BELOW if below else ""
    marks += flags_of(cell)
    if len(set(cell.known("hardware"))) > 1:
        marks += MIXED
    return Row(label, marks, seeds, tuple(_entry(cell, name, one) for name in metrics))


def _entry(cell: Cell, name: str, one: str) -> Entry:
    mean, sd = cell.mean(name), cell.sd(name)
    if mean != mean:
        return Entry()
    marks = ""
    if name == "nll" and len(cell.well) == 1:
        sd = cell.mean("nll_se")
        marks += one
    if name in STATISTICS:
        marks += SAME if is_undistinguished(cell, name) else ""
    if any(name == tau and is_blind(cell, s) for s, (tau, _) in STATISTICS.items()):
        marks += BLIND
    number = _form(name, mean, None if sd != sd else sd)
    return Entry(number, marks=marks, value=mean)


def _form(name: str, value: float, error: float | None = None) -> Number:
    return MEASURES[name].form(float(value), error)


def _true_data(members: list[Cell], metrics: Sequence[str]) -> Row:
    """The row of thresholds: what the statistics of two samples of true data stay below."""
    taus = [STATISTICS[name][0] for name in metrics if name in STATISTICS]
    ok = pd.DataFrame(
        {name: np.concatenate([c.numbers(name) for c in members]) for name in ("seed", *taus)}
    )
    entries = []
    for name in metrics:
        tau = STATISTICS[name][0] if name in STATISTICS else None
        # The threshold depends on the seed's test sample and not on the method.
        known = ok.groupby("seed")[tau].mean().dropna() if tau and tau not in metrics else None
        if known is None or not len(known):
            entries.append(Entry(word=""))
        else:
            sd = deviation(known.to_numpy()) if len(known) > 1 else None
            blind = any(len(cell.well) and is_blind(cell, name) for cell in members)
            number = scientific(float(known.mean()), sd)
            entries.append(Entry(number, marks=BLIND if blind else ""))
    return Row("true data, τ", "", "", tuple(entries))
