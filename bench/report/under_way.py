"""Runs that have begun and not ended: how far each has come, by the files that it writes."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.records.format import duration, measured, whole
from bench.records.store import part

#: The ending of such a run's folder.
_PART = part(Path(), "").name

#: Bytes at the end of a file that are read.
_TAIL = 16_384

#: Seconds without a word after which a run is said to be silent.
SILENT = 120.0

_STEP = re.compile(r"mini-batch (\d+) of (\d+)")


@dataclass(frozen=True)
class UnderWay:
    """A run under way, or one that was cut off.

    Attributes:
        run: its name.
        minibatch: the last mini-batch that it learned from, 0 before the first.
        total: how many there will be; None where it has not said so yet.
        note: its last validation NLL, its stage, how long it has said nothing.
    """

    run: str
    minibatch: int
    total: int | None
    note: str


def under_way(results: Path) -> Iterator[UnderWay]:
    """The runs under way below a results folder, by name."""
    try:
        with os.scandir(results) as entries:
            found = sorted(e.name for e in entries if e.name.endswith(_PART) and e.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in found:
        yield _read(results / name)


def tail(path: Path, size: int = _TAIL) -> str:
    """The end of a text file, whole lines only; empty where it can't be read."""
    try:
        with open(path, "rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - size)
            file.seek(start)
            raw = file.read(size)
    except OSError:
        return ""
    if start:
        raw = raw.partition(b"\n")[2]
    return raw.decode("utf-8", "replace")


def _read(folder: Path) -> UnderWay:
    last = _last(tail(folder / "curve.jsonl"))
    log = tail(folder / "log.txt")
    steps = _STEP.findall(log)
    minibatch = max(int(last.get("minibatch") or 0), int(steps[-1][0]) if steps else 0)
    lines = log.splitlines()
    notes = []
    if validated := re.findall(r"validation_nll (-?[\d.e+-]+)", log):
        notes.append(f"validation NLL {measured(float(validated[-1]))}")
    if lines and steps and not _STEP.search(lines[-1]):
        notes.append(lines[-1].partition(" ")[2][:80])
    silent = time.time() - _written(folder)
    if silent > SILENT:
        notes.append(f"nothing new for {duration(silent)}: a long step, or it was cut off")
    total = int(steps[-1][1]) if steps else None
    return UnderWay(folder.name.removesuffix(_PART), minibatch, total, "; ".join(notes))


def _last(text: str) -> dict[str, float]:
    """The last whole entry of a curve."""
    for line in reversed(text.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:  # the line that is being written
            continue
        if isinstance(found, dict):
            return found
    return {}


def _written(folder: Path) -> float:
    """When anything in the folder was written last."""
    times = [0.0]
    for path in (folder, *(folder / name for name in ("curve.jsonl", "log.txt"))):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)


def said(run: UnderWay) -> str:
    """How far the run is, in words."""
    if run.total is None:
        return f"{whole(run.minibatch)} mini-batches"
    return f"{whole(run.minibatch)} of {whole(run.total)} mini-batches"
