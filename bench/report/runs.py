"""The runs of a report: a line for each, most of them in full, and how far others have come."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.records import catalogue
from bench.records.format import duration, measured, whole
from bench.records.model import Record
from bench.records.run_files import CURVE, last_entry
from bench.records.store import part
from bench.report import pictures
from bench.report.setting import Command, Gathered, commands
from bench.tables.details import Detail, details_by_run

#: So many runs are shown in full; of more, those that failed and the latest, so many of each.
IN_FULL, FAILED_IN_FULL, LATEST_IN_FULL = 200, 100, 100

#: Bytes of a failed run's log and of its traceback that are shown.
LOG_BYTES = 6_000

#: The columns of numbers in the list of all runs.
NUMBERS = ("nll", "mmd_m", "mmd_1", "train_seconds")


@dataclass(frozen=True)
class ListedRun:
    """A run in the list of all; what is shown of one in full is empty in one of too many runs.

    Attributes:
        record: its record.
        columns: those of `NUMBERS` as text, and as numbers to sort by, None without one.
        compared: whether it is part of the comparison.
        numbers: title and value of every metric and cost that it has.
        details: what its numbers rest on; none of a failed run.
        curve, not_drawn: its training curve, or why that is not drawn.
        command: what makes it again; None in one of too many runs.
        log, traceback: their ends, of a failed run.
    """

    record: Record
    columns: tuple[tuple[str, float | None], ...]
    compared: bool
    numbers: tuple[tuple[str, str], ...] = ()
    details: tuple[Detail, ...] = ()
    curve: pictures.Picture | None = None
    not_drawn: pictures.NotDrawn | None = None
    command: Command | None = None
    log: str = ""
    traceback: str = ""


def in_full(records: Sequence[Record]) -> set[str]:
    """The names of the runs that are shown in full: all, or the failed and the latest ones."""
    if len(records) <= IN_FULL:
        return {record.run for record in records}
    latest = sorted(records, key=lambda record: record.started, reverse=True)
    failed = [record for record in latest if record.status != "ok"][:FAILED_IN_FULL]
    return {record.run for record in [*latest[:LATEST_IN_FULL], *failed]}


def listed(gathered: Gathered, kept: pictures.Kept) -> Iterator[ListedRun]:
    """The runs, in the order of their records."""
    compared, full = set(gathered.compared["run"]), in_full(gathered.records)
    details = details_by_run(gathered.frame[gathered.frame["run"].isin(full)])
    draws = len(gathered.records) <= pictures.MOST_CURVES
    columns = [gathered.frame[name].astype("float64").tolist() for name in NUMBERS]
    for record, *values in zip(gathered.records, *columns, strict=True):
        shown: dict[str, Any] = {}
        folder = gathered.results / record.run
        if record.run in full:
            shown["numbers"] = tuple(_numbers(record))
            curve = pictures.curves(folder, kept) if draws else None
            shown["not_drawn" if isinstance(curve, pictures.NotDrawn) else "curve"] = curve
            (shown["command"],) = commands([record])
            if record.status == "ok":
                shown["details"] = tuple(details[record.run])
            else:
                for name in ("log", "traceback"):
                    shown[name] = tail(folder / f"{name}.txt", LOG_BYTES)
        numbers = tuple(
            (str(catalogue.number(name, value)), value) if value == value else ("–", None)
            for name, value in zip(NUMBERS, values, strict=True)
        )
        yield ListedRun(record, numbers, record.run in compared, **shown)


def _numbers(record: Record) -> Iterator[tuple[str, str]]:
    """Title and value of every metric and cost of the catalogue that the run has."""
    values = record.metrics | record.cost
    for each in catalogue.measures().values():
        value = values.get(each.path[1]) if each.path[:1] in (("metrics",), ("cost",)) else None
        if value is not None:
            yield each.title, str(catalogue.number(each.name, value, values.get(each.error)))


#: The ending of the folder of a run in progress.
_PART = part(Path(), "").name

#: Bytes at the end of a file that are read.
_TAIL = 16_384

#: Seconds without output after which the page says so.
SILENT = 120.0

_STEP = re.compile(r"mini-batch (\d+) of (\d+)")


@dataclass(frozen=True)
class Progress:
    """How far a run has come that has not ended, or that was killed.

    Attributes:
        run: its name.
        minibatch: the last mini-batch that it learned from, 0 before the first.
        total: how many there will be; None where it has not said so yet.
        note: its last validation NLL, its stage, how long it has written nothing.
    """

    run: str
    minibatch: int
    total: int | None
    note: str

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {whole(self.total)}"
        return f"{whole(self.minibatch)}{of} mini-batches"


def in_progress(results: Path) -> Iterator[Progress]:
    """The runs of a results folder that have not ended, by name."""
    for folder in sorted(results.glob(f"*{_PART}")):
        if folder.is_dir():
            try:
                yield _progress(folder)
            except (ArithmeticError, AttributeError, TypeError, ValueError):
                note = "its log or its curve is damaged"
                yield Progress(folder.name.removesuffix(_PART), 0, None, note)


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


def _progress(folder: Path) -> Progress:
    log = tail(folder / "log.txt")
    steps = _STEP.findall(log)
    logged = (last_entry(folder) or {}).get("minibatch", 0)
    minibatch = max(int(logged), int(steps[-1][0]) if steps else 0)
    lines = log.splitlines()
    notes = []
    if validated := re.findall(r"validation_nll (-?[\d.e+-]+)", log):
        notes.append(f"validation NLL {measured(float(validated[-1]))}")
    if lines and steps and not _STEP.search(lines[-1]):
        notes.append(lines[-1].partition(" ")[2][:80])
    written = []
    for path in (folder, folder / CURVE, folder / "log.txt"):
        with suppress(OSError):  # the run has not begun to write it, or has just ended
            written.append(path.stat().st_mtime)
    silent = time.time() - max(written, default=0.0)
    if silent > SILENT:
        notes.append(f"no output for {duration(silent)}: a long step, or the run was killed")
    total = int(steps[-1][1]) if steps else None
    return Progress(folder.name.removesuffix(_PART), minibatch, total, "; ".join(notes))
