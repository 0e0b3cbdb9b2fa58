"""Published results, shown beside those of the runs and never ranked with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from io import StringIO
from typing import Any

import pandas as pd

from bench.api.declarations import Column
from bench.records import catalogue
from bench.registry import plugins
from bench.tables.layout import Entry, Note, Row, RowGroup, Table
from bench.tables.marks import BELOW, is_floor

#: The source that methods are compared by here: all of them on the same data, of the same sizes.
SOURCE = "JKO-iFlow poster, Table 1"

#: The columns that published results are shown for.
COMPARED = ("nll", "mmd_m", "mmd_1")


@cache
def published_results() -> tuple[Any, ...]:
    """All published results that are kept here, in the order of the file, as named tuples.

    The fields are the columns of the file: `nll` in nats per row, and the squared MMDs `mmd_m` and
    `mmd_1` (V-statistics) with their thresholds, NaN where there is none. `evidence` says where the
    numbers were read: `poster` and `paper text` were read at the source, `secondary` is a reprint.
    `method` is the paper's own name.
    """
    text = (files("bench_results") / "published.csv").read_text(encoding="utf-8")
    numbers = dict.fromkeys(("nll", "mmd_m", "mmd_1", "tau_m", "tau_1"), "float64")
    frame = pd.read_csv(StringIO(text), dtype=numbers).fillna({"params": "", "note": ""})
    return tuple(frame.itertuples(index=False, name="Published"))


def published_on(dataset: str) -> dict[str, Any]:
    """The results of `SOURCE` on a data set, by the names that methods have here."""
    ours = {paper: name for name in plugins.methods() if (paper := plugins.look(name).paper)}
    found = (one for one in published_results() if one.source == SOURCE and one.dataset == dataset)
    return {ours.get(one.method, one.method): one for one in found}


def with_published(table: Table, frame: pd.DataFrame) -> Table:
    """The comparison of the frame's runs with the published results on its data sets.

    Methods that were published and not run get a row of their own. Published results are never in
    bold and have no rank. A published NLL that is worse than the Gaussian's on the data set here
    is marked as ours are, although it is of other rows of the set; a note says so.
    """
    fitted = frame[frame["method"].map(is_floor) & (frame["status"] == "ok")]
    floors = dict(fitted.groupby("dataset")["nll"].min().dropna())
    columns = [c for name in COMPARED for c in table.columns if c.name == name]
    groups = tuple(_extended(group, columns, floors.get(group.name)) for group in table.groups)
    titles = tuple(
        replace(c, title=f"{c.title}, publ.", latex=rf"{c.latex}, publ.") for c in columns
    )
    marks = {note.mark for note in table.notes if note.mark}
    notes = _notes(sorted({group.name for group in groups}), floors) if table.notes else []
    added = tuple(note for note in notes if not note.mark or note.mark not in marks)
    return replace(table, columns=table.columns + titles, groups=groups, notes=table.notes + added)


def _extended(group: RowGroup, columns: Sequence[Column], floor: float | None) -> RowGroup:
    published = published_on(group.name)

    def extended(row: Row) -> Row:
        found = published.get(_method(row))
        return replace(row, entries=row.entries + _entries(found, columns, floor))

    rows = list(map(extended, group.rows))
    width = len(group.rows[0].entries) if group.rows else 0
    run = {_method(row) for row in group.rows}
    for name, one in published.items():
        if name not in run:
            empty = (Entry(word=""),) * width
            rows.append(Row(one.method, "", "", empty + _entries(one, columns, floor)))
    return replace(group, rows=tuple(rows), references=tuple(map(extended, group.references)))


def _method(row: Row) -> str:
    """The method of a row; rows of one method are numbered."""
    return row.label.partition(" (")[0]


def _entries(one: Any, columns: Sequence[Column], floor: float | None) -> tuple[Entry, ...]:
    if one is None:
        return (Entry(word=""),) * len(columns)
    entries = []
    for column in columns:
        value = getattr(one, column.name)
        below = column.name == "nll" and floor is not None and value > floor
        number = catalogue.number(column.name, value)
        known = Entry(number, marks=BELOW if below else "", value=value)
        entries.append(known if value == value else Entry())
    return tuple(entries)


def _notes(datasets: Sequence[str], floors: dict[str, float]) -> list[Note]:
    found = {name: published_on(name) for name in datasets}
    if not any(found.values()):
        return [Note("", f"{SOURCE}, has no results on these data sets.")]
    printed = (
        f"publ.: {SOURCE}, as printed. Other rows of the data, another solver and other budgets: "
        "not part of any test or rank, and never in bold."
    )
    notes = [Note("", printed)]
    every = [each for results in found.values() for each in results.values()]
    if bounds := ", ".join(sorted({each.method for each in every if "ELBO" in each.note})):
        notes.append(Note("", f"publ.: the NLL of {bounds} is reportedly a bound (ELBO)."))
    worse = {
        name: [each.method for each in results.values() if each.nll > floors[name]]
        for name, results in found.items()
        if name in floors
    }
    places = "; ".join(f"{name}: {', '.join(each)}" for name, each in worse.items() if each)
    if places:
        notes.append(Note(BELOW, "Worse than a Gaussian fitted to the mini-batches, by its NLL."))
        notes.append(Note("", f"Published NLL worse than the Gaussian's here: {places}."))
    return notes
