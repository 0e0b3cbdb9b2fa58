"""The rows of a data set: read and checked once, memory-mapped afterwards.

A data set is read from its source the first time. Its three splits are then kept as `.npy` files
in the array cache, one folder per state of the source, and later loads only map them. A folder is
written under a temporary name and renamed, so that it is complete or absent. Its card has the
digests of its files, which each process verifies once; a damaged entry is made again.

Beside these folders are files of what else depends on the rows alone, see `kept`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from bench import paths
from bench.api.dataset import Dataset, Source, Splits
from bench.errors import DataError
from bench.registry import plugins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.api.dataset import Rows

#: The files of the published archive that are data sets, below its top folder.
DOWNLOADABLE = {
    "power/data.npy",
    "gas/ethylene_CO.pickle",
    "hepmass/1000_train.csv",
    "hepmass/1000_test.csv",
    "miniboone/data.npy",
    "BSDS300/BSDS300.hdf5",
}

#: The splits, in the order in which they are hashed and stored.
SPLITS = ("train", "validation", "test")

#: What a reader raises when a file is damaged or has other content.
_UNREADABLE = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, kw_only=True)
class Loaded(Splits):
    """The splits of a data set, read-only, and where they come from.

    `revision` is a hash of the rows: equal revisions are equal data.
    """

    revision: str
    source: Source


def load(dataset: Dataset, root: Path) -> Loaded:
    """Return the rows of a data set, from the best source available below `root`.

    If the cache is damaged it is made again, with a warning; if it can't be written, the rows are
    read into memory instead, with a warning.

    Raises:
        DataError: no source is available, a file can't be read, or the rows are not `(n, d)`
            float32, finite, and as many as published (for a whole real set).
    """
    source = dataset.find(root)
    if source is None:
        raise missing(dataset, root)
    entry = _entry(dataset, source, root)
    if entry is None:
        return in_memory(source, read(dataset, source, root))
    if found := _open(entry, source):
        return found
    splits = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.with_name(f"{entry.name}.lock")):
            if found := _open(entry, source):  # another process was faster
                return found
            if _is_damaged(entry):
                warnings.warn(
                    f"The cached rows of {dataset.name!r} in {entry} were damaged; they are read "
                    "from their source again.",
                    stacklevel=2,
                )
            splits = read(dataset, source, root)
            _store(entry, splits)
        if found := _open(entry, source):
            return found
    except OSError as error:
        warnings.warn(
            f"The array cache {entry.parent} can't be written ({error.strerror or error}); rows "
            "are read into memory instead. Set BENCH_CACHE to a writable folder.",
            stacklevel=2,
        )
    return in_memory(source, splits or read(dataset, source, root))


def is_new(dataset: Dataset, root: Path) -> bool:
    """Return whether `load` has to read or to generate rows that are not in the cache yet."""
    source = dataset.find(root)
    entry = _entry(dataset, source, root) if source else None
    return source is not None and (entry is None or _open(entry, source) is None)


def missing(dataset: Dataset, root: Path) -> DataError:
    """Return the error for a data set that has no source below `root`."""
    wanted = " or ".join(
        f"{', '.join(source.missing(root))} ({source.kind})" for source in dataset.sources
    )
    fetch = f"Type `bench data fetch {dataset.name}`, or set" if archived(dataset) else "Set"
    return DataError(
        f"The data set {dataset.name!r} is not in {root}: missing {wanted}.",
        f"{fetch} the folder with these files by --data or BENCH_DATA.",
    )


def archived(dataset: Dataset) -> Source | None:
    """Return the source of a data set whose files are in the archive, if there is one."""
    return next((s for s in dataset.sources if s.files and DOWNLOADABLE.issuperset(s.files)), None)


def _entry(dataset: Dataset, source: Source, root: Path) -> Path | None:
    """Return the cache entry, whose name changes with the files, the source and the reader.

    None if no file defines the reader: nothing tells whether it has changed.
    """
    read = source.read
    while isinstance(read, functools.partial):
        read = read.func
    reader = plugins.version(EntryPoint(name="", value=read.__module__, group=""))
    if reader == hashlib.sha256().hexdigest()[:12]:
        return None
    stats = [(name, (root / name).stat()) for name in source.files]
    files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    state = [dataset.name, dataset.d, source.kind, source.note, reader, *files]
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:12]
    return paths.array_cache() / f"{re.sub(r'[^A-Za-z0-9._-]', '_', dataset.name)}-{digest}"


def read(dataset: Dataset, source: Source, root: Path) -> Splits:
    """Read the rows of one source, bypassing the cache, and check them.

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
            "The file is damaged or has a different layout; replace it.",
        ) from error
    for name in SPLITS:
        _check(f"the {name} split of {dataset.name!r}", getattr(splits, name), dataset.d)
    sizes = tuple(len(getattr(splits, name)) for name in SPLITS)
    if source.kind == "whole" and dataset.rows is not None and sizes != dataset.rows:
        raise DataError(
            f"{dataset.name!r} in {root} has {sizes} rows (train, validation, test), expected "
            f"{dataset.rows}.",
            "Replace the files by those of the published set.",
        )
    return splits


