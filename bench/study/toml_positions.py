"""Where in a TOML file its keys and values stand, which `tomllib` does not tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

#: The way to a key or a value: names of tables and keys, places in arrays.
Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<text>\"{3}(?:\\.|[^\\])*?\"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')
    |(?P<mark>[\[\]{},=\n])
    |(?P<bare>[^\s\[\]{},=\#"']+)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Position:
    """A place in a text; lines and columns are counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True)
class Positions:
    """The first place of each key, and that of each value."""

    keys: dict[Path, Position] = field(default_factory=dict)
    values: dict[Path, Position] = field(default_factory=dict)


def position(text: str, offset: int) -> Position:
    """The place of the character at an offset."""
    return Position(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def positions(text: str) -> Positions:
    """The places of a valid TOML text's keys and values, whatever way it is written."""
    found = Positions()
    tokens = _Tokens(text)
    table: Path = ()
    while tokens.kind != "end":
        if tokens.value == "\n":
            tokens.step()
        elif tokens.value == "[":
            while tokens.value == "[":
                tokens.step()
            table = _key(tokens, (), found)
            while tokens.value == "]":
                tokens.step()
        else:
            _assignment(tokens, table, found)
    return found


class _Tokens:
    """The tokens of a text, one at a time: `kind` (comment and blanks left out), `value`, `at`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._rest: Iterator[re.Match[str]] = _TOKEN.finditer(text)
        self.step()

    def step(self) -> None:
        """Go on to the next token; at the end the kind is `end`."""
        match = next((m for m in self._rest if m.lastgroup != "comment"), None)
        self.kind = match.lastgroup if match else "end"
        self.value = match.group() if match else ""
        self._offset = match.start() if match else len(self._text)

    @property
    def at(self) -> Position:
        """Where the token begins."""
        return position(self._text, self._offset)


def _key(tokens: _Tokens, table: Path, found: Positions) -> Path:
    """Read a key, dotted or not, and note where each of its parts is first named."""
    path = table
    while tokens.kind in ("bare", "text"):
        parts = tokens.value.split(".") if tokens.kind == "bare" else [tokens.value[1:-1]]
        for part in filter(None, parts):
            path = (*path, part)
            found.keys.setdefault(path, tokens.at)
        tokens.step()
    return path


def _assignment(tokens: _Tokens, table: Path, found: Positions) -> None:
    path = _key(tokens, table, found)
    tokens.step()  # the equals sign
    _value(tokens, path, found)


def _value(tokens: _Tokens, path: Path, found: Positions) -> None:
    found.values[path] = tokens.at
    if tokens.value == "[":
        tokens.step()
        place = 0
        while tokens.value != "]" and tokens.kind != "end":
            if tokens.value in (",", "\n"):
                tokens.step()
                continue
            _value(tokens, (*path, place), found)
            place += 1
        tokens.step()
    elif tokens.value == "{":
        tokens.step()
        while tokens.value != "}" and tokens.kind != "end":
            if tokens.value in (",", "\n"):
                tokens.step()
            else:
                _assignment(tokens, path, found)
        tokens.step()
    else:  # a date has two parts
        while tokens.kind in ("bare", "text"):
            tokens.step()
