"""A comparison as text for a terminal: columns side by side as far as they fit, marks that hang.

The lines are laid out here and not by rich, which takes seconds for thousands of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bench.tables.marks import BELOW, BEST, SECOND
from bench.tables.parts import Entry, Group, Row, Table

#: No text table is wider, however wide the terminal.
WIDTH = 100

#: A longer label goes on in the next line, and so does a longer title.
_LABEL, _TITLE = 48, 40

#: The columns of a group as text, `[column][line]`; the title comes first.
Columns = list[list[str]]


def text(table: Table, console: Console) -> None:
    """Print the table to a rich console, at most `WIDTH` columns wide.

    Columns that don't fit go into further panels below, each with the rows' labels.
    """
    width = min(console.width, WIDTH)
    for group in table.groups:
        heading = Text(group.name, style="bold")
        heading.append("   " + " · ".join(group.facts), style="not bold dim")
        console.print(heading, width=width, highlight=False)
        for panel in _panels(table, group, width):
            block = Text("\n").join(panel)
            console.print(block, width=width, highlight=False, no_wrap=True, overflow="ignore")
        console.print()
    for note in table.notes:
        line = Grid.grid(padding=(0, 1, 0, 0))
        line.add_row(Text(note.mark or " "), Text(note.text, style="dim"))
        console.print(line, width=width, highlight=False)


def _panels(table: Table, group: Group, width: int) -> Iterator[list[Text]]:
    """The lines of each panel."""
    rows = [*group.rows, *group.references]
    labels = [table.titles[0], *map(_label, rows)]
    left = min(max(map(cell_len, labels)), _LABEL)
    head = [[table.titles[1], *(row.seeds for row in rows)]] if table.titles[1] else []
    columns = [_column(table, rows, i) for i in range(len(table.columns))]
    before, widths = ([_width(column) for column in some] for some in (head, columns))
    start = left + sum(1 + n for n in before)
    gap = 2 if start + 1 + sum(2 + n for n in widths) <= width else 1
    panels: list[list[int]] = [[]]
    used = start
    for i, n in enumerate(widths):
        # Of a table that was turned, the methods that were not run here.
        if not table.titles[1] and not any(cell.strip() for cell in columns[i][1:]):
            continue
        if panels[-1] and used + gap + n > width:
            panels.append([])
            used = start
        panels[-1].append(i)
        used += gap + n
    for panel in panels:
        shown = [*head, *(columns[i] for i in panel)]
        sizes = [*before, *(widths[i] for i in panel)]
        yield list(_lines(table, rows, labels, left, shown, sizes, panel, gap, len(group.rows)))


def _lines(
    table: Table,
    rows: Sequence[Row],
    labels: Sequence[str],
    left: int,
    shown: Columns,
    sizes: Sequence[int],
    panel: Sequence[int],
    gap: int,
    end: int,
) -> Iterator[Text]:
    """The titles, a rule, the rows, and after a gap the thresholds."""
    titles = [chop_cells(column[0], _TITLE) or [""] for column in shown]
    height = max(map(len, titles), default=1)
    for i in range(height - 1):
        above = (part[i - height] if len(part) >= height - i else "" for part in titles)
        line = "".join(
            " " * gap + " " * (size - cell_len(part)) + part
            for size, part in zip(sizes, above, strict=True)
        )
        yield Text(" " * left + line, style="bold")
    shown = [[title[-1], *column[1:]] for title, column in zip(titles, shown, strict=True)]
    for number, label in enumerate(labels):
        if number == 1:
            yield Text("─" * (left + sum(gap + n for n in sizes)))
        if number == end + 1:
            yield Text("")
        first, *more = chop_cells(label, left) or [""]
        whole = Text(_padded(first, left), style="bold" if number == 0 else "")
        if number:
            whole.stylize(_style(table, rows[number - 1]))
        faces = [_face(rows[number - 1].entries[i]) if number else "" for i in panel]
        faces = [""] * (len(shown) - len(panel)) + faces
        for column, size, face in zip(shown, sizes, faces, strict=True):
            whole.append(" " * gap + " " * (size - cell_len(column[number])))
            whole.append(column[number], style=face or None)
        yield whole
        yield from (Text(part) for part in more)


def _width(column: list[str]) -> int:
    return max([min(cell_len(column[0]), _TITLE), *map(cell_len, column[1:])])


def _padded(label: str, width: int) -> str:
    return label + " " * (width - cell_len(label))


def _label(row: Row) -> str:
    return row.label + row.marks + (f" {row.verdict}" if row.verdict else "")


def _column(table: Table, rows: Sequence[Row], i: int) -> list[str]:
    """The title and the cells, their marks hanging to the right of where the numbers end."""
    entries = [row.entries[i] for row in rows]
    hang = max((len(_marks(entry)) for entry in entries), default=0)
    cells = [str(e.number or e.word) + _marks(e).ljust(hang) for e in entries]
    return [table.columns[i].title + " " * hang, *cells]


def _marks(entry: Entry) -> str:
    return entry.marks + (BEST if entry.best else "") + (SECOND if entry.second else "")


def _face(entry: Entry) -> str:
    return "bold" if entry.best else "underline" if entry.second else ""


def _style(table: Table, row: Row) -> str:
    """Colours for a terminal; they repeat what the marks and words say."""
    if not table.titles[1]:
        return ""
    if row.seeds.startswith("0/"):
        return "red"
    if BELOW in row.marks:
        return "yellow"
    return "dim" if not row.seeds else ""
