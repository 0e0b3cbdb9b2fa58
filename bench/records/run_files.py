"""The files beside a record: the training curve, and the log-densities of the test rows."""

from __future__ import annotations

import io
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.records.model import Damaged
from bench.records.store import read_file, signed, verify

Array = NDArray[np.float64]

#: What a damaged archive raises; RuntimeError where a flag of it says that it is encrypted, or of
#: a version that is not known.
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

#: The names of the files: a line of JSON for each update, and the arrays.
CURVE, SAMPLES = "curve.jsonl", "samples.npz"

#: The header of a member of an archive (signature, version, flags, method, time, checksum, sizes,
#: lengths of the name and of what follows it), and what follows it where sizes are of ZIP64.
_HEAD, _ZIP64 = struct.Struct("<4sHHHII8sHH"), struct.Struct("<HHQQ")

#: What a method that trains in stages may log as the stage of an update.
STAGES = ("sweep", "block", "round", "stage")

#: A longer file is read in part: every second, third, ... update, and all validations.
MAX_BYTES = 4 * 2**20


@dataclass(frozen=True)
class TrainingCurve:
    """What was logged of a run's updates.

    Attributes:
        minibatches: the updates that were read, `(n,)`, counted from 1.
        seconds: training seconds up to each, `(n,)`.
        loss: the loss of each, `(n,)`; infinite where it was not finite.
        step_cost: CPU seconds of each step in passes of the reference computation, `(n,)`; NaN
            where a step was not timed so, and at validations.
        validation: mini-batch, seconds and validation NLL of each validation, `(m, 3)`; the NLL is
            infinite where the model could not be solved.
        stages: the mini-batches with which a later stage begins.
        stage: what a stage is called, such as block; empty without stages.
        every: the number of updates to one that was read.
    """

    minibatches: Array
    seconds: Array
    loss: Array
    step_cost: Array
    validation: Array
    stages: tuple[int, ...]
    stage: str
    every: int

    def seconds_to(self, nll: float) -> float | None:
        """Training seconds at the first validation with an NLL of at most `nll`, if any."""
        reached = self.validation[self.validation[:, 2] <= nll]
        return float(reached[0, 1]) if len(reached) else None


def read_curve(folder: Path) -> TrainingCurve | None:
    """The curve in the folder of a run; None where there is none, or none that can be read.

    A last line that was cut off is left out.

    Raises:
        Damaged: it is not the one that the run wrote.
    """
    lines: list[dict[str, Any]] = []
    try:
        content = read_file(folder, CURVE)
        every = max(1, math.ceil(len(content) / MAX_BYTES))
        for number, line in enumerate(io.BytesIO(content)):
            if number % every == 0 or b"validation_nll" in line:
                lines.append(json.loads(line))
    except OSError:
        return None
    except (ValueError, RecursionError):  # cut off: what comes before it counts
        pass
    try:
        return _curve(lines, every) if lines else None
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _curve(lines: list[dict[str, Any]], every: int) -> TrainingCurve:
    stage = next((name for name in STAGES if name in lines[0]), "")
    validated = [line for line in lines if "validation_nll" in line]
    return TrainingCurve(
        minibatches=_values(lines, "minibatch"),
        seconds=_values(lines, "seconds"),
        loss=_values(lines, "loss"),
        step_cost=np.array([_step_cost(line) for line in lines]),
        validation=np.column_stack(
            [_values(validated, name) for name in ("minibatch", "seconds", "validation_nll")]
        ),
        stages=tuple(
            int(line["minibatch"])
            for before, line in pairwise(lines)
            if before.get(stage) != line.get(stage)
        ),
        stage=stage,
        every=every,
    )


def _values(lines: list[dict[str, Any]], name: str) -> Array:
    """A value of each line; null is infinity."""
    return np.array([math.inf if line[name] is None else float(line[name]) for line in lines])


def _step_cost(line: Mapping[str, Any]) -> float:
    if "validation_nll" in line or not line.get("yardstick_cpu_seconds"):
        return math.nan
    return float(line["step_cpu_seconds"] / line["yardstick_cpu_seconds"])


def last_entry(folder: Path, tail_bytes: int = 2**13) -> dict[str, Any] | None:
    """The last whole line of the curve in a folder, by its last bytes alone."""
    try:
        with open(folder / CURVE, "rb") as file:
            file.seek(max(0, (folder / CURVE).stat().st_size - tail_bytes))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):  # the line that is being written
            continue
        if isinstance(entry, dict) and "minibatch" in entry:
            return entry
    return None


@dataclass(frozen=True)
class Target:
    """A validation NLL to be reached, in nats.

    Attributes:
        nll: the last validation NLL of the slowest run, the one with the most training seconds.
        slowest: the name of that run.
        seconds: for each run its training seconds at the first validation that is as good; None
            where there is none. A run is seen only where it is validated, so this is late by at
            most the time between two validations.
    """

    nll: float
    slowest: str
    seconds: Mapping[str, float | None]


