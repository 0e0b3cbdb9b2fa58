"""Published results, shown beside those of the runs and never ranked with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from io import StringIO
from typing import Any, NamedTuple

import pandas as pd

from bench.records.format import Number, measured, scientific
from bench.records.measures import MEASURES, Measure
from bench.tables.layout import Entry, Note, Row, RowGroup, Table
from bench.tables.marks import BELOW, FLOOR

#: The names of the methods here, and in the papers.
NAMES = {
    "jko": "JKO-iFlow",
    "ot-flow": "OT-Flow",
    "ffjord": "FFJORD",
    "score-sde": "ScoreSDE",
    "ignn": "IGNN",
    "iresnet": "IResNet",
}

#: The source that methods are compared by here: all of them on the same data, of the same sizes.
SOURCE = "JKO-iFlow poster, Table 1"


class PublishedResult(NamedTuple):
    """A published line: likelihood in nats per row, squared MMDs (V-statistics) where it has them.

    `evidence` says how the figure came here: `poster` and `paper text` were read at the source,
    `secondary` is a reprint. `method` is the paper's own name.
    """

    source: str
    evidence: str
    dataset: str
    d: int
    method: str
    params: str
    nll: float
    mmd_m: float
    mmd_1: float
    tau_m: float
    tau_1: float
    note: str


@cache
def published_results() -> tuple[PublishedResult, ...]:
    """All published figures that are kept here, in the order of the file."""
    text = (files("bench_results") / "published.csv").read_text(encoding="utf-8")
    frame = pd.read_csv(StringIO(text), keep_default_na=False)
    numbers = ("nll", "mmd_m", "mmd_1", "tau_m", "tau_1")
    rows = []
    for row in frame.to_dict("records"):
        values: dict[str, Any] = {str(name): value for name, value in row.items()}
        for name in numbers:
            values[name] = float(values[name]) if values[name] != "" else float("nan")
        rows.append(PublishedResult(**values))
    return tuple(rows)


def published_on(dataset: str) -> dict[str, PublishedResult]:
    """The figures of `SOURCE` on a data set, by the names that methods have here."""
    ours = {paper: name for name, paper in NAMES.items()}
    found = (f for f in published_results() if f.source == SOURCE and f.dataset == dataset)
    return {ours.get(figure.method, figure.method): figure for figure in found}


#: What a published line is compared by.
COMPARED = ("nll", "mmd_m", "mmd_1")


def with_published(table: Table, frame: pd.DataFrame) -> Table:
    """The comparison of the frame's runs, with the published figures of its data sets.

    Methods that were published and not run get a row that is empty but for these. None of it is
    ever in bold or has a rank. A published NLL that is worse than the Gaussian that was run here
    on the data set is marked as ours are; the rows are then other rows of the same set at best, and
    the footnote says so.
    """
    floors = _floors(frame)
    columns = [name for name in COMPARED if MEASURES[name] in table.columns]
    groups = tuple(_beside(group, columns, floors.get(group.name)) for group in table.groups)
    titles = tuple(_title(MEASURES[name]) for name in columns)
    notes = tuple(_notes(sorted({group.name for group in groups}), floors))
    return replace(
        table, columns=table.columns + titles, groups=groups, notes=_known(table.notes, notes)
    )


def _floors(frame: pd.DataFrame) -> dict[str, float]:
    """The lowest NLL of a fitted Gaussian on each data set."""
    fitted = frame[(frame["method"] == FLOOR) & (frame["status"] == "ok")]
    found = fitted.groupby("dataset")["nll"].min().dropna()
    return {str(name): float(nll) for name, nll in found.items()}


def _title(column: Measure) -> Measure:
    return replace(column, title=f"{column.title}, publ.", latex=rf"{column.latex}, publ.")


def _beside(group: RowGroup, columns: Sequence[str], floor: float | None) -> RowGroup:
    figures = published_on(group.name)
    rows = [
        replace(row, entries=row.entries + _entries(figures.get(_method(row)), columns, floor))
        for row in group.rows
    ]
    width = len(group.rows[0].entries) if group.rows else 0
    run = {_method(row) for row in group.rows}
    for name, figure in figures.items():
        if name not in run:
            empty = (Entry(word=""),) * width
            rows.append(Row(figure.method, "", "", empty + _entries(figure, columns, floor)))
    blank = (Entry(word=""),) * len(columns)
    references = tuple(replace(row, entries=row.entries + blank) for row in group.references)
    return replace(group, rows=tuple(rows), references=references)


def _method(row: Row) -> str:
    """The method that a row is of; rows of one method are numbered."""
    return row.label.partition(" (")[0]


def _entries(
    figure: PublishedResult | None, columns: Sequence[str], floor: float | None
) -> tuple[Entry, ...]:
    if figure is None:
        return (Entry(word=""),) * len(columns)
    return tuple(_entry(name, getattr(figure, name), floor) for name in columns)


def _entry(name: str, value: float, floor: float | None) -> Entry:
    if value != value:
        return Entry()
    number: Number = measured(value) if name == "nll" else scientific(value)
    below = name == "nll" and floor is not None and value > floor
    return Entry(number, marks=BELOW if below else "", value=value)


def _known(notes: Sequence[Note], more: Sequence[Note]) -> tuple[Note, ...]:
    """The notes, then those of them that are not there yet."""
    marks = {note.mark for note in notes if note.mark}
    return (*notes, *(note for note in more if not note.mark or note.mark not in marks))


def _notes(datasets: Sequence[str], floors: dict[str, float]) -> list[Note]:
    found = {name: published_on(name) for name in datasets}
    if not any(found.values()):
        return [Note("", f"Published: {SOURCE} has none of these data sets.")]
    notes = [
        Note(
            "",
            f"publ.: {SOURCE}, as printed: other rows, another solver, its own budgets; beside "
            "ours, and part of no rank, test or bold face.",
        )
    ]
    bounds = sorted(
        {f.method for figures in found.values() for f in figures.values() if "ELBO" in f.note}
    )
    if bounds:
        notes.append(
            Note("", f"publ.: the NLL of {', '.join(bounds)} is reportedly an ELBO, a bound.")
        )
    worse = {
        name: [f.method for f in figures.values() if f.nll > floors[name]]
        for name, figures in found.items()
        if name in floors
    }
    said = "; ".join(f"{name}: {', '.join(methods)}" for name, methods in worse.items() if methods)
    if said:
        text = f"Worse than a fitted Gaussian, as published: {said}."
        notes.append(Note("", text))
        notes.append(Note(BELOW, "Below the floor: worse than one fitted Gaussian."))
    return notes
