"""What the rows of a comparison are called: the method, and what differs where it has several."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.records.format import whole
from bench.records.frame import Cell

#: Rows that differ in more settings than these, or whose label were longer, are numbered.
MOST, LONGEST = 3, 44

#: What tells cells apart besides their settings, and how it is said.
_KEYS: dict[str, Callable[[Any], str]] = {
    "version": lambda value: f"version {str(value)[:8]}",
    "device": lambda value: f"on {value}",
    "planned_minibatches": lambda value: f"{whole(value)} mini-batches",
    "batch_size": lambda value: f"batch size {whole(value)}",
}


@dataclass(frozen=True)
class Label:
    """`ffjord`, `ffjord (width=512)`, or `ffjord (2)` and what the number stands for."""

    text: str
    meaning: str = ""

    def __str__(self) -> str:
        return self.text


def labels(members: Sequence[Cell]) -> list[Label]:
    """The label of each of a group's cells.

    A method with several cells is told apart by what differs between them, and by numbers where
    that is too much to be read in a row.
    """
    by_method = defaultdict(list)
    for cell in members:
        by_method[str(cell.key["method"])].append(cell)
    found: dict[int, Label] = {}
    for name, rows in by_method.items():
        found |= dict(zip(map(id, rows), _labels(name, _differences(rows)), strict=True))
    return [found[id(cell)] for cell in members]


def _labels(name: str, told: Sequence[Sequence[str]]) -> list[Label]:
    """By what differs; by numbers where that is too long, or does not tell the rows apart."""
    texts = [", ".join(parts) for parts in told]
    named = [Label(f"{name} ({text})" if text else name) for text in texts]
    few = all(len(parts) <= MOST for parts in told)
    short = len(told) == 1 or max(len(label.text) for label in named) <= LONGEST
    if few and short and len(set(named)) == len(named):
        return named
    return [Label(f"{name} ({i})", text) for i, text in enumerate(texts, start=1)]


def _differences(rows: Sequence[Cell]) -> list[list[str]]:
    """For each of a method's cells, what it has and not all of them have."""
    chosen = [_settings(row) for row in rows]
    keys = [k for k in _KEYS if _differ([row.key for row in rows], k)]
    settings = [k for k in dict.fromkeys(k for each in chosen for k in each) if _differ(chosen, k)]
    return [
        [_KEYS[k](row.key[k]) for k in keys if row.key[k] is not None]
        + [_line(f"{k}={_plain(each[k])}") for k in settings if k in each]
        for row, each in zip(rows, chosen, strict=True)
    ]


def _settings(cell: Cell) -> dict[str, Any]:
    text = cell.shared("config")
    found: dict[str, Any] = json.loads(text) if text is not None else {}
    return found


def _differ(each: Sequence[dict[str, Any]], key: str) -> bool:
    return len({json.dumps(values[key]) if key in values else None for values in each}) > 1


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _line(text: str) -> str:
    return " ".join(text.split())