def target(curves: Mapping[str, TrainingCurve]) -> Target | None:
    """The target of runs on the same data with the same seed, by name; None where none validated.

    Training seconds are those inside the methods' updates: validation is not among them.
    """
    ends = {
        run: curve.validation[-1]
        for run, curve in curves.items()
        if len(curve.validation) and math.isfinite(curve.validation[-1, 2])
    }
    if not ends:
        return None
    slowest = max(ends, key=lambda run: (ends[run][1], run))
    goal = float(ends[slowest][2])
    return Target(goal, slowest, {run: curve.seconds_to(goal) for run, curve in curves.items()})


@dataclass(frozen=True)
class Densities:
    """A run's log-densities of its test rows, `(rows,)`, in nats; `groups` are the rows' groups.

    `rows` says which rows they are: runs that agree in it hold the same rows in the same order.
    """

    log_prob: NDArray[np.floating]
    groups: NDArray[np.generic] | None
    rows: tuple[Any, ...]


def densities(
    folder: Path, asked: tuple[Any, ...], *, grouped: bool, nll: float | None = None
) -> Densities | None:
    """The densities that a run keeps; None where it keeps none, or none that can be used.

    Args:
        folder: the run's.
        asked: what tells which test rows were scored: the revision of the data, and the judge's.
        grouped: whether the rows come in groups, by the record. They are then of no use without
            the groups: as if they were independent, they would say too much.
        nll: the NLL in the record, if it has one.

    Raises:
        Damaged: they are not those that the run wrote, or their mean is not the NLL.
    """
    kept = arrays(folder, "log_prob", "groups")
    log_prob, groups = kept.get("log_prob"), kept.get("groups")
    if log_prob is None or log_prob.ndim != 1 or not log_prob.size or log_prob.dtype.kind != "f":
        return None
    if (groups is None and grouped) or (groups is not None and groups.shape != log_prob.shape):
        return None
    mean = float(log_prob.mean(dtype=float))
    if not math.isfinite(mean):  # nor is one of them
        return None
    off = 0.0 if nll is None else abs(mean + nll)
    # The NLL is their mean before they were rounded to float32, which is 6e-8 of each.
    if off > 1e-5 * abs(mean) and off > 1e-5 * float(np.abs(log_prob).mean(dtype=float)):
        raise Damaged(
            f"{folder} is damaged: the record has the NLL {nll:.7g}, {SAMPLES} has {-mean:.7g}.",
            "Copy it anew, or move it away and run that cell again.",
        )
    labels = None if groups is None else groups.tobytes()
    return Densities(log_prob, groups, (*asked, len(log_prob), labels))


def arrays(folder: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Of these arrays those that a run keeps, if they can be read.

    Raises:
        Damaged: they are not those that the run wrote.
    """
    path = os.path.join(folder, SAMPLES)
    try:
        found = _stored(path, names)
        if found is None or not all(signed(folder, f"{SAMPLES}:{name}") for name in found):
            with zipfile.ZipFile(path) as kept:  # compares the checksums that the archive has
                members = {*kept.namelist()}
                found = {n: kept.read(f"{n}.npy") for n in names if f"{n}.npy" in members}
        for name in names:
            verify(folder, f"{SAMPLES}:{name}", found.get(name))
        return {name: _array(content) for name, content in found.items()}
    except UNREADABLE:
        with suppress(OSError):  # there is none
            read_file(folder, SAMPLES)
        return {}


def _stored(path: str, names: Collection[str]) -> dict[str, bytes] | None:
    """Of these arrays those that an archive holds; None where it is not as `np.savez` writes it.

    `zipfile` takes ten times as long, and a comparison reads thousands of archives. The members
    follow one another, each after a header with its name and, as ZIP64 has them, its sizes.
    """
    found: dict[str, bytes] = {}
    file = os.open(path, os.O_RDONLY)
    try:
        place = 0
        while (head := os.pread(file, _HEAD.size + 256, place)).startswith(b"PK\3\4"):
            _, _, flags, method, _, _, sizes, name_bytes, more = _HEAD.unpack_from(head)
            start = _HEAD.size + name_bytes
            kind, _, size, packed = _ZIP64.unpack_from(head, start)
            if (flags, method, sizes, kind, size) != (0, 0, b"\xff" * 8, 1, packed):
                return None
            name = head[_HEAD.size : start].decode().removesuffix(".npy")
            if name in names:
                found[name] = os.pread(file, size, place + start + more)
            place += start + more + size
        return found if head.startswith(b"PK\1\2") else None
    except (struct.error, UnicodeDecodeError, OverflowError):
        return None
    finally:
        os.close(file)


def _array(content: bytes) -> NDArray[Any]:
    """The array that a `.npy` holds; equal headers are parsed once.

    A comparison reads thousands of small ones, and parsing a header takes longer than the rest.
    """
    start = 10 + int.from_bytes(content[8:10], "little")
    if content[:8] != b"\x93NUMPY\x01\x00":
        array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
        return array
    shape, by_columns, dtype = _header(content[8:start])
    return np.frombuffer(content, dtype, offset=start).reshape(
        shape, order="F" if by_columns else "C"
    )


@cache
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    return np.lib.format.read_array_header_1_0(io.BytesIO(content))
