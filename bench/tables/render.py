"""A comparison as text, Markdown, HTML, LaTeX and CSV."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import Literal

import pandas as pd
from markupsafe import Markup
from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bench.errors import unknown
from bench.records import catalogue
from bench.records.frame import summary
from bench.tables.comparison import AMOUNTS, NARROW, WIDE, Notes, comparison
from bench.tables.details import show as show_details
from bench.tables.latex import LABEL, latex, templates
from bench.tables.layout import By, Entry, Row, RowGroup, Table, transposed
from bench.tables.marks import BELOW, BEST, SECOND
from bench.tables.published import with_published
from bench.terminal import visible

#: The forms of a table, and how a file's name ends that holds one.
FORMS = {"text": "txt", "latex": "tex", "markdown": "md", "csv": "csv", "html": "html"}

#: No text table is wider, however wide the terminal; a file has the width of most terminals.
WIDTH, PAGE = 100, 80

#: A longer label goes on in the next line, and so does a longer title, and words without room.
_LABEL, _TITLE, _WORDS = 48, 40, 18


@dataclass(frozen=True)
class TableOptions:
    """What a table shows, and how; no metrics are the usual ones of its form.

    Without `notes`, text has the short ones and any other form all. With `details`, text shows what
    each number rests on instead of the table.
    """

    metrics: tuple[str, ...] = ()
    details: bool = False
    by_run: bool = False
    by: By = "dataset"
    sort: str = "nll"
    notes: Notes | None = None
    transpose: bool = False
    published: bool = False
    standalone: bool = False
    siunitx: bool = False
    caption: str | None = None
    label: str | None = None


def usual_columns(form: str) -> tuple[str, ...]:
    """The columns of a form unless others are asked for."""
    return {"text": NARROW, "csv": tuple(catalogue.measures())}.get(form, WIDE)


def table_of(frame: pd.DataFrame, form: str, options: TableOptions, results: Path) -> Table:
    """The comparison of the runs, for any form but CSV; `results` is their folder.

    Raises:
        UsageError: a column has an unknown name.
    """
    table = comparison(
        frame,
        options.metrics or usual_columns(form),
        by_run=options.by_run,
        by=options.by,
        results=results,
        sort=options.sort,
        notes=options.notes or ("short" if form == "text" else "full"),
    )
    if options.published:
        table = with_published(table, frame)
    if options.caption is not None:
        table = replace(table, caption=options.caption)
    return transposed(table) if options.transpose else table


def page(frame: pd.DataFrame, form: str, options: TableOptions, results: Path) -> str:
    """The table in one of `FORMS`; the details, which are text, have 100 columns.

    Raises:
        UsageError: as `table_of`.
    """
    if form == "csv":
        return _csv(frame, options)
    if form == "text":
        width = WIDTH if options.details else PAGE
        return _printed(width, lambda console: show(frame, options, results, console))
    table = table_of(frame, form, options, results)
    if form == "latex":
        label = options.label or LABEL
        return latex(table, standalone=options.standalone, siunitx=options.siunitx, label=label)
    return render(table, form)


def show(frame: pd.DataFrame, options: TableOptions, results: Path, console: Console) -> None:
    """Print the table, or the details, to a rich console.

    Raises:
        UsageError: as `table_of`.
    """
    if options.details:
        show_details(frame, console, results=results)
    else:
        text(table_of(frame, "text", options, results), console)


def render(table: Table, form: str) -> str:
    """The table in the form `text` (without colours), `latex`, `markdown` or `html`.

    Raises:
        UsageError: there is no such form.
    """
    if form == "text":
        return _printed(PAGE, lambda console: text(table, console))
    forms = {"latex": latex, "markdown": markdown, "html": html}
    if form not in forms:
        raise unknown("format", form, [*forms, "text"])
    return forms[form](table)


def _printed(width: int, print_to: Callable[[Console], None]) -> str:
    """What is printed to a console of this width without colours."""
    page = io.StringIO()
    print_to(Console(file=page, width=width, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


def _csv(frame: pd.DataFrame, options: TableOptions) -> str:
    """Every column, or those that say what ran and the metrics asked for."""
    measures = catalogue.measures()
    shown = frame if options.by_run else summary(frame)
    if options.sort != TableOptions.sort:
        by = options.sort if options.sort in shown else f"{options.sort}_mean"
        lower = measures[options.sort].better != "higher"
        shown = shown.sort_values(by, ascending=lower, kind="stable")
    if options.metrics:
        others = set(measures) - set(options.metrics) - set(AMOUNTS)
        left_out = others | {f"{name}{part}" for name in others for part in ("_mean", "_sd")}
        shown = shown[[name for name in shown.columns if name not in left_out]]
    texts = shown.select_dtypes(exclude=["number", "bool"])
    shown = shown.assign(**{str(name): column.map(_plain_text) for name, column in texts.items()})
    return str(shown.to_csv(index=False, lineterminator="\n"))


def _plain_text(cell: object) -> object:
    """The cell of a CSV, with an apostrophe where a spreadsheet would take a text for a formula."""
    formula = isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{cell}" if formula else cell


# Text. The lines are laid out here and not by rich, which takes seconds for thousands of rows.


#: The lines of each cell of a column, the title first, all of one width.
TextColumn = list[list[Text]]


def text(table: Table, console: Console) -> None:
    """Print the table to a rich console, at most `WIDTH` columns wide.

    Columns that don't fit go into further panels below, each with the rows' labels.
    """
    width = min(console.width, WIDTH)
    names = Counter(group.name for group in table.groups)
    seeds = {row.seeds for group in table.groups for row in group.rows if row.seeds}
    show_seeds = table.titles[1] == "seed" or len(seeds) > 1 or any("/" in n for n in seeds)
    for group in table.groups:
        facts = group.all_facts if names[group.name] > 1 else group.facts
        heading = Text(visible(group.name, keep=""), style="bold")
        heading.append(visible("   " + " · ".join(facts), keep=""), style="not bold dim")
        console.print(heading, width=width, highlight=False)
        for panel in _panels(table, group, width, seeds=bool(table.titles[1]) and show_seeds):
            console.print(panel, width=width, highlight=False, no_wrap=True, overflow="ignore")
        console.print()
    for note in table.notes:
        line = Grid.grid(padding=(0, 1, 0, 0))
        line.add_row(Text(note.mark or " "), Text(note.text, style="dim"))
        console.print(line, width=width, highlight=False)


def _panels(table: Table, group: RowGroup, width: int, *, seeds: bool) -> Iterator[Text]:
    """A text for each panel: as many columns as fit side by side."""
    rows, marked = group.lines, bool(table.titles[1])
    texts = [table.titles[0], *(row.label + row.marks * marked for row in rows)]
    left = min(max(map(cell_len, texts)), _LABEL)
    names = [chop_cells(each, left) or [""] for each in texts]
    before = [_aligned(names, [_row_style(table, row) for row in rows], "left")]
    if seeds:
        numbers = [[table.titles[1]], *([row.seeds] for row in rows)]
        before.append(_aligned(numbers, [""] * len(rows), "right"))
    places = range(len(table.columns))
    columns = [_text_column(table, rows, i, wrapped=False) for i in places]
    if _total([*before, *columns], 1) > width:
        columns = [_text_column(table, rows, i, wrapped=True) for i in places]
    if not marked:
        # Of a transposed table, the methods that were not run here.
        columns = [c for c in columns if any(line.plain.strip() for cell in c[1:] for line in cell)]
    gap = 2 if _total([*before, *columns], 2) <= width else 1
    panels: list[list[TextColumn]] = [[]]
    for column in columns:
        if panels[-1] and _total([*before, *panels[-1], column], gap) > width:
            panels.append([])
        panels[-1].append(column)
    for panel in panels:
        yield Text("\n").join(_lines([*before, *panel], gap, len(group.rows)))


def _total(columns: Sequence[TextColumn], gap: int) -> int:
    return sum(column[0][0].cell_len + gap for column in columns) - gap


def _lines(columns: Sequence[TextColumn], gap: int, end: int) -> Iterator[Text]:
    """The titles, a rule, the rows, and after a blank line the thresholds."""
    for number, cells in enumerate(zip(*columns, strict=True)):
        if number == 1:
            yield Text("─" * _total(columns, gap))
        if number == end + 1:
            yield Text("")
        height, filled = max(map(len, cells)), []
        for cell in cells:
            blank = [Text(" " * cell[0].cell_len)] * (height - len(cell))
            filled.append(cell + blank if number else blank + cell)
        for line in zip(*filled, strict=True):
            yield Text(" " * gap).join(line)


def _text_column(table: Table, rows: Sequence[Row], i: int, *, wrapped: bool) -> TextColumn:
    """The title and the cells, their marks to the right of where the numbers end."""
    entries = [row.entries[i] for row in rows]
    hang = max((len(_text_marks(entry)) for entry in entries), default=0)
    cells = [[line + " " * hang for line in chop_cells(table.columns[i].title, _TITLE) or [""]]]
    for entry in entries:
        lines = [entry.words or str(entry.number or entry.word)]
        if wrapped and entry.words:
            unbroken = entry.words.replace(" = ", "\u00a0=\u00a0")
            lines = [line.replace("\u00a0", " ") for line in wrap(unbroken, _WORDS)]
        cells.append([*lines[:-1], lines[-1] + _text_marks(entry).ljust(hang)])
    styles = ["bold" if e.best else "underline" if e.second else "" for e in entries]
    numbers = [entry for entry in entries if entry.number]
    worded = numbers and all(entry.words for entry in numbers)
    return _aligned(cells, styles, "left" if worded else "right")


def _aligned(
    cells: Sequence[Sequence[str]], styles: Sequence[str], align: Literal["left", "right"]
) -> TextColumn:
    """The column of these lines; the styles are those of the cells below the title."""
    cells = [[visible(line, keep="") for line in cell] for cell in cells]
    width = max(cell_len(line) for cell in cells for line in cell)
    column = [
        [Text(line, style) for line in cell]
        for cell, style in zip(cells, ["bold", *styles], strict=True)
    ]
    for line in (line for cell in column for line in cell):
        line.align(align, width)
    return column


def _text_marks(entry: Entry) -> str:
    return entry.marks + (BEST if entry.best else "") + (SECOND if entry.second else "")


def _row_style(table: Table, row: Row) -> str:
    """A label's colour in a terminal; it repeats what the marks and words say."""
    failed, below = row.seeds.startswith("0/"), BELOW in row.marks
    style = "red" if failed else "yellow" if below else "" if row.seeds else "dim"
    return style if table.titles[1] else ""


