"""A comparison as LaTeX: booktabs rules, a heading for each block, the notes below.

The size of the letters, the orientation and the parts of the table are chosen so that it fits a
page whose text is 16 cm by 24.7 cm (A4 with margins of 2.5 cm): nothing is scaled.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench.records.format import Number
from bench.tables.layout import Entry, Row, RowGroup, Table
from bench.tables.marks import BEST, SECOND

#: The marks and signs that LaTeX has in mathematics.
MATH = {
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
}

#: A word with more letters than these may be broken anywhere.
_LONG = 18


#: A number as programs write it, 1e-05.
_PROGRAM_POWER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]\d{1,3})(?!\w)")


class Ready(str):
    """Text in the output's own language, not to be escaped again."""

    __slots__ = ()


def escape_latex(text: object) -> Ready:
    """Text as LaTeX that prints it; letters beyond Latin become their code points.

    pdflatex knows no others without further packages, and a table must always compile.
    """
    if isinstance(text, Ready):
        return text
    return Ready(" ".join(map(_escape_word, str(text).split())))


def _escape_word(word: str, between: str = "") -> str:
    """A word's letters, and its numbers with their powers of ten raised."""
    parts, end = [], 0
    for found in _PROGRAM_POWER.finditer(word):
        parts += [_letter(letter) for letter in word[end : found.start()]]
        mantissa, exponent = found[1], int(found[2])
        times = "" if mantissa == "1" else rf"{mantissa}\times "
        parts.append(f"${times}10^{{{exponent}}}$")
        end = found.end()
    return between.join([*parts, *map(_letter, word[end:])])


def breakable(text: object) -> Ready:
    """As `escape_latex`, and a long word may go on in the next line after any of its letters."""
    if isinstance(text, Ready):
        return text
    return Ready(
        " ".join(
            _escape_word(word, r"\allowbreak{}" if len(word) > _LONG else "")
            for word in str(text).split()
        )
    )


def _letter(letter: str) -> str:
    if letter in _LETTERS:
        return _LETTERS[letter]
    if letter in MATH:
        return f"${MATH[letter]}$"
    accented = letter <= "ÿ" and unicodedata.decomposition(letter)
    if letter.isprintable() and (letter.isascii() or accented):
        return letter
    return f"[U+{ord(letter):04X}]"


#: The width of what is no digit, in digits.
_WIDE = {".": 0.56, ",": 0.56, "-": 1.56, "(": 0.78, ")": 0.78}
_PLUS_MINUS, _POWER, _EXPONENT_DIGIT, _BOLD = 2.5, 4.5, 0.85, 1.15


@dataclass(frozen=True)
class Column:
    """A column of cells: its preamble, how many columns of the `tabular` it takes, its cells.

    `width` is about that of its widest cell, in digits.
    """

    preamble: str
    span: int
    cells: tuple[str, ...]
    width: float


def column(entries: Sequence[Entry], *, aligned: bool, siunitx: bool) -> Column:
    """The column of these entries, each from one row; aligned where they are of one measure."""
    numbers = [entry.number for entry in entries if entry.number is not None]
    words = max((len(e.word) + len(e.marks) for e in entries if e.number is None), default=0)
    width = max([float(words), *map(_width, numbers)])
    width *= _BOLD if any(entry.best for entry in entries) else 1.0
    if not aligned or not any(_is_plain(n) and (n.error or "." in n.value) for n in numbers):
        cells = tuple(_right(entry) for entry in entries)
        return Column("r", 1, cells, width)
    if siunitx and all(map(_is_plain, numbers)):
        table_format = _table_format(numbers)
        cells = tuple(_siunitx(entry, table_format) for entry in entries)
        return Column(f"S[table-format={table_format}]", 1, cells, width + 1)
    whole = max(sum(_WIDE.get(c, 1.0) for c in n.value.partition(".")[0]) for n in numbers)
    rest = max(
        _width(n) - sum(_WIDE.get(c, 1.0) for c in n.value.partition(".")[0]) for n in numbers
    )
    decimals = max(len(n.value.partition(".")[2]) for n in numbers)
    cells = tuple(_split(entry, decimals) for entry in entries)
    return Column("r@{}l", 2, cells, max(whole + rest, words))


