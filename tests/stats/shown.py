"""What a comparison shows, by label and title."""

from __future__ import annotations

from bench.tables.layout import Row, Table


def row(table: Table, label: str, group: str | None = None) -> Row:
    (found,) = (
        r for g in table.groups if group in (None, g.name) for r in g.rows if r.label == label
    )
    return found


def cell(table: Table, label: str, title: str) -> str:
    titles = [column.title for column in table.columns]
    return str(row(table, label).entries[titles.index(title)])


def notes(table: Table) -> str:
    return "\n".join(f"{note.mark} {note.text}".strip() for note in table.notes)
