"""Where the keys and values of a TOML text stand."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from bench.study.toml_positions import Position, positions

TEXT = '''\
# a = "not a key"
methods = ["a", 'b',  # "c"
  "d#", """e
f = ["]""", 5,
]
date = 1979-05-27 07:32:00
x . "y.z" = 1e-3
judge.rtol = -0.5   # [no table]
inline = { a = 1, b = { c = [true, [ ]] } }

  [tables.one]
key = """
[nothing]
k = 1 \\"""
"""

[["tables".many]]
k = 1
[[tables.many]]
m = """"quoted""""
'''

#: path -> (where its key stands, where its value does)
PLACES: dict[tuple[str | int, ...], tuple[tuple[int, int] | None, tuple[int, int] | None]] = {
    ("methods",): ((2, 1), (2, 11)),
    ("methods", 0): (None, (2, 12)),
    ("methods", 1): (None, (2, 17)),
    ("methods", 2): (None, (3, 3)),
    ("methods", 3): (None, (3, 9)),
    ("methods", 4): (None, (4, 13)),
    ("date",): ((6, 1), (6, 8)),
    ("x", "y.z"): ((7, 5), (7, 13)),
    ("judge", "rtol"): ((8, 1), (8, 14)),
    ("inline", "b", "c", 1): (None, (9, 36)),
    ("inline", "b", "c"): ((9, 25), (9, 29)),
    ("tables", "one"): ((11, 4), None),
    ("tables", "one", "key"): ((12, 1), (12, 7)),
    ("tables", "many", "k"): ((18, 1), (18, 5)),
    ("tables", "many", "m"): ((20, 1), (20, 5)),
}


@pytest.mark.parametrize("path", PLACES)
def test_places(path: tuple[str | int, ...]) -> None:
    tomllib.loads(TEXT)  # it is TOML
    found = positions(TEXT)
    key, value = PLACES[path]
    assert found.keys.get(path) == (Position(*key) if key else None)
    assert found.values.get(path) == (Position(*value) if value else None)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The ways to all values of a parsed text, but for those in arrays of tables."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in leaves(v, (*path, k))]
    if isinstance(value, list) and not any(isinstance(v, dict) for v in value):
        return [path, *(p for i, v in enumerate(value) for p in leaves(v, (*path, i)))]
    return [] if isinstance(value, list) else [path]


def test_nothing_is_found_that_is_not_there() -> None:
    found = {p for p in positions(TEXT).values if p[:2] != ("tables", "many")}
    parsed = set(leaves(tomllib.loads(TEXT)))
    assert found - {("inline",), ("inline", "b")} == parsed


@pytest.mark.parametrize("text", ["", "\n", "# only this", "a = 1", "a = [", "a = {", "[", "a"])
def test_the_ends(text: str) -> None:
    """What is no TOML never gets here; it ends all the same."""
    positions(text)