def _check(what: str, rows: Rows, d: int) -> None:
    if rows.dtype != np.float32:
        raise DataError(f"Expected float32 rows in {what}, got {rows.dtype}.")
    if rows.ndim != 2 or rows.shape[1] != d or not len(rows):
        raise DataError(f"Expected rows of shape (n, {d}) with n > 0 in {what}, got {rows.shape}.")
    step = max(1, 2**24 // d)  # bounds the memory of the test for finite numbers
    for start in range(0, len(rows), step):
        bad = ~np.isfinite(rows[start : start + step])
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"Found {rows[start + row, column]} in {what}: row {start + row}, column {column} "
                "(counted from 0)."
            )


def revision(splits: Splits) -> str:
    """Return a hash of the rows: 12 hex digits of SHA-256 over the splits' shapes and values."""
    digest = hashlib.sha256()
    for name in SPLITS:
        rows = np.ascontiguousarray(getattr(splits, name), dtype="<f4")
        digest.update(f"{name} {rows.shape} ".encode())
        digest.update(rows.data)
    return digest.hexdigest()[:12]


def _store(entry: Path, splits: Splits) -> None:
    """Write a cache entry: a temporary folder, then one rename."""
    folder = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    try:
        for name in SPLITS:
            rows = np.ascontiguousarray(getattr(splits, name))
            np.save(folder / f"{name}.npy", rows, allow_pickle=False)
        card = {"revision": revision(splits), "notes": dict(splits.notes)}
        card["sha256"] = _digests(folder, card)
        (folder / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)  # a damaged entry, if any
        os.rename(folder, entry)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _digests(folder: Path, card: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of each split's file in a folder, and of what its card says of the rows."""
    found = {}
    for name in SPLITS:
        path = folder / f"{name}.npy"
        state = path.stat()
        found[name] = _sha256(path, state.st_ino, state.st_size, state.st_mtime_ns)
    text = json.dumps({key: card[key] for key in ("revision", "notes")})
    return found | {"card": hashlib.sha256(text.encode()).hexdigest()}


@functools.cache
def _sha256(path: Path, *state: int) -> str:
    """The SHA-256 of a file, computed once in a process for each state of it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(entry: Path, source: Source) -> Loaded | None:
    """Map a cache entry; None if it is missing, damaged or has no digests."""
    try:
        card = json.loads((entry / "card.json").read_text(encoding="utf-8"))
        if card["sha256"] != _digests(entry, card):
            return None
        rows = {name: np.load(entry / f"{name}.npy", mmap_mode="r") for name in SPLITS}
        return Loaded(**rows, **{k: card[k] for k in ("notes", "revision")}, source=source)
    except (OSError, EOFError, KeyError, TypeError, ValueError):
        return None


def _is_damaged(entry: Path) -> bool:
    """Whether a cache entry that can't be opened was damaged.

    It is not where it is missing or has no digests: former versions of the program wrote none.
    """
    try:
        card = json.loads((entry / "card.json").read_text(encoding="utf-8"))
    except OSError:
        return False
    except ValueError:
        return True
    return not isinstance(card, dict) or "sha256" in card


def check_cached(dataset: Dataset, root: Path, loaded: Loaded) -> None:
    """Check that the cache has no other rows than `loaded`, which were read from their source.

    Raises:
        DataError: it has.
    """
    entry = _entry(dataset, loaded.source, root)
    found = _open(entry, loaded.source) if entry else None
    if entry and (found.revision != loaded.revision if found else _is_damaged(entry)):
        raise DataError(
            f"The cached rows in {entry} are not those of the source.",
            "Delete that folder; it is made again when it is needed.",
        )


def kept(
    kind: str,
    state: bytes,
    make: Callable[[], Mapping[str, NDArray[Any]]],
    note: Callable[[str], None],
) -> Mapping[str, NDArray[Any]]:
    """Return arrays that depend on `state` alone: made once, then kept in the array cache.

    The file is a digest of the state and the arrays, and the arrays. If it is damaged or holds what
    another state gives, `note` is told so, and it is made again; if it can't be written, the arrays
    are made each time.
    """
    name = f"{kind}-{hashlib.sha256(state).hexdigest()[:12]}.bin"
    path, content = paths.array_cache() / name, b""
    with suppress(OSError):
        content = path.read_bytes()
    if content[:32] == hashlib.sha256(state + content[32:]).digest():
        return dict(np.load(io.BytesIO(content[32:])))
    if content:
        note(f"The kept arrays in {path} were damaged; they are made again.")
    made, buffer = make(), io.BytesIO()
    np.savez(buffer, **made)  # type: ignore[arg-type]  # its stub knows one option
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with paths.replacing(path) as temporary:
            raw = buffer.getvalue()
            temporary.write_bytes(hashlib.sha256(state + raw).digest() + raw)
    return made


def in_memory(source: Source, splits: Splits) -> Loaded:
    """The splits of a source as a loaded data set; their rows become read-only."""
    for name in SPLITS:
        getattr(splits, name).setflags(write=False)
    return Loaded(**vars(splits), revision=revision(splits), source=source)
