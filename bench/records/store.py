"""The record of a run: one JSON file, written once, whole, and never edited.

A run lives in `RESULTS/<run>/`: `record.json`, `curve.jsonl`, `model.pt`, `samples.npz`, `log.txt`.
While it is under way it lives in `RESULTS/<run>.part/`, with its checkpoints; that folder takes its
final name in one rename when the record is in it. So a folder without the suffix is a finished run,
whatever was killed when. One whose record was damaged later is set aside as
`RESULTS/<run>.damaged/` when its cell is made again.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.errors import DataError, UsageError, unknown
from bench.records.spec import RunSpec

#: The layout of `record.json`. A program reads records of its own layout and older ones.
FORMAT = 1

#: How a run can end.
STATUSES = ("ok", "diverged", "timeout", "oom", "error")

#: The checkpoints in a run's folder: kept where the run can go on, see `publish`.
CHECKPOINTS = "checkpoint*"

#: What a run that goes on starts from, and what it adds to.
_CONTINUED = (CHECKPOINTS, "curve.jsonl", "log.txt")

#: Endings of folders that hold no finished run.
_UNFINISHED = (".part", ".replaced", ".damaged")

#: How `write_json` begins and ends a record of this layout; what lies deeper ends indented.
_HEAD, _TAIL = f'{{\n "format": {FORMAT},\n'.encode(), b"\n}\n"

Record = dict[str, Any]


class Damaged(DataError):
    """A record that is not what was written: cut off, or edited by hand."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file so that it is there whole or not at all: temporary file, sync, rename.

    Numbers that are not finite become null: JSON has none of them.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(finite(content), file, indent=1, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    os.replace(temporary, path)


def part(results: Path, run: str) -> Path:
    """The folder of a run that is under way."""
    return results / f"{run}.part"


def outline(spec: RunSpec) -> Record:
    """The record of a run that has not begun: what was asked for."""
    included = {"include": [Path(file).name for file in spec.include]} if spec.include else {}
    return {
        "format": FORMAT,
        "run": spec.run,
        "key": spec.key,
        "status": "error",
        "reason": None,
        "method": {
            "name": spec.method,
            "version": spec.version,
            "preset": spec.preset,
            "settings": dict(spec.settings),
            "config": dict(spec.config),
        },
        "dataset": {"name": spec.label, "revision": spec.revision},
        **included,
        "budget": {
            "name": spec.budget,
            "minibatches": spec.minibatches,
            "batch_size": spec.batch_size,
        },
        "seed": spec.seed,
        "judge": asdict(spec.judge),
        "training": {},
        "metrics": {},
        "cost": {},
        "environment": {"device": spec.device},
        "started": utc(),
    }


def utc() -> str:
    """The time, as records have it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def begin(results: Path, run: str) -> Path:
    """The folder of a run that is to be made: with what a run that can go on has left, else empty.

    A run goes on from the checkpoints of one that was cut off, or else of one that has failed.
    Only whoever holds the run's lock may call this.
    """
    folder, final = part(results, run), results / run
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob(CHECKPOINTS)):
        for path in folder.iterdir():
            if path.name != "log.txt":
                path.unlink()
        for pattern in _CONTINUED if any(final.glob(CHECKPOINTS)) else ():
            for path in final.glob(pattern):
                if not (folder / path.name).exists():
                    shutil.copy2(path, folder)
    return folder


def publish(results: Path, run: str, record: Record) -> None:
    """Write the record into the folder of the run under way and give the folder its final name.

    A finished run of that name is replaced; until the last rename it stays readable. Checkpoints
    are kept where the run could go on from them: where it timed out, was killed or met an error.
    """
    folder = part(results, run)
    write_json(folder / "record.json", record)
    if record.get("status") in ("ok", "diverged"):
        for path in folder.glob(CHECKPOINTS):
            path.unlink()
    _place(results, run)


def finish(results: Path, run: str) -> Record | None:
    """Put a run in place whose record was written, and which was cut off there; its record.

    None where there is no such run. Only whoever holds the run's lock may call this.
    """
    try:
        text = (part(results, run) / "record.json").read_text(encoding="utf-8")
        written: Record = json.loads(text)
    except (OSError, ValueError):
        return None
    publish(results, run, written)
    return written


def _place(results: Path, run: str) -> None:
    folder, final = part(results, run), results / run
    replaced = results / f"{run}.replaced"
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        os.rename(final, replaced)
    os.rename(folder, final)
    shutil.rmtree(replaced, ignore_errors=True)


def restore(results: Path) -> None:
    """Put back finished runs whose replacement was cut off between two renames."""
    for replaced in results.glob("*.replaced"):
        final = replaced.with_suffix("")
        if final.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.rename(replaced, final)


def names(results: Path) -> list[str]:
    """The names of the finished runs below `results`, sorted; no record is read."""
    try:
        with os.scandir(results) as entries:
            found = [e.name for e in entries if not e.name.endswith(_UNFINISHED)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(n for n in found if os.path.isfile(os.path.join(results, n, "record.json")))


def read(results: Path, run: str) -> Record | None:
    """The record of a finished run; None where there is none.

    Raises:
        Damaged: the record is not one.
        DataError: the record can't be read, or a newer program wrote it.
    """
    path = os.path.join(results, run, "record.json")  # of thousands, pathlib's would be felt
    try:
        with open(path, "rb") as file:
            record: Record = json.loads(file.read().decode())
        layout = record["format"]
        if not isinstance(layout, int):
            raise TypeError(f"its layout is {layout!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        kind = DataError if isinstance(error, OSError) else Damaged
        raise kind(
            f"The record {path} can't be read: {type(error).__name__}: {error}.",
            "Move its folder away, and run that cell again.",
        ) from error
    if layout > FORMAT:
        raise DataError(
            f"The record {path} has layout {layout}; this version reads up to {FORMAT}.",
            "Install a newer cnf-bench.",
        )
    return record


def is_there(results: Path, run: str) -> bool:
    """Whether a run is finished, by a glance at both ends of its record.

    A record that was cut off or that a newer program wrote is found out so, at a fraction of the
    cost of reading it; one that was edited in the middle is not.

    Raises:
        DataError: as `read`.
    """
    try:
        with open(os.path.join(results, run, "record.json"), "rb") as file:
            head = file.read(len(_HEAD))
            file.seek(-len(_TAIL), os.SEEK_END)
            if head == _HEAD and file.read() == _TAIL:
                return True
    except OSError:  # `read` says what it is
        pass
    return read(results, run) is not None


def read_all(results: Path) -> Iterator[Record]:
    """Every finished run below `results`, by name.

    Raises:
        DataError: as `read`.
    """
    for name in names(results):
        record = read(results, name)
        if record is not None:
            yield record


def read_undamaged(results: Path) -> Iterator[Record]:
    """As `read_all`, without the runs whose record is damaged."""
    for name in names(results):
        with suppress(Damaged):
            record = read(results, name)
            if record is not None:
                yield record


def stamp(record: Record) -> list[Any]:
    """What tells a record from another one of the same run: when it began and when it ended."""
    return [record["started"], record.get("finished")]


def set_aside(results: Path, run: str) -> Path | None:
    """Rename the folder of a run whose record is damaged; one that was set aside before gives way.

    Returns:
        Where it is now; None where its record can be read after all, or is gone.
    """
    try:
        read(results, run)
    except Damaged:
        aside = results / f"{run}.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.rename(results / run, aside)
            return aside
    return None


def find(results: Path, name: str) -> Record:
    """The record of the run `name`, or of the only run whose name starts so.

    Raises:
        UsageError: no run's name starts so, or more than one's.
    """
    runs = names(results)
    matches = [name] if name in runs else sorted(r for r in runs if r.startswith(name))
    if len(matches) > 1:
        raise UsageError(f"{name!r} is the start of {len(matches)} runs:", ", ".join(matches[:5]))
    if not matches:
        raise unknown(f"run in {results}", name, runs)
    record = read(results, matches[0])
    assert record is not None
    return record


def finite(value: Any) -> Any:
    """The value with null for every number in it that is not finite, as JSON has to have it."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
