"""The rows of a data set: read and checked once, memory-mapped ever after.

A data set is read from its source the first time. Its three splits are then kept as `.npy` files
in the array cache, one folder for each state of the source, and later loads only map them. A
folder appears in one rename, so it is there whole or not at all.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from filelock import FileLock

from bench import paths
from bench.api.dataset import Dataset, Kind, Source, Splits
from bench.data.archive import FILES
from bench.errors import DataError
from bench.records.store import write_json
from bench.registry import plugins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.api.dataset import Rows

#: The splits, in the order in which they are hashed and stored.
SPLITS = ("train", "validation", "test")

#: What a reader raises when a file is damaged or holds something else.
_UNREADABLE = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Loaded:
    """A data set at hand: three read-only splits, each `(n, d)` float32, and what they are.

    `revision` is a hash of the rows: equal revisions are equal data. `kind`, `note` and
    `test_groups` are those of the source, `notes` those of the splits.
    """

    train: Rows
    validation: Rows
    test: Rows
    revision: str
    kind: Kind
    note: str
    notes: Mapping[str, object]
    test_groups: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None

    @property
    def subset(self) -> bool:
        """Whether the rows are only a part of the real set."""
        return self.kind == "subset"


def load(dataset: Dataset, root: Path) -> Loaded:
    """The rows of a data set, from the best source that is below `root`.

    Where the cache can't be written, the rows are read into memory instead, with a warning.

    Raises:
        DataError: no source is there, a file can't be read, or the rows are not what they should
            be: `(n, d)` float32, finite, and as many as published for a whole real set.
    """
    source = dataset.find(root)
    if source is None:
        raise missing(dataset, root)
    reader = _version(source.read)
    if reader is None:  # a reader typed into a prompt: nothing tells whether it has changed
        return _in_memory(source, read(dataset, source, root))
    entry = paths.array_cache() / _entry_name(dataset, source, root, reader)
    found = _open(entry, source)
    if found is not None:
        return found
    lock = FileLock(entry.with_name(f"{entry.name}.lock"))
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        _warn(entry.parent, error)
        return _in_memory(source, read(dataset, source, root))
    try:
        found = _open(entry, source)  # another process may have been faster
        if found is not None:
            return found
        splits = read(dataset, source, root)
        try:
            _store(entry, splits)
        except OSError as error:
            _warn(entry.parent, error)
            return _in_memory(source, splits)
        return _open(entry, source) or _in_memory(source, splits)
    finally:
        lock.release()


def missing(dataset: Dataset, root: Path) -> DataError:
    """The error for a data set of which no source is below the root."""
    wanted = " or ".join(
        f"{', '.join(source.missing(root))} ({source.kind})" for source in dataset.sources
    )

    fetched = any(source.files and FILES.issuperset(source.files) for source in dataset.sources)
    return DataError(
        f"The data set {dataset.name!r} is not below {root}: missing {wanted}.",
        (f"Type `bench data fetch {dataset.name}`, or name" if fetched else "Name")
        + " the folder that holds the files with --data or BENCH_DATA.",
    )


def _version(read: Callable[[Path], Splits]) -> str | None:
    """The hash of the reader's source, as of any plug-in; None where it lies in no module file."""
    while isinstance(read, functools.partial):
        read = read.func
    plugin = EntryPoint(name="", value=read.__module__, group="")
    found = plugins.version(plugin)
    return None if found == hashlib.sha256().hexdigest()[:12] else found


def _entry_name(dataset: Dataset, source: Source, root: Path, reader: str) -> str:
    """The name of the cache entry: it changes when a file, the source or the reader does."""
    stats = [(root / name).stat() for name in source.files]
    state = [
        *(dataset.name, dataset.d, source.kind, source.note, reader),
        *((n, s.st_size, s.st_mtime_ns) for n, s in zip(source.files, stats, strict=True)),
    ]
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', dataset.name)}-{digest}"