# Markdown and HTML.


def escape_markdown(text: object) -> str:
    """Text as Markdown that shows it, inside a table's cell too."""
    plain = " ".join(str(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + letter if letter in r"\`*_{}[]#|~$^" else letter for letter in plain)


def markdown(table: Table) -> str:
    """The table as GitHub's Markdown: one table for each group, then the notes."""
    environment = templates({"filled": _filled}, finalize=escape_markdown)
    return environment.get_template("table.md.j2").render(table=table)


def html(table: Table) -> str:
    """The table and its notes as an HTML fragment: a `table.bench` and a `ul.notes`."""
    return html_grid(table) + html_notes(table)


def html_grid(table: Table, caption: str = "") -> Markup:
    """The table alone, with another caption; a cell's `data-value` is its number unrounded."""
    return _html("table.html.j2", table=table, caption=caption or table.caption)


def html_notes(table: Table) -> Markup:
    """The notes alone; empty where there are none."""
    return _html("notes.html.j2", table=table) if table.notes else Markup("")


def _html(name: str, **content: object) -> Markup:
    environment = templates({}, autoescape=True, keep_trailing_newline=True)
    return Markup(environment.get_template(name).render(**content))


def _filled(group: RowGroup) -> list[int]:
    """The columns that have anything in a group, which is a table of its own here."""
    columns = zip(*(row.entries for row in group.lines), strict=True)
    return [i for i, entries in enumerate(columns) if any(map(str, entries))]
