"""A comparison as text, LaTeX, Markdown and HTML."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bench.errors import unknown
from bench.tables.comparison import Entry, Group, Row, Table, comparison
from bench.tables.format import Number
from bench.tables.marks import BELOW, BEST

__all__ = ["comparison", "html", "latex", "markdown", "render", "text"]

#: No text table is wider, however wide the terminal.
WIDTH = 100

#: Rows and headings that a printed page holds.
_PAGE = 42

_MATH = {
    "†": r"\dagger",
    "‡": r"\ddagger",
    "°": r"\circ",
    "‖": r"\|",
    "¶": r"\P",
    "§": r"\S",
    "≠": r"\neq",
    "∫": r"\smallint",
    "↔": r"\leftrightarrow",
}

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "τ": r"$\tau$",
    "χ": r"$\chi$",
    "²": r"\textsuperscript{2}",
    "γ": r"$\gamma$",
    "≥": r"$\geq$",
    "–": "--",
}


class Ready(str):
    """Text in the output's own language, not to be escaped again."""

    __slots__ = ()


def escape_latex(text: object) -> Ready:
    """Text as LaTeX that prints it; letters beyond Latin become their code points.

    pdflatex knows no others without further packages, and a table must always compile.
    """
    if isinstance(text, Ready):
        return text
    return Ready("".join(_latex_letter(letter) for letter in " ".join(str(text).split())))