def read(dataset: Dataset, source: Source, root: Path) -> Splits:
    """Read the rows of one source, past the cache, and check them.

    Raises:
        DataError: as `load`.
    """
    try:
        splits = source.read(root)
    except _UNREADABLE as error:
        if not source.files:
            raise
        files = ", ".join(str(root / name) for name in source.files)
        raise DataError(
            f"The data set {dataset.name!r} can't be read from {files}: "
            f"{type(error).__name__}: {error}.",
            "The file is damaged or of another layout; put a good copy in its place.",
        ) from error
    for name in SPLITS:
        _check(f"the {name} split of {dataset.name!r}", getattr(splits, name), dataset.d)
    sizes = tuple(len(getattr(splits, name)) for name in SPLITS)
    if source.kind == "whole" and dataset.rows is not None and sizes != dataset.rows:
        raise DataError(
            f"{dataset.name!r} below {root} has {sizes} rows (train, validation, test); the whole "
            f"set has {dataset.rows}.",
            "The files are not those of the published set; put those in their place.",
        )
    return splits


def _check(what: str, rows: Rows, d: int) -> None:
    if rows.dtype != np.float32:
        raise DataError(f"The dtype of {what} is {rows.dtype}, not float32.")
    if rows.ndim != 2 or rows.shape[1] != d or not len(rows):
        raise DataError(f"The shape of {what} is {rows.shape}, not (n, {d}) with n > 0.")
    step = max(1, 2**24 // d)  # bounds the memory of the test for finite numbers
    for start in range(0, len(rows), step):
        bad = ~np.isfinite(rows[start : start + step])
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"There is a {rows[start + row, column]} in {what}: row {start + row}, column "
                f"{column} (counted from 0)."
            )


def revision(splits: Splits) -> str:
    """The hash of the rows: 12 hex digits of SHA-256 over the splits' shapes and values."""
    digest = hashlib.sha256()
    for name in SPLITS:
        rows = np.ascontiguousarray(getattr(splits, name), dtype="<f4")
        digest.update(f"{name} {rows.shape} ".encode())
        digest.update(rows.data)
    return digest.hexdigest()[:12]


def _store(entry: Path, splits: Splits) -> None:
    """Write a cache entry: files in a temporary folder, then one rename."""
    folder = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    try:
        card: dict[str, Any] = {"revision": revision(splits), "notes": dict(splits.notes)}
        for name in SPLITS:
            file = folder / f"{name}.npy"
            np.save(file, np.ascontiguousarray(getattr(splits, name)), allow_pickle=False)
            card[name] = {"shape": getattr(splits, name).shape, "bytes": file.stat().st_size}
        write_json(folder / "card.json", card)
        shutil.rmtree(entry, ignore_errors=True)  # a damaged one, else there is none
        os.rename(folder, entry)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open(entry: Path, source: Source) -> Loaded | None:
    """Map a cache entry; None where it is not there or damaged."""
    try:
        card = json.loads((entry / "card.json").read_text(encoding="utf-8"))
        splits = {name: _map(entry / f"{name}.npy", card[name]) for name in SPLITS}
        return Loaded(
            **splits,
            revision=str(card["revision"]),
            kind=source.kind,
            note=source.note,
            notes=dict(card["notes"]),
            test_groups=source.test_groups,
        )
    except (OSError, EOFError, KeyError, TypeError, ValueError):
        return None


def _map(file: Path, card: Mapping[str, Any]) -> Rows:
    if file.stat().st_size != card["bytes"]:
        raise ValueError(f"{file} was cut")
    rows = np.load(file, mmap_mode="r", allow_pickle=False)
    if list(rows.shape) != card["shape"] or rows.dtype != np.float32:
        raise ValueError(f"{file} holds something else")
    return cast("Rows", rows)


def _in_memory(source: Source, splits: Splits) -> Loaded:
    digest = revision(splits)
    for name in SPLITS:
        getattr(splits, name).setflags(write=False)
    return Loaded(
        splits.train,
        splits.validation,
        splits.test,
        digest,
        source.kind,
        source.note,
        dict(splits.notes),
        source.test_groups,
    )


def _warn(cache: Path, error: OSError) -> None:
    warnings.warn(
        f"The array cache {cache} can't be written ({error.strerror or error}); the rows are read "
        "anew into memory. Set BENCH_CACHE to a folder that can be written.",
        stacklevel=3,
    )
