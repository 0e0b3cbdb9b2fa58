"""What a table is made of: plain data, which the renderers turn into pages."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.records.format import Number
from bench.records.measures import Column
from bench.tables.footnotes import Note
from bench.tables.marks import BELOW


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
class Group:
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
    of seeds. `caption` says what was compared, and on what it rests.
    """

    titles: tuple[str, str]
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    notes: tuple[Note, ...]
    caption: str = ""