def marked(marks: str) -> Ready:
    """Marks as they stand in a superscript; what bold and underlining mean, in words."""
    if marks == BEST:
        return Ready(r"\textbf{Bold:}")
    if marks == SECOND:
        return Ready(r"\underline{Underlined:}")
    return Ready("$^{" + "".join(MATH[mark] for mark in marks) + "}$" if marks else "")


def _is_plain(number: Number) -> bool:
    return not number.unit and number.value[-1:].isdigit()


def _width(number: Number) -> float:
    text = number.value + number.error
    width = sum(_WIDE.get(letter, 1.0) for letter in text)
    width += _PLUS_MINUS if number.error else 0
    if number.exponent:
        width += _POWER + _EXPONENT_DIGIT * len(str(number.exponent)) + 1.5 * bool(number.error)
    return width + len(number.unit) + bool(number.unit) * 0.5


def _hung(marks: str) -> str:
    """Marks that take no room, so that numbers align."""
    return rf"\rlap{{{marked(marks)}}}" if marks else ""


def _right(entry: Entry) -> str:
    """A cell of a column without decimal points to align."""
    if entry.number is None:
        return _word(entry)
    number = entry.number
    if not _is_plain(number):
        unit = rf"\,{escape_latex(number.unit)}" if number.unit else ""
        return f"{escape_latex(number.value)}{unit}{_hung(entry.marks)}"
    body = number.value + (rf" \pm {number.error}" if number.error else "")
    if number.exponent:
        body = (f"({body})" if number.error else body) + rf"\times 10^{{{number.exponent}}}"
    return _face(body.replace(",", "{,}"), entry) + _hung(entry.marks)


def _word(entry: Entry) -> str:
    word = escape_latex(entry.word)
    if word and word != "--" and not word[0].isdigit():
        word = Ready(rf"\emph{{{word}}}")
    return f"{word}{_hung(entry.marks)}"


def _split(entry: Entry, decimals: int) -> str:
    """The two cells of `r@{}l`."""
    number = entry.number
    if number is None or not _is_plain(number):
        return rf"\multicolumn{{2}}{{c}}{{{_word(entry) if number is None else _right(entry)}}}"
    whole, point, fraction = number.value.partition(".")
    whole = f"({whole}" if number.exponent and number.error else whole
    rest = point + fraction
    missing = decimals - len(fraction)
    if number.error:
        if missing:
            blank = "0" * missing if point else "." + "0" * missing
            rest += rf"\phantom{{{blank}}}"
        rest += rf" \pm {number.error}"
    if number.exponent:
        rest += (")" if number.error else "") + rf"\times 10^{{{number.exponent}}}"
    rest = f"{{}}{rest}" if rest.startswith(" ") else rest
    left, right = (_face(part.replace(",", "{,}"), entry) for part in (whole, rest))
    return f"{left} & {right}{_hung(entry.marks)}"


def _face(body: str, entry: Entry) -> str:
    if not body:
        return ""
    if entry.best:
        return rf"$\mathbf{{{body}}}$"
    # Smashed, so that the lines of both cells lie at one height.
    return rf"\underline{{\smash{{${body}$}}}}" if entry.second else f"${body}$"


def stacked(title: str, width: float) -> tuple[str, ...]:
    """A title in one line, or in two where it is wider than its column."""
    places = [i + 1 for i, letter in enumerate(title[:-1]) if letter in " -" and i]
    if len(title) <= width + 1 or not places:
        return (title,)
    place = min(places, key=lambda i: max(i, len(title) - i))
    return title[:place].rstrip(), title[place:]


def _siunitx(entry: Entry, table_format: str) -> str:
    number = entry.number
    if number is None:
        return f"{{{_word(entry)}}}"
    body = number.value.replace(",", "")
    body += f" +- {number.error.replace(',', '')}" if number.error else ""
    body += f"e{number.exponent}" if number.exponent else ""
    hung = f" {_hung(entry.marks)}" if entry.marks else ""
    if entry.second:
        body = rf"\tablenum[table-format={table_format}]{{{body}}}"
        return rf"{{\underline{{{body}}}{hung.strip()}}}"
    return (r"\bfseries " if entry.best else "") + body + hung


