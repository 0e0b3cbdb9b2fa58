"""Text as LaTeX that prints it, with places to break what is long."""

from __future__ import annotations

import re
import unicodedata

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
_POWER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]\d{1,3})(?!\w)")


class Ready(str):
    """Text in the output's own language, not to be escaped again."""

    __slots__ = ()


def escape_latex(text: object) -> Ready:
    """Text as LaTeX that prints it; letters beyond Latin become their code points.

    pdflatex knows no others without further packages, and a table must always compile.
    """
    if isinstance(text, Ready):
        return text
    return Ready(" ".join(map(_word, str(text).split())))


def _word(word: str, between: str = "") -> str:
    """A word's letters, and its numbers with their powers of ten raised."""
    parts, end = [], 0
    for found in _POWER.finditer(word):
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
            _word(word, r"\allowbreak{}" if len(word) > _LONG else "") for word in str(text).split()
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
