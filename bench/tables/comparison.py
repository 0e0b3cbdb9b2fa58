"""The comparison of methods: what each cell shows, and the mean scores that methods are ranked by.

A table is plain data; `bench.tables.render` turns it into text, LaTeX, Markdown and HTML.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.api.declarations import Column
from bench.errors import UsageError, unknown
from bench.records import catalogue
from bench.records.format import Number
from bench.records.frame import Cell, cells, deviation
from bench.stats.ranking import Ranking, explain
from bench.tables import marks
from bench.tables.layout import (
    ROWS,
    By,
    Entry,
    Note,
    Row,
    Table,
    blocks,
    labels,
    place_notes,
)
from bench.tables.notes import best_notes, caption_of, notes_of, short_notes

#: The columns of a comparison in a terminal, and in the forms that are kept.
NARROW = ("nll", marks.VERDICT, "train_seconds", "memory_bytes")
WIDE = ("params", "minibatches", "mmd_m", "mmd_1", marks.VERDICT, *NARROW[:1], *NARROW[2:])

#: What a method is given, not what comes of it.
AMOUNTS = ("params", "minibatches", "samples_seen")

#: From so many data sets on, the notes have average ranks.
RANKED_DATASETS = 4

#: Which notes a table has.
Notes = Literal["short", "full", "none"]


def comparison(
    frame: pd.DataFrame,
    metrics: Sequence[str] = NARROW,
    *,
    by_run: bool = False,
    by: By = "dataset",
    results: Path | None = None,
    sort: str = "nll",
    notes: Notes = "full",
) -> Table:
    """Compare the runs of `bench.records.frame.records`, a group for each data set and budget.

    By method or by budget, the groups are those; the same runs are tested against each other.

    ± is the standard deviation over seeds; of one seed, it is the NLL's standard error over test
    rows. By run, every run has a row of its own. Rows are sorted by the column `sort`, the best
    first.

    The lowest NLL, and those not significantly worse, are in bold (`bench.tables.marks.contests`),
    the next underlined; `results` is the folder with the log-densities that the runs keep, by which
    they can be paired.

    Raises:
        UsageError: a column has an unknown name, or can't be shown.
    """
    for name in (*metrics, sort):
        measured_column(name)
    unsorted = list(cells(frame, by_run=by_run))
    known = marks.sorted_cells(unsorted, sort)
    headed = marks.grouped(known, marks.heading_of).values()
    several = any(len(marks.amounts_of(members)) > 1 for members in headed)
    if metrics is NARROW and several:
        metrics = ("minibatches", *NARROW)
    if by != "dataset":
        metrics = _with_thresholds(metrics)
    floors: dict[Any, float] = defaultdict(lambda: math.inf)
    for cell in known:
        if marks.is_floor(cell.key["method"]):
            place = marks.heading_of(cell)[:2]
            floors[place] = min(floors[place], cell.mean("nll"))  # NaN is never less
    one = marks.ONE if any(len(cell.well) > 1 for cell in known) else ""
    compared = marks.contests(known, results) if "nll" in metrics and not by_run else []
    best = {id(cell) for contest in compared for cell in contest.best}
    below = {
        id(cell)
        for cell in known
        if cell.mean("nll") > floors[marks.heading_of(cell)[:2]]
        and not marks.is_floor(cell.key["method"])
    }
    second = {id(cell) for contest in compared for cell in contest.second(below)}
    groups = []
    for group, members, names in blocks(known, by):
        rows = []
        for cell, label in zip(members, names, strict=True):
            row = _row(cell, label, metrics, id(cell) in below, one)
            entries = (
                replace(entry, best=id(cell) in best, second=id(cell) in second)
                if name == "nll"
                else entry
                for name, entry in zip(metrics, row.entries, strict=True)
            )
            rows.append(replace(row, entries=tuple(entries)))
        references = _references(members, metrics) if by == "dataset" else ()
        groups.append(replace(group, rows=tuple(rows), references=references))
    used = "".join(
        row.marks + "".join(entry.marks for entry in row.entries)
        for group in groups
        for row in group.lines
    )
    ok = frame[(frame["status"] == "ok").fillna(False)]
    absent = [
        measured_column(name).title
        for name in metrics
        if name != marks.VERDICT and not ok[name].notna().any()
    ]
    missing = [Note("", f"No run has {', '.join(absent)}.")] if absent and len(ok) else []
    scores = scores_by_budget(unsorted) if compared else []
    ranked = [each for each in scores if len(each.datasets) >= RANKED_DATASETS and each.enough]
    found: list[Note] = []
    if notes == "short":
        few = short_notes(compared, known, metrics, used, ranked, second=bool(second))
        found = [*missing, *few]
    elif notes == "full":
        found = [*best_notes(compared, known, second=bool(second))]
        found += [*notes_of(known, metrics, used), *place_notes(known, by), *missing]
        found += [Note("", explain(each)) for each in ranked]
    titles = ("run", "seed") if by_run else (ROWS[by], "seeds")
    columns = tuple(
        replace(each, title="samples vs data", latex="$p$, samples")
        if each.name == marks.VERDICT
        else each
        for each in map(measured_column, metrics)
    )
    caption = caption_of(known, metrics)
    return Table(titles, columns, tuple(groups), tuple(found), caption, tuple(compared))


def measured_column(name: str) -> Column:
    """The catalogue's entry of a column that a table can show.

    Raises:
        UsageError: there is none.
    """
    known = catalogue.measures()
    if name not in known:
        raise unknown("column", name, known)
    return known[name]


def _with_thresholds(metrics: Sequence[str]) -> tuple[str, ...]:
    """The columns, each statistic followed by its threshold: there is no row to hold it."""
    taus = {name: column.threshold for name, column in catalogue.statistics().items()}
    added = {name: (name, taus[name]) for name in taus if taus[name] not in metrics}
    return tuple(each for name in metrics for each in added.get(name, (name,)))


def _row(cell: Cell, label: str, metrics: Sequence[str], below: bool, one: str) -> Row:
    ok, total = len(cell.well), len(cell.rows)
    seeds = str(total) if ok == total else f"{ok}/{total}"
    if "run" in cell.key:
        seeds = str(cell.shared("seed"))
    if not ok:
        ended = " + ".join(str(s) for s in dict.fromkeys(cell.columns.plain("status")[cell.rows]))
        main = next((name for name in metrics if name not in AMOUNTS), metrics[0])
        entries = {name: Entry(word=ended) if name == main else Entry() for name in metrics}
        if "params" in metrics and (params := cell.shared("params")) is not None:
            entries["params"] = Entry(catalogue.number("params", params), value=float(params))
        return Row(label, "", seeds, tuple(entries.values()))
    mixed = marks.MIXED if len(set(cell.known("hardware"))) > 1 else ""
    flags = (marks.BELOW if below else "") + marks.flags_of(cell) + mixed
    return Row(label, flags, seeds, tuple(_entry(cell, name, one) for name in metrics))


def _entry(cell: Cell, name: str, one: str) -> Entry:
    if name == marks.VERDICT:
        found = marks.verdict_of(cell)
        if found is None:
            return Entry()
        return Entry(Number(f"{found.p:.2g}"), words=str(found), value=found.p)
    mean, sd = cell.mean(name), cell.sd(name)
    if mean != mean:
        return Entry()
    shown = ""
    if name == "nll" and len(cell.well) == 1:
        sd, shown = cell.mean("nll_se"), one
    of = [stat for stat, each in catalogue.statistics().items() if each.threshold == name]
    if any(marks.is_blind(cell, statistic) for statistic in of):
        shown += marks.BLIND
    return Entry(catalogue.number(name, mean, sd), marks=shown, value=mean)


def _references(members: Sequence[Cell], metrics: Sequence[str]) -> tuple[Row, ...]:
    """The row of thresholds: what the statistics of two samples of true data stay below."""
    taus = {
        name: column.threshold
        for name, column in catalogue.statistics().items()
        if name in metrics and column.threshold not in metrics
    }
    if not taus:
        return ()
    ok = pd.DataFrame(
        {n: np.concatenate([c.numbers(n) for c in members]) for n in ("seed", *taus.values())}
    )
    # The threshold depends on the seed's test sample and not on the method.
    by_seed = ok.groupby("seed").mean()
    entries = dict.fromkeys(metrics, Entry(word=""))
    for name, tau in taus.items():
        known = by_seed[tau].dropna()
        if len(known):
            blind = any(len(cell.well) and marks.is_blind(cell, name) for cell in members)
            number = catalogue.number(tau, float(known.mean()), deviation(known.to_numpy()))
            entries[name] = Entry(number, marks=marks.BLIND if blind else "")
    return (Row("true data, τ", "", "", tuple(entries.values())),)


def scores_by_budget(known: Iterable[Cell], metric: str = "nll") -> list[Ranking]:
    """The ranking under each budget, in the order of their names; where more is better, of -mean.

    Of several revisions of a data set the one with the most methods counts; of several rows of a
    method those at the budget's commonest amount, and of these the one with the lowest validation
    NLL. A data set on which fewer than two methods have a result is left out.

    Raises:
        UsageError: the metric has an unknown name, or neither less nor more of it is better.
    """
    if not measured_column(metric).better:
        ranked = [name for name, each in catalogue.measures().items() if each.better]
        raise UsageError(
            f"Methods can't be ranked by {metric}: neither less nor more of it is better.",
            f"Choose one of: {', '.join(ranked)}.",
        )
    by_budget = marks.grouped(known, lambda cell: str(marks.heading_of(cell)[2] or "?"))
    return [_scores(budget, cells, metric) for budget, cells in sorted(by_budget.items())]


def _scores(budget: str, cells: Sequence[Cell], metric: str) -> Ranking:
    remarks: list[str] = []
    rows: dict[str, dict[str, Cell]] = {}
    by_dataset = marks.grouped(cells, lambda cell: str(cell.key["dataset"] or "?"))
    for dataset, members in sorted(by_dataset.items()):
        revisions = marks.grouped(members, lambda cell: str(cell.key["dataset_revision"]))
        most = max(revisions, key=lambda r: len({cell.key["method"] for cell in revisions[r]}))
        if len(revisions) > 1:
            remarks.append(f"On {dataset}, only revision {most[:8]} is ranked.")
        rows[dataset] = _one_row_each(dataset, revisions[most], remarks)
    sign = -1.0 if measured_column(metric).better == "higher" else 1.0
    means = pd.DataFrame(
        {d: {m: sign * c.mean(metric) for m, c in row.items()} for d, row in rows.items()}
    ).sort_index()
    few = means.columns[np.isfinite(means).sum() < 2]
    if len(few):
        remarks.append(f"Left out, as fewer than two methods have a result: {', '.join(few)}.")
    means = means.drop(columns=few)
    partly = [
        f"{method} on {dataset} ({len(cell.well)}/{len(cell.rows)})"
        for dataset in means
        for method, cell in rows[dataset].items()
        if 0 < len(cell.well) < len(cell.rows)
    ]
    if partly:
        remarks.append(f"Means over the seeds that ended well: {', '.join(partly)}.")
    title = f"mean {measured_column(metric).title} (budget {budget})"
    methods, datasets = tuple(means.index), tuple(means.columns)
    return Ranking(title, methods, datasets, means.T.to_numpy("float64"), budget, tuple(remarks))


def _one_row_each(dataset: str, rows: Sequence[Cell], remarks: list[str]) -> dict[str, Cell]:
    """Each method and the row that is ranked."""
    amounts = Counter(amount for cell in rows for amount in marks.amounts_of([cell]))
    named = dict(zip(map(id, rows), labels(rows), strict=True))

    def place(cell: Cell) -> tuple[int, float]:
        times = sum(amounts[amount] for amount in marks.amounts_of([cell]))
        nll = cell.mean("validation_nll")
        return -times, math.inf if math.isnan(nll) else nll

    found = {}
    for method, several in marks.grouped(rows, lambda cell: str(cell.key["method"])).items():
        found[method] = min(several, key=place)
        if len(several) > 1:
            remarks.append(
                f"{method} has several rows on {dataset}; {named[id(found[method])]} is ranked "
                "(the commonest amount, then the lowest validation NLL)."
            )
    return found