def _table_format(numbers: Sequence[Number]) -> str:
    """siunitx's `table-format`: the digits before and after the point, of ± and of the exponent."""
    values = [number.value.replace(",", "").lstrip("-").partition(".") for number in numbers]
    sign = "-" if any(number.value.startswith("-") for number in numbers) else ""
    decimals = max(len(fraction) for _, _, fraction in values)
    text = f"{sign}{max(len(whole) for whole, _, _ in values)}.{decimals}"
    errors = [number.error for number in numbers if number.error]
    if errors:
        text += f"({max(len(_digits(error, decimals)) for error in errors)})"
    powers = [number.exponent for number in numbers if number.exponent]
    if powers:
        minus = "-" if any(power < 0 for power in powers) else ""
        text += f"e{minus}{max(len(str(abs(power))) for power in powers)}"
    return text


def _digits(error: str, decimals: int) -> str:
    """The error in units of the last decimal that the column has, without leading zeros."""
    whole, _, fraction = error.replace(",", "").partition(".")
    return (whole + fraction.ljust(decimals, "0")).lstrip("0") or "0"


#: The width of a page's text, upright and turned, in points.
_UPRIGHT, _TURNED = 455.0, 702.0

#: Lines that a page holds, upright and turned.
_LINES = {False: 50, True: 34}

#: Labels and titles that are longer are broken into lines.
_LABEL, _TITLE = 34, 22

#: The key that `\\ref` finds a table by, unless it has another.
LABEL = "tab:cnf-bench"

#: Letters of a note in a line, upright and turned.
_NOTE = {False: 118, True: 180}


@dataclass(frozen=True)
class Layout:
    """The size of the letters, its name, the space beside a column (both in points), turned."""

    size: str
    letter: float
    beside: float
    turned: bool


_LAYOUTS = (
    Layout("small", 9, 6, False),
    Layout("small", 9, 4, False),
    Layout("footnotesize", 8, 4, False),
    Layout("small", 9, 5, True),
    Layout("footnotesize", 8, 4, True),
)


@dataclass(frozen=True)
class Part:
    """What one `tabular` shows: some of the columns, some of the groups, ready to print.

    `heads` are the columns' titles; `blocks` the line of each group's heading and its rows' lines.
    """

    preamble: str
    heads: tuple[str, ...]
    blocks: tuple[tuple[str, tuple[str, ...]], ...]


