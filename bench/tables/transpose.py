"""A comparison turned: the measures down, what was a row across, a block for each block."""

from __future__ import annotations

from dataclasses import replace

from bench.records.measures import Column
from bench.tables.marks import FLOOR
from bench.tables.parts import Entry, Group, Row, Table

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


def _turned(table: Table, group: Group, labels: list[str]) -> Group:
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
