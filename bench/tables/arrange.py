"""Which rows of a comparison stand together, under what heading, and what each is called."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from bench.records.format import measured, whole
from bench.records.frame import Cell
from bench.tables.footnotes import Note
from bench.tables.labels import labels
from bench.tables.marks import FLOOR, amounts_of, heading_of

#: What a block of rows is.
By = Literal["dataset", "method", "budget"]
BY: tuple[By, ...] = ("dataset", "method", "budget")

#: What the rows of such a block are.
ROWS: dict[By, str] = {"dataset": "method", "method": "data set", "budget": "data set: method"}

#: How a heading calls data that are not the whole published set.
_KINDS = {
    "subset": "a subset",
    "redrawn": "redrawn",
    "own": "the user's table",
}


@dataclass(frozen=True)
class Block:
    """Cells that stand together, with their labels; the facts of the heading, and the short ones.

    `alone` is true where they are on one revision of a data set, under one budget.
    """

    name: str
    facts: tuple[str, ...]
    short: tuple[str, ...]
    cells: tuple[Cell, ...]
    labels: tuple[str, ...]
    alone: bool


def blocks(known: Sequence[Cell], by: By) -> list[Block]:
    """The blocks of a comparison's cells, which come in the order of `marks.place_of`."""
    headings = [(heading, list(members)) for heading, members in groupby(known, heading_of)]
    named = {
        id(cell): str(label)
        for _, members in headings
        for cell, label in zip(members, _labels(members), strict=True)
    }
    if by == "dataset":
        several = len({heading[2] for heading, _ in headings}) > 1
        return [
            Block(
                str(heading[0] or "?"),
                (*_facts(members), *_setting(heading, members)),
                (*_facts(members), *(_setting(heading, members)[:1] if several else ())),
                tuple(members),
                tuple(named[id(cell)] for cell in members),
                True,
            )
            for heading, members in headings
        ]
    places = _places([heading for heading, _ in headings], by)
    apart: dict[str, list[Cell]] = defaultdict(list)
    for cell in known:
        apart[str(cell.key["method"] if by == "method" else heading_of(cell)[2] or "?")].append(
            cell
        )
    found = []
    for name, members in sorted(apart.items(), key=lambda each: (each[0] == FLOOR, each[0])):
        told = []
        for cell in members:
            place, label = places[heading_of(cell)], named[id(cell)]
            if by == "method" and "run" not in cell.key:
                told.append(place + label.removeprefix(name))
            else:
                told.append(label if "run" in cell.key else f"{place}: {label}")
        title = name if by == "method" else f"budget {name}"
        found.append(Block(title, (), (), tuple(members), tuple(told), False))
    return found


def place_notes(known: Sequence[Cell], by: By) -> Iterable[Note]:
    """What the headings of data sets say, where there are none."""
    if by == "dataset":
        return
    headings = [(heading, list(members)) for heading, members in groupby(known, heading_of)]
    places = _places([heading for heading, _ in headings], by)
    for heading, members in headings:
        facts = ", ".join((*_facts(members), *_setting(heading, members)))
        yield Note("", f"{places[heading]}: {facts}.")


def _labels(members: Sequence[Cell]) -> Sequence[object]:
    return [c.key["run"] for c in members] if "run" in members[0].key else labels(members)


def _places(headings: Sequence[tuple[Any, ...]], by: By) -> dict[tuple[Any, ...], str]:
    """Each heading in a few words: the data set, and what tells it from others of its name."""
    names = Counter(heading[0] for heading in headings)
    budgets = Counter((heading[0], heading[2]) for heading in headings)
    revisions = {name: {h[1] for h in headings if h[0] == name} for name in names}
    found = {}
    for heading in headings:
        name, revision, budget = heading
        told = []
        if by == "method" and budgets[name, budget] < names[name]:
            told.append(f"budget {budget}")
        if len(revisions[name]) > 1:
            told.append(f"revision {str(revision)[:8]}")
        found[heading] = f"{name or '?'}" + (f" ({', '.join(told)})" if told else "")
    return found


def _facts(members: Sequence[Cell]) -> tuple[str, ...]:
    """What is to be known of the data."""
    d, kind, entropy, subset = (
        next((v for v in (c.shared(n) for c in members) if v is not None), None)
        for n in ("d", "data_kind", "entropy", "subset")
    )
    facts = [f"d = {d}"] if d is not None else []
    if kind in _KINDS or subset:
        facts.append(_KINDS.get(str(kind), _KINDS["subset"]))
    if entropy is not None:
        facts.append(f"best attainable NLL {measured(float(entropy))}")
    return tuple(facts)


def _setting(heading: tuple[Any, ...], members: Sequence[Cell]) -> tuple[str, str]:
    """The budget and the revision."""
    each = ", ".join(f"{whole(n)} × {whole(b)} rows" for n, b in amounts_of(members))
    budget = f"budget {heading[2] or '?'}" + (f" ({each})" if each else "")
    return budget, f"revision {str(heading[1] or 'unknown')[:8]}"
