r"""A comparison as LaTeX: booktabs rules, a heading for each block, the notes below.

TeX measures the table: `adjustbox` sets it smaller where it is wider than the text. With siunitx,
`S` columns align numbers on the decimal point; without, numbers are aligned on the right.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench.records.format import Number
from bench.tables.layout import Entry, Row, RowGroup, Table
from bench.tables.marks import BEST, SECOND

#: The key that `\\ref` finds a table by, unless it has another.
LABEL = "tab:cnf-bench"

#: Up to so many columns of numbers a table is upright; with more it is turned, and then parted.
_UPRIGHT, _TURNED = 9, 13

#: So many lines of a table fit a page, upright and turned; and with its notes.
_LINES = {False: 46, True: 24}

#: Longer labels and titles are broken into lines.
_LABEL, _TITLE = 34, 22

#: The marks and signs that LaTeX has in mathematics.
MATH = {
    "†": r"\dagger",
    "‡": r"\ddagger",
    "‖": r"\|",
    "¶": r"\P",
    "§": r"\S",
    "≠": r"\neq",
    "∫": r"\smallint",
    "↔": r"\leftrightarrow",
}

_LETTERS = {
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
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "τ": r"$\tau$",
    "χ": r"$\chi$",
    "²": r"\textsuperscript{2}",
    "γ": r"$\gamma$",
    "≥": r"$\geq$",
    "–": "--",
    "₂": r"\textsubscript{2}",
    **{mark: f"${code}$" for mark, code in MATH.items()},
}

#: A word with more letters than these may be broken anywhere.
_LONG = 18

#: A number as programs write it, 1e-05, or any letter.
_PIECE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]\d{1,3})(?!\w)|.", re.DOTALL)


class Ready(str):
    """Text in the output's own language, not to be escaped again."""

    __slots__ = ()


def escape_latex(text: object, between: str = "") -> Ready:
    """Text as LaTeX that prints it, with `between` after each letter of a long word.

    Letters beyond Latin become their code points: pdflatex knows no others without further
    packages, and a table must always compile.
    """
    if isinstance(text, Ready):
        return text
    return Ready(
        " ".join(
            (between if len(word) > _LONG else "").join(map(_piece, _PIECE.finditer(word)))
            for word in str(text).split()
        )
    )


def breakable(text: object) -> Ready:
    """As `escape_latex`, and a long word may go on in the next line after any of its letters."""
    return escape_latex(text, r"\allowbreak{}")


def _piece(found: re.Match[str]) -> str:
    """A letter, or a number with its power of ten raised."""
    letter, mantissa, exponent = found.group(0, 1, 2)
    if exponent:
        times = "" if mantissa == "1" else rf"{mantissa}\times "
        return f"${times}10^{{{int(exponent)}}}$"
    if letter in _LETTERS:
        return _LETTERS[letter]
    accented = letter <= "ÿ" and unicodedata.decomposition(letter)
    if letter.isprintable() and (letter.isascii() or accented):
        return letter
    return f"[U+{ord(letter):04X}]"


def templates(
    filters: Mapping[str, Any], room: str = "bench.tables", **options: Any
) -> Environment:
    """The templates of a room with these filters; jinja's options say how they are written."""
    loader = PackageLoader(room, "templates")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **options
    )
    environment.filters |= filters
    return environment


