"""The baseline: one JSON file that a maintainer can read, and whose changes a diff shows.

A figure has one line, its values in the order of the cell's seeds. The cells are in the order of
their names, everything else in that of its keys.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import DataError, UsageError
from bench.gate.cells import Cell, Measured, Run
from bench.gate.place import LIBRARIES, differences
from bench.gate.watched import FIGURES

#: The layout of the file. A program reads its own layout alone: a baseline is made anew at no loss.
FORMAT = 1

#: Where it lies from a checkout's root.
DEFAULT = Path("results") / "baseline" / "check.json"

_AGAIN = "Make it anew with `bench check --update`, on a tree that is well."


class Unreadable(DataError):
    """A file that a new baseline may take the place of: damaged, or of an older layout."""


@dataclass(frozen=True)
class Baseline:
    """What was measured, and by what: the version, the commit and the date (`made`)."""

    made: Mapping[str, str | None]
    measured: Measured


def read(path: Path) -> Baseline:
    """The baseline in a file.

    Raises:
        UsageError: there is none.
        Unreadable: it is not what was written, or of an older layout.
        DataError: it can't be read, or a newer program wrote it.
    """
    try:
        content = json.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise UsageError(
            f"There is no baseline {path}.",
            "Name one with --baseline, or make one with `bench check --update`.",
        ) from None
    except OSError as error:
        raise DataError(f"The baseline {path} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise Unreadable(f"The baseline {path} is not JSON: {error}.", _AGAIN) from error
    layout = content.get("format") if isinstance(content, dict) else None
    if isinstance(layout, int) and layout > FORMAT:
        raise DataError(
            f"The baseline {path} has layout {layout}; this version reads layout {FORMAT}.",
            "Install a newer cnf-bench.",
        )
    if layout != FORMAT:
        raise Unreadable(
            f"The baseline {path} has layout {layout!r}; this version reads layout {FORMAT}.",
            _AGAIN,
        )
    try:
        return _baseline(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise Unreadable(f"The baseline {path} is not what was written: {told}.", _AGAIN) from error


def text(baseline: Baseline) -> str:
    """The file of a baseline."""
    measured = baseline.measured
    parts = {
        "cells": [_cell_content(c) for c in sorted(measured.cells, key=lambda c: c.name)],
        "environment": dict(measured.environment),
        "format": FORMAT,
        "judge": dict(measured.judge),
        "made": dict(baseline.made),
    }
    return "\n".join(_lines(parts)) + "\n"


def joined(old: Baseline, new: Measured) -> Measured:
    """The cells of both, the new in place of the old.

    Raises:
        UsageError: they can't stand in one baseline.
    """
    keys = {cell.key for cell in new.cells}
    left = tuple(cell for cell in old.measured.cells if cell.key not in keys)
    if not left:
        return new
    against = differences(new.environment, old.measured.environment)
    if new.judge != old.measured.judge:
        against.append("another judge")
    if against:
        raise UsageError(
            "A part of a baseline can be made anew only where the rest was made, and this is "
            f"elsewhere: {'; '.join(against)}.",
            "Make all of it anew: leave out -m and -d.",
        )
    return replace(new, cells=(*left, *new.cells))


def chosen(
    measured: Measured, methods: Collection[str] = (), datasets: Collection[str] = ()
) -> Measured:
    """Only the cells of these methods and data sets, where any is named."""
    cells = tuple(
        cell
        for cell in measured.cells
        if (not methods or cell.method in methods) and (not datasets or cell.dataset in datasets)
    )
    return replace(measured, cells=cells)


def _baseline(content: Mapping[str, Any]) -> Baseline:
    environment = _mapping(content["environment"], "environment")
    for name in ("device", "threads", "cpu_capability", "arithmetic"):
        environment[name]
    for name in LIBRARIES:
        _mapping(environment["packages"], "packages")[name]
    cells = tuple(_cell(_mapping(c, "a cell")) for c in _sequence(content["cells"], "cells"))
    keys = [cell.key for cell in cells]
    for cell in cells:
        if keys.count(cell.key) > 1:
            raise ValueError(f"{cell.name} stands there twice")
    made = _mapping(content["made"], "made")
    return Baseline(made, Measured(environment, _mapping(content["judge"], "judge"), cells))


def _cell(content: Mapping[str, Any]) -> Cell:
    seeds = [_whole(seed, "a seed") for seed in _sequence(content["seeds"], "seeds")]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError("a cell has no seeds, or one of them twice")
    figures: dict[str, list[float | None]] = {}
    for name, values in _mapping(content["figures"], "figures").items():
        if name not in FIGURES:
            raise ValueError(f"there is no figure {name!r}")
        figures[name] = [_value(value, name) for value in _sequence(values, name)]
        if len(figures[name]) != len(seeds):
            raise ValueError(f"{name} has {len(figures[name])} values for {len(seeds)} seeds")
    return Cell(
        method=_word(content["method"], "method"),
        settings=_mapping(content["settings"], "settings"),
        dataset=_word(content["dataset"], "dataset"),
        revision=_word(content["revision"], "revision"),
        minibatches=_whole(content["minibatches"], "minibatches"),
        batch_size=_whole(content["batch_size"], "batch_size"),
        version=_word(content["version"], "version"),
        config=_mapping(content["config"], "config"),
        runs={
            seed: Run("ok", None, {name: values[k] for name, values in figures.items()})
            for k, seed in enumerate(seeds)
        },
    )


def _cell_content(cell: Cell) -> dict[str, Any]:
    content = {name: value for name, value in vars(cell).items() if name != "runs"}
    seeds = sorted(cell.runs)
    values = {name: [cell.runs[s].figures.get(name) for s in seeds] for name in FIGURES}
    figures = {n: v for n, v in values.items() if any(value is not None for value in v)}
    return content | {"seeds": seeds, "figures": figures}


def _lines(value: Any, depth: int = 0, last: str = "") -> Iterator[str]:
    """JSON, a line for each value and for each list of numbers."""
    pad = " " * depth
    if isinstance(value, Mapping) and value:
        yield "{"
        items = sorted(value.items())
        for k, (name, inner) in enumerate(items):
            first, *rest = _lines(inner, depth + 1, "," if k + 1 < len(items) else "")
            yield f"{pad} {json.dumps(name)}: {first}"
            yield from rest
        yield f"{pad}}}{last}"
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        yield "["
        for k, inner in enumerate(value):
            first, *rest = _lines(inner, depth + 1, "," if k + 1 < len(value) else "")
            yield f"{pad} {first}"
            yield from rest
        yield f"{pad}]{last}"
    else:
        yield json.dumps(value, allow_nan=False, ensure_ascii=False) + last


def _mapping(value: Any, of: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"its {of!r} is no table")
    return value


def _sequence(value: Any, of: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError(f"its {of!r} is no list")
    return value


def _word(value: Any, of: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"its {of!r} is no text")
    return value


def _whole(value: Any, of: str) -> int:
    if type(value) is not int:
        raise TypeError(f"its {of!r} is no whole number")
    return value


def _value(value: Any, of: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"its {of!r} holds {value!r}, which is no number")
    return value
