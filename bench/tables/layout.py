"""What a table is made of, how its rows are arranged in blocks, and what each is called."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Literal

from bench.records.format import Number, measured, whole
from bench.records.frame import Cell
from bench.records.measures import Column
from bench.tables.marks import BELOW, FLOOR, Contest, amounts_of, heading_of


@dataclass(frozen=True)
class Note:
    """A footnote, for all that bear its mark, or for the whole table where it has none."""

    mark: str
    text: str


@dataclass(frozen=True)
class Entry:
    """One cell: a number, or the word that stands in its place; then its marks.

    The best ones are shown in bold, the second best underlined. `value` is the number before it was
    rounded, to sort by.
    """

    number: Number | None = None
    word: str = "–"
    marks: str = ""
    best: bool = False
    second: bool = False
    value: float | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return (str(self.number) if self.number else self.word) + self.marks


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
        return "below floor" if BELOW in self.marks else ""


@dataclass(frozen=True)
class RowGroup:
    """A block of rows; by data set, those that may be compared.

    `facts` belong into its heading; `short` are those of them that a printed heading has room for.
    `references` are the rows of the true data's thresholds.
    """

    name: str
    facts: tuple[str, ...]
    rows: tuple[Row, ...]
    references: tuple[Row, ...]
    short: tuple[str, ...] = ()


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

    A method with several cells is told apart by what differs between them, and by numbers where
    that is too much to be read in a row.
    """
    by_method = defaultdict(list)
    for cell in members:
        by_method[str(cell.key["method"])].append(cell)
    found: dict[int, Label] = {}
    for name, rows in by_method.items():
        found |= dict(zip(map(id, rows), _numbered(name, _differences(rows)), strict=True))
    return [found[id(cell)] for cell in members]


def _numbered(name: str, told: Sequence[Sequence[str]]) -> list[Label]:
    """By what differs; by numbers where that is too long, or does not tell the rows apart."""
    texts = [", ".join(parts) for parts in told]
    named = [Label(f"{name} ({text})" if text else name) for text in texts]
    few = all(len(parts) <= MOST for parts in told)
    short = len(told) == 1 or max(len(label.text) for label in named) <= LONGEST
    if few and short and len(set(named)) == len(named):
        return named
    return [Label(f"{name} ({i})", text) for i, text in enumerate(texts, start=1)]


def _differences(rows: Sequence[Cell]) -> list[list[str]]:
    """For each of a method's cells, what it has and not all of them have."""
    chosen = [_settings(row) for row in rows]
    keys = [k for k in _KEYS if _differ([row.key for row in rows], k)]
    settings = [k for k in dict.fromkeys(k for each in chosen for k in each) if _differ(chosen, k)]
    return [
        [_KEYS[k](row.key[k]) for k in keys if row.key[k] is not None]
        + [_line(f"{k}={_plain(each[k])}") for k in settings if k in each]
        for row, each in zip(rows, chosen, strict=True)
    ]


def _settings(cell: Cell) -> dict[str, Any]:
    text = cell.shared("config")
    found: dict[str, Any] = json.loads(text) if text is not None else {}
    return found


def _differ(each: Sequence[dict[str, Any]], key: str) -> bool:
    return len({json.dumps(values[key]) if key in values else None for values in each}) > 1


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _line(text: str) -> str:
    return " ".join(text.split())


#: What a block of rows is.
By = Literal["dataset", "method", "budget"]
BY: tuple[By, ...] = ("dataset", "method", "budget")

#: What the rows of such a block are.
ROWS: dict[By, str] = {"dataset": "method", "method": "data set", "budget": "data set: method"}

#: How a heading calls data that are not the whole published set.
_KINDS = {
    "subset": "a subset",
    "redrawn": "redrawn",
    "own": "the user's table",
}


@dataclass(frozen=True)
class CellGroup:
    """Cells that stand together, with their labels; the facts of the heading, and the short ones.

    `alone` is true where they are on one revision of a data set, under one budget.
    """

    name: str
    facts: tuple[str, ...]
    short: tuple[str, ...]
    cells: tuple[Cell, ...]
    labels: tuple[str, ...]
    alone: bool


