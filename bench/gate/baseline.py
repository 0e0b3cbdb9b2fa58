"""The baseline: one JSON file that a maintainer can read, and whose changes a diff shows.

A watched number has one line, its values in the order of the cell's seeds. Cells are in the order
of their names, everything else in that of its keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.errors import DataError, UsageError
from bench.gate.measured import (
    KEPT,
    CellSetting,
    Measured,
    WatchedCell,
    WatchedRun,
    differences,
    watched,
)
from bench.records.model import EnvironmentRecord

#: The layout of the file. Only this one is read: making a baseline anew loses nothing.
FORMAT = 1

#: Where it is, from a checkout's root.
DEFAULT = Path("results") / "baseline" / "check.json"

_AGAIN = "Make it anew with `bench check --update`, on a commit that is known to be good."


class Unreadable(DataError):
    """A file that a new baseline may replace: damaged, or of an older layout."""


@dataclass(frozen=True)
class _FileCell(CellSetting):
    """A cell as the file has it: `figures` are the watched numbers, a value for each seed."""

    seeds: list[int]
    figures: dict[str, list[int | float | None]]


@dataclass(frozen=True)
class _File:
    made: dict[str, str | None]
    environment: EnvironmentRecord
    judge: dict[str, Any]
    cells: list[_FileCell]


def read(path: Path) -> Measured:
    """Read the baseline in a file.

    Raises:
        UsageError: there is none.
        Unreadable: it is damaged, or of an older layout.
        DataError: it can't be opened, or a newer program wrote it.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"There is no baseline {path}.",
            "Name one with --baseline, or make one with `bench check --update`.",
        ) from None
    except OSError as error:
        raise DataError(f"The baseline {path} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"The baseline {path} is not JSON: {error}.", _AGAIN) from error
    layout = content.get("format") if isinstance(content, dict) else None
    if layout != FORMAT:
        problem = f"The baseline {path} has layout {layout!r}; this version reads layout {FORMAT}."
        if isinstance(layout, int) and layout > FORMAT:
            raise DataError(problem, "Install a newer cnf-bench.")
        raise Unreadable(problem, _AGAIN)
    try:
        found = msgspec.convert(content, _File)
        cells = {cell.key: cell for cell in map(_cell, found.cells)}
        if len(cells) < len(found.cells):
            raise ValueError("a cell is in it twice")
    except ValueError as error:
        raise Unreadable(f"The baseline {path} is damaged: {error}.", _AGAIN) from error
    return Measured(found.environment, found.judge, tuple(cells.values()), found.made)


def text(measured: Measured) -> str:
    """Return the content of a baseline's file."""
    cells = []
    for cell in sorted(measured.cells, key=lambda cell: cell.name):
        seeds = sorted(cell.runs)
        values = {name: [cell.runs[s].numbers.get(name) for s in seeds] for name in watched()}
        known = {name: row for name, row in values.items() if any(v is not None for v in row)}
        content = {name: value for name, value in vars(cell).items() if name != "runs"}
        cells.append(content | {"seeds": seeds, "figures": known})
    kept = (*KEPT, "packages")
    file = {
        "cells": cells,
        "environment": {name: getattr(measured.environment, name) for name in kept},
        "format": FORMAT,
        "judge": dict(measured.judge),
        "made": dict(measured.made),
    }
    return "\n".join(_lines(file)) + "\n"


def joined(old: Measured, new: Measured) -> Measured:
    """Return the cells of both, the new ones replacing those of the same name.

    Raises:
        UsageError: they can't be in one baseline.
    """
    keys = {cell.key for cell in new.cells}
    left = tuple(cell for cell in old.cells if cell.key not in keys)
    if not left:
        return new
    reasons = differences(new.environment, old.environment)
    if new.judge != old.judge:
        reasons.append("other evaluation settings")
    if reasons:
        raise UsageError(
            "A part of a baseline can be updated only where the rest of it was made; this differs: "
            f"{'; '.join(reasons)}.",
            "Make all of it anew: leave out -m and -d.",
        )
    return replace(new, cells=(*left, *new.cells))


def _cell(content: _FileCell) -> WatchedCell:
    fields = dict(vars(content))
    seeds, numbers = fields.pop("seeds"), fields.pop("figures")
    where, known = content.name, watched()
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{where} has no seeds, or one of them twice")
    for name, values in numbers.items():
        if name not in known:
            raise ValueError(f"{where} has {name!r}, which is no watched number of this version")
        if len(values) != len(seeds):
            raise ValueError(f"{where} has {len(values)} values of {name} for {len(seeds)} seeds")
    runs = {
        seed: WatchedRun("ok", None, {name: values[k] for name, values in numbers.items()})
        for k, seed in enumerate(seeds)
    }
    return WatchedCell(**fields, runs=runs)


def _lines(value: Any, depth: int = 0, last: str = "") -> Iterator[str]:
    """JSON, a line for each value and for each list of numbers."""
    if isinstance(value, Mapping) and value:
        brackets, items = "{}", [(f"{json.dumps(k)}: ", v) for k, v in sorted(value.items())]
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        brackets, items = "[]", [("", v) for v in value]
    else:
        yield json.dumps(value, allow_nan=False, ensure_ascii=False) + last
        return
    yield brackets[0]
    for k, (label, inner) in enumerate(items, 1):
        first, *rest = _lines(inner, depth + 1, "," if k < len(items) else "")
        yield f"{' ' * depth} {label}{first}"
        yield from rest
    yield f"{' ' * depth}{brackets[1]}{last}"
