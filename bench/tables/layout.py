"""What a table is made of, how its rows are arranged in blocks, and what each is called."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bench.api.declarations import Column
from bench.records.format import Number, measured, whole
from bench.records.frame import Cell
from bench.tables.marks import BELOW, Contest, amounts_of, grouped, heading_of, is_floor


@dataclass(frozen=True)
class Note:
    """A footnote, for all that bear its mark, or for the whole table where it has none."""

    mark: str
    text: str


@dataclass(frozen=True)
class Entry:
    """One cell: a number, or a word in its place; then its marks.

    The best ones are shown in bold, the second best underlined. `words` say the same as the number
    at more length, for forms that have room. `value` is the number before it was rounded, to sort
    by.
    """

    number: Number | None = None
    word: str = "–"
    words: str = ""
    marks: str = ""
    best: bool = False
    second: bool = False
    value: float | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return (self.words or str(self.number or self.word)) + self.marks


@dataclass(frozen=True)
class Row:
    """A line: its label and marks, its seeds (3, or 2/3 where one failed), its cells.

    `latex` is the label in LaTeX, where it is not the label that is to be escaped.
    """

    label: str
    marks: str
    seeds: str
    entries: tuple[Entry, ...]
    latex: str = ""

    @property
    def verdict(self) -> str:
        """What its marks say of the whole row, in words."""
        return "worse than a Gaussian" if BELOW in self.marks else ""


@dataclass(frozen=True)
class RowGroup:
    """A block of rows; by data set, those that may be compared.

    `facts` belong into its heading; `short` are those of them that a printed heading has room for.
    `references` are the rows of the true data's thresholds, `revision` is that of the data.
    """

    name: str
    facts: tuple[str, ...]
    rows: tuple[Row, ...]
    references: tuple[Row, ...]
    short: tuple[str, ...] = ()
    revision: str = ""

    @property
    def lines(self) -> tuple[Row, ...]:
        """The rows and the references."""
        return (*self.rows, *self.references)

    @property
    def all_facts(self) -> tuple[str, ...]:
        """The facts and the revision."""
        return (*self.facts, self.revision) if self.revision else self.facts


@dataclass(frozen=True)
class Table:
    """A comparison, ready to render.

    `titles` are those of the labels and of the seeds; the second is empty where there is no column
    of seeds. `caption` says what was compared, and on what it rests. `contests` are the rows whose
    NLLs were tested against each other.
    """

    titles: tuple[str, str]
    columns: tuple[Column, ...]
    groups: tuple[RowGroup, ...]
    notes: tuple[Note, ...]
    caption: str = ""
    contests: tuple[Contest, ...] = ()


#: Rows that differ in more settings than these, or whose label were longer, are numbered.
MOST, LONGEST = 3, 44

#: What tells cells apart besides their settings, and how it is said.
_KEYS: dict[str, Callable[[Any], str]] = {
    "version": lambda value: f"version {str(value)[:8]}",
    "device": lambda value: f"on {value}",
    "planned_minibatches": lambda value: f"{whole(value)} mini-batches",
    "batch_size": lambda value: f"batch size {whole(value)}",
}


@dataclass(frozen=True)
class Label:
    """`ffjord`, `ffjord (width=512)`, or `ffjord (2)` and what the number stands for."""

    text: str
    meaning: str = ""

    def __str__(self) -> str:
        return self.text


def labels(members: Sequence[Cell]) -> list[Label]:
    """The label of each of a group's cells.

    Several cells of a method are labelled by what differs between them, or numbered where that is
    too long; cells of single runs by the run's name.
    """
    if members and "run" in members[0].key:
        return [Label(cell.key["run"]) for cell in members]
    found: dict[int, Label] = {}
    for name, rows in grouped(members, lambda cell: str(cell.key["method"])).items():
        # In one order, however the table is sorted: ffjord (2) is the same everywhere.
        rows.sort(key=lambda cell: [(value is None, value or 0) for value in cell.key.values()])
        differences = _differences(rows) if len(rows) > 1 else [[]]
        texts = [", ".join(parts) for parts in differences]
        named = [Label(f"{name} ({text})" if text else name) for text in texts]
        few = all(len(parts) <= MOST for parts in differences)
        short = len(rows) == 1 or max(len(label.text) for label in named) <= LONGEST
        if not (few and short and len(set(named)) == len(named)):
            named = [Label(f"{name} ({i})", text) for i, text in enumerate(texts, start=1)]
        found |= dict(zip(map(id, rows), named, strict=True))
    return [found[id(cell)] for cell in members]


def _differences(rows: Sequence[Cell]) -> list[list[str]]:
    """For each of a method's cells, what it has and not all of them have."""
    named = []
    for row in rows:
        parts = {k: say(row.key[k]) for k, say in _KEYS.items() if row.key[k] is not None}
        for name, value in json.loads(row.shared("config") or "{}").items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            parts[f"{name}="] = " ".join(f"{name}={text}".split())
        named.append(parts)
    every = dict.fromkeys(k for each in named for k in each)
    differ = [k for k in every if len({each.get(k) for each in named}) > 1]
    return [[each[k] for k in differ if k in each] for each in named]


#: What a block of rows is.
By = Literal["dataset", "method", "budget"]

#: What the rows of such a block are.
ROWS: dict[By, str] = {"dataset": "method", "method": "data set", "budget": "data set: method"}

