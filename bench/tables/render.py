"""A comparison as text, Markdown, HTML, LaTeX and CSV."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bench.errors import unknown
from bench.records.frame import summary
from bench.records.measures import AMOUNTS, MEASURES
from bench.tables.columns_asked import NARROW, WIDE
from bench.tables.comparison import comparison
from bench.tables.details import show
from bench.tables.latex import LABEL, Ready, latex
from bench.tables.layout import By, Entry, Row, RowGroup, Table, transposed
from bench.tables.marks import BELOW, BEST, SECOND
from bench.tables.published import with_published

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


def _panels(table: Table, group: RowGroup, width: int) -> Iterator[list[Text]]:
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


def escape_markdown(text: object) -> Ready:
    """Text as Markdown that shows it, inside a table's cell too."""
    if isinstance(text, Ready):
        return text
    plain = " ".join(str(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Ready(
        "".join("\\" + letter if letter in r"\`*_{}[]#|~$^" else letter for letter in plain)
    )


def render(table: Table, form: str) -> str:
    """The table in the form `text` (without colours), `latex`, `markdown` or `html`.

    Raises:
        UsageError: there is no such form.
    """
    if form == "latex":
        return latex(table)
    if form == "text":
        page = io.StringIO()
        text(table, Console(file=page, width=WIDTH, color_system=None))
        return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())
    forms = {"markdown": markdown, "html": html}
    if form not in forms:
        raise unknown("format", form, [*forms, "latex", "text"])
    return forms[form](table)


def markdown(table: Table) -> str:
    """The table as GitHub's Markdown: one table for each group, then the notes."""
    environment = Environment(
        loader=_TEMPLATES,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=escape_markdown,
    )
    environment.filters |= {
        "entry": _markdown_entry,
        "marks": _markdown_marks,
        "filled": _filled,
    }
    return environment.get_template("table.md.j2").render(table=table)


def html(table: Table) -> str:
    """The table and its notes as an HTML fragment: a `table.bench` and a `ul.notes`."""
    return html_grid(table) + html_notes(table)


def html_grid(table: Table, caption: str = "") -> Markup:
    """The table alone, with another caption; a cell's `data-value` is its number unrounded."""
    return _html("table.html.j2", table=table, caption=caption or table.caption)


def html_notes(table: Table) -> Markup:
    """The notes alone."""
    return _html("notes.html.j2", table=table)


def _html(name: str, **content: object) -> Markup:
    environment = Environment(
        loader=_TEMPLATES,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"entry": _html_entry, "marks": _html_marks}
    return Markup(environment.get_template(name).render(**content))


_TEMPLATES = PackageLoader("bench.tables", "templates")


def _html_entry(entry: Entry) -> Markup:
    number = entry.number
    if number is None:
        return escape(entry.word) + _html_marks(entry.marks)
    shown = number.value + (f" ± {number.error}" if number.error else "")
    shown = shown.replace("-", "−")
    if number.exponent:
        power = Markup("×10<sup>{}</sup>").format(str(number.exponent).replace("-", "−"))
        body = (escape(f"({shown})") if number.error else escape(shown)) + power
    else:
        body = escape(shown)
    body += f" {number.unit}" if number.unit else ""
    if entry.best or entry.second:
        body = Markup("<b>{}</b>" if entry.best else "<u>{}</u>").format(body)
    return body + _html_marks(entry.marks)


def _html_marks(marks: str) -> Markup:
    if marks == BEST:
        return Markup("<b>Bold:</b>")
    if marks == SECOND:
        return Markup("<u>Underlined:</u>")
    return Markup('<sup class="mark">{}</sup>').format(marks) if marks else Markup("")


def _filled(group: RowGroup) -> list[int]:
    """The columns that have anything in a group, which is a table of its own here."""
    rows = (*group.rows, *group.references)
    columns = range(len(rows[0].entries)) if rows else range(0)
    return [i for i in columns if any(str(row.entries[i]) for row in rows)]


def _markdown_entry(entry: Entry) -> Ready:
    body = escape_markdown(entry.number or entry.word)
    if entry.best or entry.second:
        body = Ready(f"**{body}**" if entry.best else f"<ins>{body}</ins>")
    return Ready(body + escape_markdown(entry.marks))


def _markdown_marks(marks: str) -> Ready:
    known = {BEST: "**Bold:**", SECOND: "<ins>Underlined:</ins>"}
    return Ready(known[marks]) if marks in known else escape_markdown(marks)


#: The forms of a table, and how a file's name ends that holds one.
FORMS = {"text": "txt", "latex": "tex", "markdown": "md", "csv": "csv", "html": "html"}


@dataclass(frozen=True)
class TableOptions:
    """How a table is to options; no metrics are the usual ones of its form."""

    metrics: tuple[str, ...] = ()
    by_run: bool = False
    by: By = "dataset"
    transpose: bool = False
    published: bool = False
    standalone: bool = False
    siunitx: bool = False
    caption: str | None = None
    label: str | None = None


def usual(form: str) -> tuple[str, ...]:
    """The columns of a form that is not asked for others."""
    return {"text": NARROW, "csv": tuple(MEASURES)}.get(form, WIDE)


def table_of(frame: pd.DataFrame, form: str, options: TableOptions, results: Path) -> Table:
    """The comparison of the runs, for any form but CSV; `results` is their folder.

    Raises:
        UsageError: a metric has an unknown name.
    """
    metrics = options.metrics or usual(form)
    table = comparison(frame, metrics, by_run=options.by_run, by=options.by, results=results)
    if options.published:
        table = with_published(table, frame)
    if options.caption is not None:
        table = replace(table, caption=options.caption)
    return transposed(table) if options.transpose else table


def page(frame: pd.DataFrame, form: str, options: TableOptions, results: Path) -> str:
    """The table in one of `FORMS`.

    Raises:
        UsageError: as `table_of`.
    """
    if form == "csv":
        return _csv(frame, options)
    table = table_of(frame, form, options, results)
    if form == "latex":
        label = options.label or LABEL
        return latex(table, standalone=options.standalone, siunitx=options.siunitx, label=label)
    return render(table, form)


def details_page(frame: pd.DataFrame, results: Path) -> str:
    """What each figure rests on, as text of 100 columns."""
    text = io.StringIO()
    show(frame, Console(file=text, width=100, color_system=None), results=results)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def _csv(frame: pd.DataFrame, options: TableOptions) -> str:
    """Every column, or those that say what ran and the metrics asked for."""
    shown = frame if options.by_run else summary(frame)
    if options.metrics:
        others = set(MEASURES) - set(options.metrics) - set(AMOUNTS)
        left_out = others | {f"{name}{part}" for name in others for part in ("_mean", "_sd")}
        shown = shown[[name for name in shown.columns if name not in left_out]]
    return str(shown.to_csv(index=False, lineterminator="\n"))
