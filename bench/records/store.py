"""The record of a run: one JSON file, written once, whole, and never edited.

A run lives in `RESULTS/<run>/`: `record.json`, `curve.jsonl`, `model.pt`, `samples.npz`, `log.txt`.
A run in progress lives in `RESULTS/<run>.part/`, with its checkpoints; that folder takes its final
name in one rename when the record is in it. So a folder without the suffix is a finished run,
whatever was killed when. One whose record was damaged later is set aside as
`RESULTS/<run>.damaged/` when its cell is made again.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from bench.errors import DataError, UsageError, unknown
from bench.paths import replacing
from bench.records.bundle import sha256
from bench.records.model import FORMAT, Damaged, Record, decode, sealed
from bench.records.spec import RunSpec

#: A record while its run goes on: the nested tables of `record.json`, filled as results come.
Draft = dict[str, Any]

#: The checkpoints in a run's folder: kept where the run can be resumed, see `publish`.
CHECKPOINTS = "checkpoint*"

#: The files whose digests are not in the record: the log grows, checkpoints have their own.
_NOT_SIGNED = ("record.json", "log.txt", CHECKPOINTS, "*.tmp")

#: What a resumed run starts from, and what it adds to.
_RESUMED = (CHECKPOINTS, "curve.jsonl", "log.txt")

#: The digests of the runs whose records were read, by folder: to read thousands again takes long.
_digests: dict[str, Mapping[str, str]] = {}

#: Suffixes of folders that hold no finished run.
_UNFINISHED = (".part", ".replaced", ".damaged")


def write_json(path: Path, content: Mapping[str, Any], *, seal: bool = False) -> None:
    """Write a JSON file whole or not at all.

    Numbers that are not finite become null: JSON has no such numbers. With `seal` the last line is
    the digest of the others.
    """
    text = json.dumps(finite(content), indent=1, allow_nan=False)
    raw = sealed(text) if seal else f"{text}\n".encode()
    write_synced(path, lambda file: file.write(raw))


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
            **({"compiled": True} if spec.compile else {}),
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
    now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
    return now.isoformat(timespec="milliseconds")


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
    write_record(part(results, run), draft)
    _finish(results, run, draft.get("status"))


def write_record(folder: Path, draft: Draft) -> None:
    """Write the record of a run into its folder, with its digest and those of the files there."""
    files = (path for path in folder.iterdir() if path.is_file())
    kept = sorted(path for path in files if not any(map(path.match, _NOT_SIGNED)))
    draft["digests"] = {name: each for path in kept for name, each in _digests_of(path)}
    write_json(folder / "record.json", {k: v for k, v in draft.items() if k != "digest"}, seal=True)


def _digests_of(path: Path) -> Iterator[tuple[str, str]]:
    """The SHA-256 of a file by its name, and of each array of an `.npz` by `FILE:ARRAY`."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())  # no digest of what a power cut may undo
    yield path.name, sha256(path)
    if path.suffix == ".npz":
        import zipfile

        with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                digest = hashlib.sha256(archive.read(name)).hexdigest()
                yield f"{path.name}:{name.removesuffix('.npy')}", digest


def finish(results: Path, run: str) -> Record | None:
    """Publish a run that was cut off after its record was written; None where there is none.

    Only the holder of the run's lock may call this.
    """
    record = _written(results, run)
    if record:
        _finish(results, run, record.status)
    return record


def _written(results: Path, run: str) -> Record | None:
    """The record of an unfinished run that was written whole."""
    path = part(results, run) / "record.json"
    try:
        return decode(path.read_bytes(), str(path), run)
    except (OSError, DataError):
        return None


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
    """Put a run in place whose replacement was cut off between two renames.

    That is the new one if it has a record and ended well, else the one that it was to replace.
    """
    from filelock import FileLock, Timeout

    for replaced in results.glob("*.replaced"):
        run = replaced.name.removesuffix(".replaced")
        # Whoever holds the lock is replacing the run now.
        with suppress(Timeout), FileLock(lock_file(results, run), timeout=0):
            final = results / run
            new = None if final.exists() else _written(results, run)
            if new and new.status == "ok":
                _finish(results, run, new.status)
            elif not final.exists():
                os.rename(replaced, final)
            shutil.rmtree(replaced, ignore_errors=True)


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
            record = decode(file.read(), path, run)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"The record {path} can't be read: {error.strerror}.",
            "Check the permissions of its folder.",
        ) from error
    _digests[os.path.dirname(path)] = record.digests or {}
    return record


def read_file(folder: Path, name: str) -> bytes:
    """The content of a file beside the record of a run.

    Raises:
        OSError: it can't be read.
        Damaged: as `verify`.
    """
    content = (folder / name).read_bytes()
    verify(folder, name, content)
    return content


def signed(folder: Path, name: str) -> bool:
    """Whether the record beside a file, as it was read, has a digest of it, or of its array."""
    return name in _digests.get(str(folder), ())


def verify(folder: Path, name: str, content: bytes | None) -> None:
    """Compare a file beside a record, or an array `FILE:ARRAY`, with its digest, if it has one.

    `content` is None where there is no such array.

    Raises:
        Damaged: it, or the record, is not what was written.
    """
    digest = None if content is None else hashlib.sha256(content).hexdigest()
    known = _digests.get(str(folder))
    if known is None or known.get(name, digest) != digest:  # not read yet, or made again since
        record = read(folder.parent, folder.name)
        known = (record and record.digests) or {}
    if known.get(name, digest) != digest:
        raise Damaged(
            f"{folder / name.partition(':')[0]} is damaged: it has changed since its record was "
            "written.",
            "Copy it anew, or move its folder away and run that cell again.",
        )


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
    """What distinguishes two records of one run: its digest, else when it began and ended."""
    return [record.digest] if record.digest else [record.started, record.finished]


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