#: How a heading calls data that are not the whole published set.
_KINDS = {"subset": "a subset", "redrawn": "redrawn", "own": "the user's table"}


def blocks(
    known: Sequence[Cell], by: By
) -> Iterator[tuple[RowGroup, Sequence[Cell], Sequence[str]]]:
    """The blocks of a comparison: a group without rows, its cells, and their labels.

    The cells come with those of each heading together.
    """
    headings = grouped(known, heading_of)
    named = {
        id(cell): str(label)
        for members in headings.values()
        for cell, label in zip(members, labels(members), strict=True)
    }
    if by == "dataset":
        several = len({heading[2] for heading in headings}) > 1
        for heading, members in headings.items():
            facts, budget, revision = _facts(members), _budget(heading, members), heading[1]
            short = (*facts, *([budget] if several else []))
            group = RowGroup(
                str(heading[0] or "?"), (*facts, budget), (), (), short, _revision(revision)
            )
            yield group, members, [named[id(cell)] for cell in members]
        return
    places = _places(headings, by)
    apart = grouped(
        known, lambda c: str((c.key["method"] if by == "method" else heading_of(c)[2]) or "?")
    )
    for name, cells in sorted(apart.items(), key=lambda each: (is_floor(each[0]), each[0])):
        texts = []
        for cell in cells:
            place, label = places[heading_of(cell)], named[id(cell)]
            if "run" in cell.key:
                texts.append(label)
            elif by == "method":
                texts.append(place + label.removeprefix(name))
            else:
                texts.append(f"{place}: {label}")
        yield RowGroup(name if by == "method" else f"budget {name}", (), (), ()), cells, texts


def place_notes(known: Sequence[Cell], by: By) -> Iterable[Note]:
    """What the headings of data sets say, where there are none."""
    if by == "dataset":
        return
    headings = grouped(known, heading_of)
    places = _places(headings, by)
    for heading, members in headings.items():
        facts = (*_facts(members), _budget(heading, members), _revision(heading[1]))
        yield Note("", f"{places[heading]}: {', '.join(facts)}.")


def _places(headings: Collection[tuple[Any, ...]], by: By) -> dict[tuple[Any, ...], str]:
    """Each heading in a few words: the data set, and how it differs from others of its name."""
    names = Counter(heading[0] for heading in headings)
    budgets = Counter((heading[0], heading[2]) for heading in headings)
    revisions = {name: {h[1] for h in headings if h[0] == name} for name in names}
    found = {}
    for heading in headings:
        name, revision, budget = heading
        parts = []
        if by == "method" and budgets[name, budget] < names[name]:
            parts.append(f"budget {budget}")
        if len(revisions[name]) > 1:
            parts.append(_revision(revision))
        found[heading] = f"{name or '?'}" + (f" ({', '.join(parts)})" if parts else "")
    return found


def _facts(members: Sequence[Cell]) -> tuple[str, ...]:
    """Dimension, kind and entropy of the data."""
    d, kind, entropy, subset = (
        next((v for v in (c.shared(n) for c in members) if v is not None), None)
        for n in ("d", "data_kind", "entropy", "subset")
    )
    facts = [f"d = {d}"] if d is not None else []
    if kind in _KINDS or subset:
        facts.append(_KINDS.get(str(kind), _KINDS["subset"]))
    if entropy is not None:
        facts.append(f"best attainable NLL {measured(float(entropy))}")
    return tuple(facts)


def _budget(heading: tuple[Any, ...], members: Sequence[Cell]) -> str:
    each = ", ".join(f"{whole(n)} × {whole(b)} rows" for n, b in amounts_of(members))
    return f"budget {heading[2] or '?'}" + (f" ({each})" if each else "")


def _revision(revision: object) -> str:
    return f"revision {str(revision or 'unknown')[:8]}"


_NOTHING = Entry(word="")


def transposed(table: Table) -> Table:
    """The same cells with a column for each row; empty where a block has no row of that label.

    The thresholds of true data are the last column. A line of remarks has the rows' marks.
    """
    labels = list(dict.fromkeys(row.label for group in table.groups for row in group.rows))
    labels.sort(key=lambda label: is_floor(label.split(" (")[0]))
    for group in table.groups:
        labels += [row.label for row in group.references if row.label not in labels]
    return replace(
        table,
        titles=("", ""),
        columns=tuple(Column(label, "", title=label) for label in labels),
        groups=tuple(_turned(table, group, labels) for group in table.groups),
    )


def _turned(table: Table, group: RowGroup, labels: list[str]) -> RowGroup:
    known = {row.label: row for row in group.lines}
    rows = [known.get(label) for label in labels]
    lines = []
    if table.titles[1]:
        words = (Entry(word=row.seeds) if row else _NOTHING for row in rows)
        title = table.titles[1]
        lines.append(Row(title, "", "", tuple(words), latex=title.capitalize()))
    for i, column in enumerate(table.columns):
        entries = tuple(row.entries[i] if row else _NOTHING for row in rows)
        lines.append(Row(column.title, "", "", entries, latex=column.latex))
    if any(row.marks for row in group.rows):
        marks = (Entry(word=row.verdict, marks=row.marks) if row else _NOTHING for row in rows)
        lines.append(Row("remarks", "", "", tuple(marks), latex="Remarks"))
    return replace(group, rows=tuple(lines), references=())
