"""The comparison of methods: what each cell says, and what a reader must know beside it.

A table is plain data; `bench.tables.render` turns it into text, LaTeX, Markdown and HTML.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.records.format import Number, scientific
from bench.records.frame import Cell, cells, deviation
from bench.records.measures import AMOUNTS, MEASURES, measure
from bench.stats.ranking import DATASETS, METHODS, Ranking, explain
from bench.tables.columns_asked import NARROW
from bench.tables.layout import (
    ROWS,
    By,
    CellGroup,
    Entry,
    Note,
    Row,
    RowGroup,
    Table,
    blocks,
    labels,
    place_notes,
)
from bench.tables.marks import (
    BELOW,
    BLIND,
    FLOOR,
    MIXED,
    ONE,
    SAME,
    STATISTICS,
    amounts_of,
    contests,
    flags_of,
    heading_of,
    is_blind,
    is_undistinguished,
    place_of,
)
from bench.tables.notes import best_notes, caption_of, notes_of


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
        groups.append(RowGroup(block.name, block.facts, tuple(rows), references, block.short))
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
    caption = caption_of(known, metrics)
    return Table(titles, columns, tuple(groups), tuple(notes), caption, tuple(compared))


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


def _references(block: CellGroup, metrics: Sequence[str]) -> tuple[Row, ...]:
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


#: Measures of which less is better, so that methods can be ranked by them.
RANKED = (
    *("nll", "nll_native", "validation_nll", "mmd_m", "mmd_1", "mmd_m_u", "mmd_1_u"),
    *("train_seconds", "sample_seconds", "density_seconds", "memory_bytes", "peak_gpu_bytes"),
    *("peak_rss_bytes", "nfe_train", "nfe_sample", "nfe_density", "transport_cost"),
)


@dataclass(frozen=True)
class Standing:
    """Mean scores `(data sets, methods)` under one budget, NaN where a method has no result.

    `remarks` say what was chosen or left out on the way.
    """

    metric: str
    budget: str
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    scores: NDArray[np.float64]
    remarks: tuple[str, ...]

    @property
    def enough(self) -> bool:
        """Whether there are methods and data sets enough for ranks."""
        return len(self.methods) >= METHODS and len(self.datasets) >= DATASETS

    @property
    def ranking(self) -> Ranking:
        """The ranking of these scores.

        Raises:
            ValueError: there are too few methods or data sets.
        """
        title = f"mean {MEASURES[self.metric].title} (budget {self.budget})"
        return Ranking(title, self.methods, self.datasets, self.scores)

    def explain(self) -> str:
        """The ranking in words."""
        return " ".join((*explain(self.ranking), *self.remarks))


def standings(known: Iterable[Cell], metric: str = "nll") -> list[Standing]:
    """A standing for each budget, by name.

    Of several revisions of a data set the one with the most methods counts; of several rows of a
    method those at the budget's commonest amount, and of these the one with the lowest validation
    NLL. A data set on which fewer than two methods have a result is left out.

    Raises:
        UsageError: the metric has an unknown name, or it is not known that less of it is better.
    """
    measure(metric)
    if metric not in RANKED:
        raise UsageError(
            f"Methods can't be ranked by {metric}: less of it is not better.",
            f"There are: {', '.join(RANKED)}.",
        )
    by_budget: dict[str, list[Cell]] = defaultdict(list)
    for cell in known:
        by_budget[str(heading_of(cell)[2] or "?")].append(cell)
    return [_standing(budget, cells, metric) for budget, cells in sorted(by_budget.items())]


def _standing(budget: str, cells: Sequence[Cell], metric: str) -> Standing:
    remarks: list[str] = []
    places: dict[str, dict[str, Cell]] = {}
    for dataset, revisions in sorted(_by_dataset(cells).items()):
        rows = max(revisions.values(), key=lambda r: len({cell.key["method"] for cell in r}))
        if len(revisions) > 1:
            revision = str(rows[0].key["dataset_revision"])[:8]
            remarks.append(f"Of {dataset} the revision {revision} counts.")
        places[dataset] = dict(_choose(dataset, rows, remarks))
    alone = [d for d, row in places.items() if sum(_has(c, metric) for c in row.values()) < 2]
    if alone:
        remarks.append(f"Left out, with fewer than two methods' results: {', '.join(alone)}.")
    methods = tuple(sorted({method for row in places.values() for method in row}))
    datasets = tuple(dataset for dataset in places if dataset not in alone)
    scores = [
        [places[d][m].mean(metric) if m in places[d] else np.nan for m in methods] for d in datasets
    ]
    remarks += _fewer_seeds(places, datasets)
    table = np.array(scores, dtype="float64").reshape(len(datasets), len(methods))
    return Standing(metric, budget, methods, datasets, table, tuple(remarks))


def _by_dataset(cells: Iterable[Cell]) -> dict[str, dict[str, list[Cell]]]:
    found: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        name, revision, _ = heading_of(cell)
        found[str(name or "?")][str(revision)].append(cell)
    return found


def _choose(dataset: str, rows: Sequence[Cell], remarks: list[str]) -> Iterator[tuple[str, Cell]]:
    """One row for each method."""
    amounts = Counter(amount for cell in rows for amount in amounts_of([cell]))
    named = dict(zip(map(id, rows), labels(rows), strict=True))
    by_method = defaultdict(list)
    for cell in rows:
        by_method[str(cell.key["method"])].append(cell)
    for method, several in by_method.items():
        counts = several[0]
        if len(several) > 1:
            most = max(amounts[a] for cell in several for a in amounts_of([cell]) or [(0, 0)])
            usual = [c for c in several if any(amounts[a] == most for a in amounts_of([c]))]
            counts = min(usual or several, key=_validation)
            remarks.append(
                f"{method} has several rows on {dataset}; {named[id(counts)]} counts (the "
                "commonest amount, then the lowest validation NLL)."
            )
        yield method, counts


def _validation(cell: Cell) -> float:
    value = cell.mean("validation_nll")
    return value if value == value else float("inf")


def _has(cell: Cell, metric: str) -> bool:
    return bool(np.isfinite(cell.mean(metric)))


def _fewer_seeds(places: dict[str, dict[str, Cell]], datasets: Sequence[str]) -> Iterator[str]:
    partly = [
        f"{method} on {dataset} ({len(cell.well)}/{len(cell.rows)})"
        for dataset in datasets
        for method, cell in places[dataset].items()
        if 0 < len(cell.well) < len(cell.rows)
    ]
    if partly:
        yield f"Means over the seeds that ended well: {', '.join(partly)}."