def latex(
    table: Table, *, standalone: bool = False, siunitx: bool = False, label: str = LABEL
) -> str:
    r"""The table for `\input`, which says what packages it needs, or a document that compiles.

    A long one becomes several table environments, the notes below the last. `label` is the first
    one's `\label`.
    """
    environment = templates(
        {"marks": marked, "ready": Ready, "breakable": breakable},
        finalize=escape_latex,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    count = len(table.columns)
    turned = count > _UPRIGHT
    most = _TURNED if turned else _UPRIGHT
    panels = [range(count)[start : start + most] for start in range(0, max(count, 1), most)]
    parts = [
        _part(table, page, columns, siunitx=siunitx)
        for page in _pages(table, _LINES[turned])
        for columns in panels
    ]
    last = sum(1 + len(lines) for _, lines in parts[-1]["blocks"])
    packages = ["booktabs", "array", "adjustbox"]
    packages += ["siunitx"] if siunitx else []
    packages += ["rotating"] if turned and not standalone else []
    return environment.get_template("table.tex.j2").render(
        table=table,
        parts=parts,
        notes_apart=last + 2 * len(table.notes) > _LINES[turned],
        landscape=turned,
        environment="sidewaystable" if turned and not standalone else "table",
        packages=",".join(packages),
        siunitx=siunitx,
        standalone=standalone,
        label="".join(c for c in label if c.isalnum() or c in ":-_./"),
    )


def marked(marks: str) -> Ready:
    """Marks in a superscript; for bold and underlining, the words."""
    words = {"": "", BEST: r"\textbf{Bold:}", SECOND: r"\underline{Underlined:}"}
    if marks in words:
        return Ready(words[marks])
    return Ready(f"$^{{{''.join(MATH[mark] for mark in marks)}}}$")


def _pages(table: Table, most: int) -> Iterator[list[RowGroup]]:
    """The groups of each page; one that is longer goes on in the next."""
    page: list[RowGroup] = []
    used = 0
    for group in table.groups:
        left = group
        while (page and used + 2 + len(left.lines) > most) or used >= most:
            yield page
            page, used = [], 0
        while len(left.rows) > most:
            yield [replace(left, rows=left.rows[:most], references=())]
            left = replace(left, name=f"{group.name}, continued", short=(), rows=left.rows[most:])
        page.append(left)
        used += 2 + len(left.lines)
    yield page


def _part(
    table: Table, page: Sequence[RowGroup], columns: Sequence[int], *, siunitx: bool
) -> dict[str, Any]:
    """What one `tabular` shows: some of the columns and some of the groups, ready to print.

    `heads` are the columns' titles; `blocks` the line of each group's heading and its rows' lines.
    """
    every = [row for group in table.groups for row in group.lines]
    long = any(len(row.label) > _LABEL for row in every)
    preamble = r">{\raggedright\arraybackslash\hangindent=1em}p{5.5cm}" if long else "l"
    heads: list[str] = [escape_latex(table.titles[0].capitalize())]
    if table.titles[1]:
        preamble += "r"
        heads.append(escape_latex(table.titles[1].capitalize()))
    formats = {}
    for i in columns:
        # A table that was transposed has one measure in a row, not in a column.
        numbers = [row.entries[i].number for row in every] if siunitx and table.titles[1] else []
        formats[i] = _table_format([number for number in numbers if number is not None])
        preamble += f"S[table-format={formats[i]}]" if formats[i] else "r"
        heads.append(_head(table, i, braces=bool(formats[i])))
    width = 1 + bool(table.titles[1]) + len(columns)
    blocks = []
    for group in page:
        if not table.titles[1] and not any(
            row.entries[i].number or row.entries[i].word for row in group.rows for i in columns
        ):
            continue
        facts = rf"\enspace {escape_latex(', '.join(group.short))}" if group.short else ""
        heading = rf"\multicolumn{{{width}}}{{@{{}}l}}{{\textbf{{{breakable(group.name)}}}{facts}}}"
        blocks.append((heading, [_line(table, row, formats) for row in group.lines]))
    return {"preamble": preamble, "heads": heads, "blocks": blocks}


def _head(table: Table, i: int, *, braces: bool) -> str:
    title = table.columns[i].title
    # The columns of a transposed table are named by methods, whose names stay as they are.
    shown = table.columns[i].latex if table.titles[1] else title
    if "$" not in shown or not table.titles[1]:
        shown = escape_latex(shown)
        if len(title) > _TITLE:
            shown = rf"\parbox[b]{{3.2cm}}{{\raggedleft {breakable(title)}}}"
    return f"{{{shown}}}" if braces else shown


def _line(table: Table, row: Row, formats: dict[int, str]) -> str:
    label = (row.latex or breakable(row.label)) + marked(row.marks)
    cells = [rf"\quad {label}"]
    cells += [escape_latex(row.seeds)] if table.titles[1] else []
    cells += [
        _siunitx(row.entries[i], table_format) if table_format else _right(row.entries[i])
        for i, table_format in formats.items()
    ]
    return " & ".join(cells)


def _is_plain(number: Number) -> bool:
    return not number.unit and number.value[-1:].isdigit()


def _hung(marks: str) -> str:
    """Marks that take no room, so that numbers align."""
    return rf"\rlap{{{marked(marks)}}}" if marks else ""


def _right(entry: Entry) -> str:
    """A cell that is aligned on the right."""
    number = entry.number
    if number is None:
        return _word(entry)
    if not _is_plain(number):
        unit = rf"\,{escape_latex(number.unit)}" if number.unit else ""
        return f"{escape_latex(number.value)}{unit}{_hung(entry.marks)}"
    body = number.value + (rf" \pm {number.error}" if number.error else "")
    if number.exponent:
        body = (f"({body})" if number.error else body) + rf"\times 10^{{{number.exponent}}}"
    body = body.replace(",", "{,}")
    if entry.best:
        body = rf"\mathbf{{{body}}}"
    shown = rf"\underline{{${body}$}}" if entry.second else f"${body}$"
    return shown + _hung(entry.marks)


def _word(entry: Entry) -> str:
    word = escape_latex(entry.word)
    if word and word != "--" and not word[0].isdigit():
        word = Ready(rf"\emph{{{word}}}")
    return f"{word}{_hung(entry.marks)}"


def _siunitx(entry: Entry, table_format: str) -> str:
    number = entry.number
    if number is None:
        return f"{{{_word(entry)}}}"
    body = number.value.replace(",", "")
    body += f" +- {number.error.replace(',', '')}" if number.error else ""
    body += f"e{number.exponent}" if number.exponent else ""
    hung = _hung(entry.marks)
    if entry.second:
        return rf"{{\underline{{\tablenum[table-format={table_format}]{{{body}}}}}{hung}}}"
    return (r"\bfseries " if entry.best else "") + f"{body} {hung}".strip()


def _table_format(numbers: Sequence[Number]) -> str:
    """siunitx's `table-format`: the digits before and after the point, of ± and of the exponent.

    Empty where the numbers don't suit an `S` column: none, or with a letter or a unit behind them.
    """
    if not numbers or not all(map(_is_plain, numbers)):
        return ""
    values = [number.value.replace(",", "").lstrip("-").partition(".") for number in numbers]
    sign = "-" if any(number.value.startswith("-") for number in numbers) else ""
    decimals = max(len(fraction) for _, _, fraction in values)
    text = f"{sign}{max(len(whole) for whole, _, _ in values)}.{decimals}"
    # The error is in units of the last decimal that the column has, without leading zeros.
    errors = [n.error.replace(",", "").partition(".") for n in numbers if n.error]
    digits = [(whole + part.ljust(decimals, "0")).lstrip("0") or "0" for whole, _, part in errors]
    text += f"({max(map(len, digits))})" if digits else ""
    if powers := [number.exponent for number in numbers if number.exponent]:
        minus = "-" if any(power < 0 for power in powers) else ""
        text += f"e{minus}{max(len(str(abs(power))) for power in powers)}"
    return text
