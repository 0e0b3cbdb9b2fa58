"""The record of a run: one JSON file, written once, whole, and never edited.

A run lives in `RESULTS/<run>/`: `record.json`, `curve.jsonl`, `model.pt`, `samples.npz`, `log.txt`.
A run in progress lives in `RESULTS/<run>.part/`, with its checkpoints; that folder takes its final
name in one rename when the record is in it. So a folder without the suffix is a finished run,
whatever was killed when. One whose record was damaged later is set aside as
`RESULTS/<run>.damaged/` when its cell is made again.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from bench.errors import DataError, UsageError, unknown
from bench.paths import replacing
from bench.records.model import FORMAT, Damaged, Record, decode
from bench.records.spec import RunSpec

#: A record while its run goes on: the nested tables of `record.json`, filled as results come.
Draft = dict[str, Any]

#: The checkpoints in a run's folder: kept where the run can be resumed, see `publish`.
CHECKPOINTS = "checkpoint*"

#: What a resumed run starts from, and what it adds to.
_RESUMED = (CHECKPOINTS, "curve.jsonl", "log.txt")

#: Suffixes of folders that hold no finished run.
_UNFINISHED = (".part", ".replaced", ".damaged")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all.

    Numbers that are not finite become null: JSON has no such numbers.
    """
    text = json.dumps(finite(content), indent=1, allow_nan=False) + "\n"
    write_synced(path, lambda file: file.write(text.encode()))


def write_synced(
    path: Path, write: Callable[[IO[bytes]], object], before: Path | None = None
) -> None:
    """Have `write` fill a file whole or not at all: temporary file, sync, rename.

    `before` is the new name of the file that is replaced, if that is to be kept.
    """
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if before and path.exists():
            os.replace(path, before)


def part(results: Path, run: str) -> Path:
    """The folder of a run in progress."""
    return results / f"{run}.part"


def lock_file(results: Path, run: str) -> Path:
    """The lock that is held to write a run's folder."""
    return results / ".locks" / f"{run}.lock"


def outline(spec: RunSpec) -> Draft:
    """The draft of a run that has not begun: what was asked for."""
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
        **({"metric_versions": dict(spec.metrics)} if spec.metrics else {}),
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
    """The time now, as records keep it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def begin(results: Path, run: str) -> Path:
    """The folder for a run that starts: with what it can resume from, else empty.

    A run resumes from the checkpoints of one that was cut off, or else of one that failed. Only the
    holder of the run's lock may call this.
    """
    folder, final = part(results, run), results / run
    folder.mkdir(parents=True, exist_ok=True)
    anew = not any(folder.glob(CHECKPOINTS))
    for path in folder.iterdir():
        if path.suffix == ".tmp" or (anew and path.name != "log.txt"):
            path.unlink()
    if anew:
        for pattern in _RESUMED if any(final.glob(CHECKPOINTS)) else ():
            for path in final.glob(pattern):
                if not (folder / path.name).exists():
                    shutil.copy2(path, folder)
    return folder


def publish(results: Path, run: str, draft: Draft) -> None:
    """Write the record into the folder of the unfinished run and give the folder its final name.

    A finished run of that name is replaced; it stays readable until the last rename. Checkpoints
    are kept where the run could be resumed: where it timed out, was killed or met an error.
    """
    write_json(part(results, run) / "record.json", draft)
    _finish(results, run, draft.get("status"))


def finish(results: Path, run: str) -> Record | None:
    """Publish a run that was cut off after its record was written; None where there is none.

    Only the holder of the run's lock may call this.
    """
    path = part(results, run) / "record.json"
    try:
        record = decode(path.read_bytes(), str(path))
    except (OSError, DataError):
        return None
    _finish(results, run, record.status)
    return record


def _finish(results: Path, run: str, status: str | None) -> None:
    """Drop checkpoints that are no longer needed, and put the run's folder in place."""
    folder, final = part(results, run), results / run
    if status in ("ok", "diverged"):
        for path in folder.glob(CHECKPOINTS):
            path.unlink()
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
    """The names of the finished runs below `results`, sorted; no record is read.

    Raises:
        DataError: a folder can't be read.
    """
    found = []
    try:
        with os.scandir(results) as entries:
            for entry in entries:
                if not entry.name.endswith(_UNFINISHED):
                    with suppress(FileNotFoundError, NotADirectoryError):
                        os.stat(os.path.join(entry.path, "record.json"))
                        found.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DataError(
            f"{error.filename} can't be read: {error.strerror}.",
            "Check the permissions of the results folder (--results).",
        ) from error
    return sorted(found)


def read(results: Path, run: str) -> Record | None:
    """The record of a finished run; None where there is none.

    Raises:
        Damaged: the record is not what was written.
        DataError: the record can't be read, or a newer program wrote it.
    """
    path = os.path.join(results, run, "record.json")  # pathlib is slow for thousands of them
    try:
        with open(path, "rb") as file:
            return decode(file.read(), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"The record {path} can't be read: {error.strerror}.",
            "Check the permissions of its folder.",
        ) from error


def content(results: Path, run: str) -> dict[str, Any]:
    """The tables of a finished run's record as they are on disk, unknown keys included."""
    found: dict[str, Any] = json.loads((results / run / "record.json").read_bytes())
    return found


def read_all(results: Path) -> Iterator[Record]:
    """The record of every finished run below `results`, by name.

    Raises:
        DataError: as `read`.
    """
    for name in names(results):
        if record := read(results, name):
            yield record


def read_undamaged(results: Path) -> Iterator[Record]:
    """As `read_all`, but without damaged records."""
    for name in names(results):
        with suppress(Damaged):
            if record := read(results, name):
                yield record


def stamp(record: Record) -> list[Any]:
    """What distinguishes two records of one run: when it began and when it ended."""
    return [record.started, record.finished]


def set_aside(results: Path, run: str) -> Path | None:
    """Rename the folder of a run whose record is damaged, replacing one that was set aside before.

    Returns:
        The new folder; None where the record can be read after all, or is gone.
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
    """The record of the run `name`, or of the only run whose name starts with it.

    Raises:
        UsageError: no run matches, or several do.
    """
    runs = names(results)
    matches = [name] if name in runs else sorted(r for r in runs if r.startswith(name))
    if len(matches) > 1:
        raise UsageError(
            f"{name!r} is ambiguous: {len(matches)} runs start with it, such as",
            f"{', '.join(matches[:5])}.",
        )
    if not matches:
        raise unknown("run", name, runs, f"in {results}")
    record = read(results, matches[0])
    assert record is not None
    return record


def finite(value: Any) -> Any:
    """The value with None for every number in it that is not finite: JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
