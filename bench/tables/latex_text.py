"""Text as LaTeX that prints it, with places to break what is long."""

from __future__ import annotations

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
_WORD = 18


class Ready(str):
    """Text in the output's own language, not to be escaped again."""

    __slots__ = ()


def escape_latex(text: object) -> Ready:
    """Text as LaTeX that prints it; letters beyond Latin become their code points.

    pdflatex knows no others without further packages, and a table must always compile.
    """
    if isinstance(text, Ready):
        return text
    return Ready(" ".join("".join(map(_letter, word)) for word in str(text).split()))


def breakable(text: object) -> Ready:
    """As `escape_latex`, and a long word may go on in the next line after any of its letters."""
    if isinstance(text, Ready):
        return text
    words = []
    for word in str(text).split():
        between = r"\allowbreak{}" if len(word) > _WORD else ""
        words.append(between.join(map(_letter, word)))
    return Ready(" ".join(words))


def _letter(letter: str) -> str:
    if letter in _LETTERS:
        return _LETTERS[letter]
    if letter in MATH:
        return f"${MATH[letter]}$"
    accented = letter <= "ÿ" and unicodedata.decomposition(letter)
    if letter.isprintable() and (letter.isascii() or accented):
        return letter
    return f"[U+{ord(letter):04X}]"