def escape_markdown(text: object) -> Ready:
    """Text as Markdown that shows it, inside a table's cell too."""
    if isinstance(text, Ready):
        return text
    plain = " ".join(str(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Ready(
        "".join("\\" + letter if letter in r"\`*_{}[]#|~$^" else letter for letter in plain)
    )


def render(table: Table, form: str, *, standalone: bool = False) -> str:
    """The table in the form `text` (without colours), `latex`, `markdown` or `html`.

    Raises:
        UsageError: there is no such form.
    """
    if form == "latex":
        return latex(table, standalone=standalone)
    if form == "text":
        page = io.StringIO()
        text(table, Console(file=page, width=WIDTH, color_system=None))
        return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())
    forms = {"markdown": markdown, "html": html}
    if form not in forms:
        raise unknown("format", form, [*forms, "latex", "text"])
    return forms[form](table)


def text(table: Table, console: Console) -> None:
    """Print the table to a rich console, at most `WIDTH` columns wide.

    Columns that don't fit go into further panels below, each with the rows' labels.
    """
    width = min(console.width, WIDTH)
    for group in table.groups:
        heading = Text(group.name, style="bold")
        heading.append("   " + " · ".join(group.facts), style="not bold dim")
        console.print(heading, width=width, highlight=False)
        gap, panels = _panels(table, group, width)
        for chosen in panels:
            console.print(_grid(table, group, chosen, gap), width=width, highlight=False)
        console.print()
    for note in table.notes:
        line = Grid.grid(padding=(0, 1, 0, 0))
        line.add_row(Text(note.mark or " "), Text(note.text, style="dim"))
        console.print(line, width=width, highlight=False)


def latex(table: Table, *, standalone: bool = False) -> str:
    r"""The table for `\input` (needs booktabs and graphicx), or a document that compiles.

    A long one becomes several table environments, the notes below the last.
    """
    environment = Environment(
        loader=_TEMPLATES,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=escape_latex,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= {"entry": _latex_entry, "marks": _latex_marks, "ready": Ready}
    template = environment.get_template("table.tex.j2")
    return template.render(table=table, pages=list(_pages(table.groups)), standalone=standalone)


def markdown(table: Table) -> str:
    """The table as GitHub's Markdown: one table for each group, then the notes."""
    environment = Environment(
        loader=_TEMPLATES,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=escape_markdown,
    )
    environment.filters |= {"entry": _markdown_entry, "marks": _markdown_marks}
    return environment.get_template("table.md.j2").render(table=table)


def html(table: Table) -> str:
    """The table and its notes as an HTML fragment: a `table.bench` and a `ul.notes`."""
    return html_grid(table) + html_notes(table)


def html_grid(table: Table, caption: str = "") -> Markup:
    """The table alone; `data-value` of a cell is its number before it was rounded."""
    return _html("table.html.j2", table=table, caption=caption)


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


def _latex_letter(letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    if letter in _MATH:
        return f"${_MATH[letter]}$"
    accented = letter <= "ÿ" and unicodedata.decomposition(letter)
    if letter.isprintable() and (letter.isascii() or accented):
        return letter
    return f"[U+{ord(letter):04X}]"


def _latex_entry(entry: Entry) -> Ready:
    if entry.number is None:
        return escape_latex(entry.word)
    # Marks hang over, so that numbers align.
    marks = rf"\rlap{{{_latex_marks(entry.marks)}}}" if entry.marks else ""
    return Ready(_latex_number(entry.number, bold=entry.best) + marks)


def _latex_number(number: Number, *, bold: bool = False) -> str:
    body = number.value.replace(",", "{,}")
    if number.error:
        body += r" \pm " + number.error.replace(",", "{,}")
    if number.exponent:
        body = f"({body})" if number.error else body
        body += rf"\mathrm{{e}}{{{number.exponent}}}"
    if not number.value[-1:].isdigit():
        body = rf"\mathrm{{{body}}}"
    if bold:
        body = rf"\mathbf{{{body}}}"
    return f"${body}$" + (f"\\,{number.unit}" if number.unit else "")


def _latex_marks(marks: str) -> Ready:
    if marks == BEST:
        return Ready(r"\textbf{Bold:}")
    return Ready("$^{" + "".join(_MATH[mark] for mark in marks) + "}$" if marks else "")


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
    return (Markup("<b>{}</b>").format(body) if entry.best else body) + _html_marks(entry.marks)


def _html_marks(marks: str) -> Markup:
    if marks == BEST:
        return Markup("<b>Bold:</b>")
    return Markup("<sup>{}</sup>").format(marks) if marks else Markup("")


def _markdown_entry(entry: Entry) -> Ready:
    body = escape_markdown(entry.number or entry.word)
    return Ready((f"**{body}**" if entry.best else body) + escape_markdown(entry.marks))


def _markdown_marks(marks: str) -> Ready:
    return Ready("**Bold:**") if marks == BEST else escape_markdown(marks)


def _pages(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """The groups, parted so that each part fits a page; one that is longer stands alone."""
    page: list[Group] = []
    lines = 0
    for group in groups:
        height = 1 + len(group.rows) + len(group.references)
        if page and lines + height > _PAGE:
            yield page
            page, lines = [], 0
        page.append(group)
        lines += height
    if page:
        yield page


def _widths(table: Table, group: Group) -> tuple[int, list[int]]:
    """The width of labels and seeds, and that of each column, in terminal cells."""
    rows = (*group.rows, *group.references)
    labels = max(cell_len(table.titles[0]), *(cell_len(row.label + row.marks) for row in rows))
    seeds = max(cell_len(table.titles[1]), *(cell_len(row.seeds) for row in rows))
    columns = [
        max(cell_len(column.title) + _marks_width(group, i), *map(cell_len, _column(group, i)))
        for i, column in enumerate(table.columns)
    ]
    return labels + 1 + seeds, columns


def _panels(table: Table, group: Group, width: int) -> tuple[int, list[list[int]]]:
    """The gap between columns, and the columns parted so that each part fits the width."""
    left, columns = _widths(table, group)
    gap = 2 if left + 1 + sum(2 + column for column in columns) <= width else 1
    panels: list[list[int]] = [[]]
    used = left
    for i, column in enumerate(columns):
        if panels[-1] and used + gap + column > width:
            panels.append([])
            used = left
        panels[-1].append(i)
        used += gap + column
    return gap, panels


def _marks_width(group: Group, i: int) -> int:
    return max(len(_text_marks(row.entries[i])) for row in (*group.rows, *group.references))


def _text_marks(entry: Entry) -> str:
    return entry.marks + (BEST if entry.best else "")


def _column(group: Group, i: int) -> list[str]:
    """The column's cells, their marks hanging to the right of where the numbers end."""
    hang = _marks_width(group, i)
    entries = [row.entries[i] for row in (*group.rows, *group.references)]
    return [str(e.number or e.word) + _text_marks(e).ljust(hang) for e in entries]


def _grid(table: Table, group: Group, chosen: Sequence[int], gap: int) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, show_edge=False, padding=(0, gap - 1, 0, 0), pad_edge=False)
    grid.add_column(table.titles[0], no_wrap=True)
    grid.add_column(table.titles[1], justify="right", no_wrap=True)
    for i in chosen:
        title = table.columns[i].title + " " * _marks_width(group, i)
        grid.add_column(Text(title), justify="right", no_wrap=True)
    columns = [_column(group, i) for i in chosen]
    for line, row in enumerate((*group.rows, *group.references)):
        if line == len(group.rows):
            grid.add_section()
        bold = ["bold" if row.entries[i].best else "" for i in chosen]
        cells = [Text(c[line], style=b) for c, b in zip(columns, bold, strict=True)]
        grid.add_row(Text(row.label + row.marks), Text(row.seeds), *cells, style=_style(row))
    return grid


def _style(row: Row) -> str:
    """Colours for a terminal; they repeat what the marks and words say."""
    if row.seeds.startswith("0/"):
        return "red"
    if BELOW in row.marks:
        return "yellow"
    return "dim" if not row.seeds else ""