def latex(
    table: Table, *, standalone: bool = False, siunitx: bool = False, label: str = LABEL
) -> str:
    r"""The table for `\input`, which says what packages it needs, or a document that compiles.

    A long one becomes several table environments, the notes below the last. `label` is the first
    one's `\label`. With `siunitx` its `S` columns align the numbers, else LaTeX alone does.
    """
    environment = Environment(
        loader=PackageLoader("bench.tables", "templates"),
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
    environment.filters |= {"marks": marked, "ready": Ready, "breakable": breakable}
    layout, parts = _laid_out(table, siunitx=siunitx)
    apart = _note_lines(table, layout) + _height(parts[-1]) + 4 > _LINES[layout.turned] + 2
    packages = ["booktabs", "array"]
    packages += ["siunitx"] if siunitx else []
    packages += ["rotating"] if layout.turned and not standalone else []
    return environment.get_template("table.tex.j2").render(
        table=table,
        layout=layout,
        parts=parts,
        apart=apart,
        environment="sidewaystable" if layout.turned and not standalone else "table",
        packages=",".join(packages),
        siunitx=siunitx,
        standalone=standalone,
        label="".join(c for c in label if c.isalnum() or c in ":-_./"),
    )


def _laid_out(table: Table, *, siunitx: bool) -> tuple[Layout, list[Part]]:
    """The first layout in which all columns fit side by side; else panels in the last one."""
    rows = [row for group in table.groups for row in (*group.rows, *group.references)]
    aligned = bool(table.titles[1])  # a table that was turned has one measure in a row
    columns = [
        column([row.entries[i] for row in rows], aligned=aligned, siunitx=siunitx)
        for i in range(len(table.columns))
    ]
    widths = [max(each.width, _title_width(table, i, each)) for i, each in enumerate(columns)]
    labels = min(max([len(table.titles[0]), *(_label_width(row) for row in rows)]), _LABEL)
    left = float(labels)
    if table.titles[1]:
        left += max([len(table.titles[1]), *(len(row.seeds) for row in rows)])
    for layout in _LAYOUTS:
        room = _TURNED if layout.turned else _UPRIGHT
        if _taken(layout, left, widths, table) <= room:
            break
    panels = list(_panels(layout, left, widths, table))
    parts = [
        _part(table, columns, widths, chosen, page, layout)
        for page in _pages(table, layout, len(panels))
        for chosen in panels
    ]
    return layout, parts


def _label_width(row: Row) -> int:
    return len(row.label) + len(row.marks) + len(row.verdict) + 2


def _taken(layout: Layout, left: float, widths: Sequence[float], table: Table) -> float:
    """About the width of a `tabular`, in points: a letter is half as wide as it is high."""
    gaps = 2 * len(widths) + (2 if table.titles[1] else 0)
    return 0.54 * layout.letter * (left + sum(widths)) + layout.beside * gaps


def _panels(
    layout: Layout, left: float, widths: Sequence[float], table: Table
) -> Iterator[list[int]]:
    """The numbers of the columns that stand side by side."""
    room = _TURNED if layout.turned else _UPRIGHT
    panel: list[int] = []
    for i, width in enumerate(widths):
        if panel and _taken(layout, left, [*(widths[j] for j in panel), width], table) > room:
            yield panel
            panel = []
        panel.append(i)
    yield panel


def _pages(table: Table, layout: Layout, panels: int) -> Iterator[list[RowGroup]]:
    """The groups, parted so that each part fits a page; one that is longer goes on in the next."""
    most = _LINES[layout.turned]
    page: list[RowGroup] = []
    lines = 0
    for group in table.groups:
        if page and lines + _group_lines(group) > most:
            yield page
            page, lines = [], 0
        left = group
        while _group_lines(left) > most:
            n = _fitting(left.rows, most - 2)
            yield [replace(left, rows=left.rows[:n], references=())]
            left = replace(left, name=f"{group.name}, continued", short=(), rows=left.rows[n:])
        page.append(left)
        lines += _group_lines(left)
    yield page


def _group_lines(group: RowGroup) -> int:
    return 2 + sum(map(_row_lines, group.rows)) + len(group.references)


def _row_lines(row: Row) -> int:
    return math.ceil(_label_width(row) / _LABEL)


def _fitting(rows: Sequence[Row], lines: int) -> int:
    """How many rows, one at least, take no more lines."""
    taken = list(accumulate(map(_row_lines, rows)))
    return max(1, sum(each <= lines for each in taken))


def _part(
    table: Table,
    columns: Sequence[Column],
    widths: Sequence[float],
    chosen: Sequence[int],
    page: Sequence[RowGroup],
    layout: Layout,
) -> Part:
    seeds = bool(table.titles[1])
    place = {id(row): i for i, row in enumerate(_rows(table))}
    long = any(_label_width(row) > _LABEL for row in _rows(table))
    size = 0.54 * layout.letter * _LABEL
    preamble = rf">{{\raggedright\arraybackslash\hangindent=1em}}p{{{size:.0f}pt}}" if long else "l"
    preamble += "r" * seeds
    for i in chosen:
        # What a title has beyond its two columns would all go to the right one.
        beyond = 0.27 * layout.letter * (widths[i] - columns[i].width) * (columns[i].span == 2)
        preamble += rf">{{\hspace{{{beyond:.1f}pt}}}}" if beyond > 1 else ""
        preamble += columns[i].preamble
    heads: list[str] = [escape_latex(table.titles[0].capitalize())]
    heads += [escape_latex(table.titles[1].capitalize())] if seeds else []
    for i in chosen:
        heads.append(_head(table, i, columns[i], layout))
    blocks = []
    inside = all(
        _has_room(table, group, columns, widths, chosen) for group in page if group.references
    )
    for group in page:
        if not seeds and not any(_says(row, chosen) for row in group.rows):
            continue
        heading = _heading(table, group, columns, chosen, place if inside else {})
        rows = group.rows if inside else (*group.rows, *group.references)
        lines = [_line(row, place[id(row)], columns, chosen, seeds=seeds) for row in rows]
        blocks.append((heading, tuple(lines)))
    return Part(preamble, tuple(heads), tuple(blocks))


def _has_room(
    table: Table,
    group: RowGroup,
    columns: Sequence[Column],
    widths: Sequence[float],
    chosen: Sequence[int],
) -> bool:
    """Whether the heading fits to the left of the thresholds of true data."""
    known = [i for i in chosen if group.references[0].entries[i].number]
    if not known or any(columns[i].span != 2 for i in known):
        return False
    room = 12 + 5 * bool(table.titles[1])
    room += sum(round(widths[i]) + 2 for i in chosen if i < known[0])
    return len(group.name) + len(", ".join(group.short)) + 4 <= room


def _heading(
    table: Table,
    group: RowGroup,
    columns: Sequence[Column],
    chosen: Sequence[int],
    place: dict[int, int],
) -> str:
    """The line of a group's heading; with the thresholds of true data in it, if they have places.

    `place` says which line of the columns a row has, by the row's id.
    """
    facts = rf"\enspace {escape_latex(', '.join(group.short))}" if group.short else ""
    name = rf"\textbf{{{breakable(group.name)}}}{facts}"
    seeds = bool(table.titles[1])
    if not group.references or not place:
        width = 1 + seeds + sum(columns[i].span for i in chosen)
        return rf"\multicolumn{{{width}}}{{@{{}}l}}{{{name}}}"
    row = group.references[0]
    known = [i for i in chosen if row.entries[i].number]
    width = 1 + seeds + sum(columns[i].span for i in chosen if i < known[0])
    cells = [rf"\multicolumn{{{width}}}{{@{{}}l}}{{{name}}}"]
    for i in (i for i in chosen if i >= known[0]):
        blank = "&" if columns[i].span > 1 else ""
        cells.append(rf"$\tau$:\,{columns[i].cells[place[id(row)]]}" if i in known else blank)
    return " & ".join(cells)


def _rows(table: Table) -> list[Row]:
    return [row for group in table.groups for row in (*group.rows, *group.references)]


def _says(row: Row, chosen: Sequence[int]) -> bool:
    return any(row.entries[i].number or row.entries[i].word for i in chosen)


def _title_width(table: Table, i: int, of: Column) -> float:
    title = table.columns[i]
    lines = (title.title,) if "$" in title.latex else stacked(title.title, of.width)
    return min(max(map(len, lines)), _TITLE) * 1.02


def _head(table: Table, i: int, of: Column, layout: Layout) -> str:
    title, shown = table.columns[i].title, table.columns[i].latex
    if "$" not in shown:
        lines = stacked(shown or title, of.width)
        if max(map(len, lines)) > _TITLE:
            width = 0.54 * layout.letter * _TITLE
            shown = rf"\parbox[b]{{{width:.0f}pt}}{{\raggedleft {breakable(title)}}}"
        elif len(lines) > 1:
            where = "c" if of.span > 1 or of.preamble.startswith("S") else "r"
            both = r"\\".join(map(escape_latex, lines))
            shown = rf"\shortstack[{where}]{{{both}}}"
        else:
            shown = escape_latex(lines[0])
    if of.preamble.startswith("S"):
        return f"{{{shown}}}"
    return rf"\multicolumn{{{of.span}}}{{c}}{{{shown}}}" if of.span > 1 else shown


def _line(
    row: Row, place: int, columns: Sequence[Column], chosen: Sequence[int], *, seeds: bool
) -> str:
    label = row.latex or breakable(row.label)
    label += marked(row.marks)
    label += rf" \emph{{{escape_latex(row.verdict)}}}" if row.verdict else ""
    cells = [rf"\quad {label}"]
    cells += [escape_latex(row.seeds)] if seeds else []
    return " & ".join([*cells, *(columns[i].cells[place] for i in chosen)])


def _height(part: Part) -> int:
    return sum(1 + len(lines) for _, lines in part.blocks)


def _note_lines(table: Table, layout: Layout) -> int:
    notes = sum(math.ceil((len(note.text) + 4) / _NOTE[layout.turned]) for note in table.notes)
    return notes + math.ceil(len(table.caption) / _NOTE[layout.turned])