def blocks(known: Sequence[Cell], by: By) -> list[CellGroup]:
    """The blocks of a comparison's cells, which come in the order of `marks.place_of`."""
    headings = [(heading, list(members)) for heading, members in groupby(known, heading_of)]
    named = {
        id(cell): str(label)
        for _, members in headings
        for cell, label in zip(members, _labels(members), strict=True)
    }
    if by == "dataset":
        several = len({heading[2] for heading, _ in headings}) > 1
        return [
            CellGroup(
                str(heading[0] or "?"),
                (*_facts(members), *_setting(heading, members)),
                (*_facts(members), *(_setting(heading, members)[:1] if several else ())),
                tuple(members),
                tuple(named[id(cell)] for cell in members),
                True,
            )
            for heading, members in headings
        ]
    places = _places([heading for heading, _ in headings], by)
    apart: dict[str, list[Cell]] = defaultdict(list)
    for cell in known:
        apart[str(cell.key["method"] if by == "method" else heading_of(cell)[2] or "?")].append(
            cell
        )
    found = []
    for name, members in sorted(apart.items(), key=lambda each: (each[0] == FLOOR, each[0])):
        told = []
        for cell in members:
            place, label = places[heading_of(cell)], named[id(cell)]
            if by == "method" and "run" not in cell.key:
                told.append(place + label.removeprefix(name))
            else:
                told.append(label if "run" in cell.key else f"{place}: {label}")
        title = name if by == "method" else f"budget {name}"
        found.append(CellGroup(title, (), (), tuple(members), tuple(told), False))
    return found


def place_notes(known: Sequence[Cell], by: By) -> Iterable[Note]:
    """What the headings of data sets say, where there are none."""
    if by == "dataset":
        return
    headings = [(heading, list(members)) for heading, members in groupby(known, heading_of)]
    places = _places([heading for heading, _ in headings], by)
    for heading, members in headings:
        facts = ", ".join((*_facts(members), *_setting(heading, members)))
        yield Note("", f"{places[heading]}: {facts}.")


def _labels(members: Sequence[Cell]) -> Sequence[object]:
    return [c.key["run"] for c in members] if "run" in members[0].key else labels(members)


def _places(headings: Sequence[tuple[Any, ...]], by: By) -> dict[tuple[Any, ...], str]:
    """Each heading in a few words: the data set, and what tells it from others of its name."""
    names = Counter(heading[0] for heading in headings)
    budgets = Counter((heading[0], heading[2]) for heading in headings)
    revisions = {name: {h[1] for h in headings if h[0] == name} for name in names}
    found = {}
    for heading in headings:
        name, revision, budget = heading
        told = []
        if by == "method" and budgets[name, budget] < names[name]:
            told.append(f"budget {budget}")
        if len(revisions[name]) > 1:
            told.append(f"revision {str(revision)[:8]}")
        found[heading] = f"{name or '?'}" + (f" ({', '.join(told)})" if told else "")
    return found


def _facts(members: Sequence[Cell]) -> tuple[str, ...]:
    """What is to be known of the data."""
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


def _setting(heading: tuple[Any, ...], members: Sequence[Cell]) -> tuple[str, str]:
    """The budget and the revision."""
    each = ", ".join(f"{whole(n)} × {whole(b)} rows" for n, b in amounts_of(members))
    budget = f"budget {heading[2] or '?'}" + (f" ({each})" if each else "")
    return budget, f"revision {str(heading[1] or 'unknown')[:8]}"


_NOTHING = Entry(word="")


def transposed(table: Table) -> Table:
    """The same cells, with a column for each label of a row; empty where a block has none such.

    The thresholds of true data are the last column. A line of words says what a row's marks said.
    """
    labels = list(dict.fromkeys(row.label for group in table.groups for row in group.rows))
    labels.sort(key=lambda label: label.split(" (")[0] == FLOOR)
    for group in table.groups:
        labels += [row.label for row in group.references if row.label not in labels]
    return replace(
        table,
        titles=("", ""),
        columns=tuple(Column(label, "") for label in labels),
        groups=tuple(_turned(table, group, labels) for group in table.groups),
    )


def _turned(table: Table, group: RowGroup, labels: list[str]) -> RowGroup:
    known = {row.label: row for row in (*group.rows, *group.references)}
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
        said = (Entry(word=row.verdict, marks=row.marks) if row else _NOTHING for row in rows)
        lines.append(Row("remarks", "", "", tuple(said), latex="Remarks"))
    return replace(group, rows=tuple(lines), references=())
