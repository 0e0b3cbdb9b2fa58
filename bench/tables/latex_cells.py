r"""The cells of a LaTeX table: numbers aligned on the decimal point, bold, underlined, marked.

Without siunitx a column of numbers is two, `r@{}l`: what stands before the decimal point, and the
rest. With it, it is an `S` column. Numbers with a letter or a unit behind (98.6K, 512 MiB) are
aligned on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.records.format import Number
from bench.tables.latex_text import MATH, Ready, escape_latex
from bench.tables.marks import BEST, SECOND
from bench.tables.parts import Entry

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
