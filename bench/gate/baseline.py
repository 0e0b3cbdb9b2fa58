"""The baseline: one JSON file that a maintainer can read, and whose changes a diff shows.

A watched number has one line, its values in the order of the cell's seeds. Cells are in the order
of their names, everything else in that of its keys.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import msgspec

from bench.errors import DataError, UsageError
from bench.gate.measured import KEPT, Measured, differences
from bench.records.model import is_intact, sealed

#: The layout of the file. Only this one is read: making a baseline anew loses nothing.
FORMAT = 1

#: Where it is, from a checkout's root.
DEFAULT = Path("results") / "baseline" / "check.json"

_AGAIN = "Make it anew with `bench check --update`, on a commit that is known to be good."


class Unreadable(DataError):
    """A file that a new baseline may replace: damaged, or of an older layout."""


def read(path: Path) -> Measured:
    """Read the baseline in a file.

    Raises:
        UsageError: there is none.
        Unreadable: it is damaged, or of an older layout.
        DataError: it can't be opened, or a newer program wrote it.
    """
    try:
        raw = path.read_bytes()
        content = msgspec.json.decode(raw)
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
    if "digest" in content and not is_intact(raw):
        raise Unreadable(f"The baseline {path} has changed since it was written.", _AGAIN)
    try:
        return msgspec.convert(content, Measured)
    except ValueError as error:
        raise Unreadable(f"The baseline {path} is damaged: {error}.", _AGAIN) from error


def text(measured: Measured) -> str:
    """Return the content of a baseline's file; its last line is a digest of the others."""
    cells = [vars(cell).copy() for cell in sorted(measured.cells, key=lambda cell: cell.name)]
    for cell in cells:
        cell.pop("failed")
    kept = (*KEPT, "packages")
    environment = {name: getattr(measured.environment, name) for name in kept}
    file = vars(measured) | {"cells": cells, "environment": environment, "format": FORMAT}
    lines = json.dumps(file, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    # A line for each list of numbers: text has neither line breaks nor bare brackets in JSON.
    rows = r"\[\n[^][{}\"]*\]"
    return sealed(re.sub(rows, lambda row: f"[{' '.join(row[0][1:-1].split())}]", lines)).decode()


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
