"""Read TOML files, and check what they say against frozen dataclasses."""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench.errors import UsageError, unknown

_T = TypeVar("_T")

#: The words of msgspec's errors, and those of TOML.
_WORDS = {
    "Object missing required field": "missing key",
    "Expected": "expected",
    "Invalid enum value": "unknown value",
    "`object`": "table",
    "`str`": "string",
    "`": "",
}


def parse(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        UsageError: it can't be read, or is not TOML; names the line.
    """
    try:
        raw = path.read_bytes()
        return tomllib.loads(raw.decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path} is not UTF-8 text (line {line}).", "Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from error


def tables(path: Path) -> dict[str, dict[str, Any]]:
    """Return the content of a TOML file that consists of named tables.

    Raises:
        UsageError: as `parse`, or the file has a key that is not a table.
    """
    return convert(parse(path), dict[str, dict[str, Any]], f"{path}: ")


def convert(content: object, kind: type[_T], where: str) -> _T:
    """Return the content as a dataclass.

    Args:
        content: what `parse` returned, or a part of it.
        kind: the dataclass; limits stand in its annotations (`msgspec.Meta`).
        where: what comes before the key in an error, such as "study.toml: ".

    Raises:
        UsageError: an unknown or a missing key, a wrong type or a value outside the limits.
    """
    _refuse_unknown_keys(content, kind, where)
    try:
        found = msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        for word, plain in _WORDS.items():
            problem = problem.replace(word, plain)
        key = place.strip("`.").replace("[...]", "")
        raise UsageError(f"{where}{key and f'{key}: '}{problem}.") from error
    # msgspec leaves out of vars() what has its default; __init__ does not.
    return replace(found) if is_dataclass(found) else found  # type: ignore[type-var]


def _refuse_unknown_keys(content: object, kind: object, where: str) -> None:
    """Raise an error for a key that is no field; msgspec ignores those of a dataclass."""
    if not isinstance(content, Mapping) or not is_dataclass(kind):
        return
    hints = typing.get_type_hints(kind)
    for key, value in content.items():
        if key not in hints:
            error = unknown("key", key, hints)
            raise UsageError(f"{where}{error.problem}", error.remedy)
        _refuse_unknown_keys(value, hints[key], f"{where}{key}: ")
