"""A comparison as text, LaTeX, Markdown and HTML."""

from __future__ import annotations

import io

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from rich.console import Console

from bench.errors import unknown
from bench.tables.comparison import comparison
from bench.tables.latex import latex
from bench.tables.latex_text import Ready
from bench.tables.marks import BEST, SECOND
from bench.tables.parts import Entry, Group, Table
from bench.tables.text import WIDTH, text

__all__ = ["comparison", "html", "latex", "markdown", "render", "text"]


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


def _filled(group: Group) -> list[int]:
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
