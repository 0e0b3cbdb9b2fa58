"""Downloading the published data sets, and checking what is on disk.

The archive is that of Papamakarios et al. (2017), doi:10.5281/zenodo.1161203, about 0.8 GB. An
interrupted download is resumed (pooch would start again). The archive's MD5 is checked before
anything in it is read, and only the needed files are extracted.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from filelock import FileLock

from bench.api.dataset import Dataset, Source
from bench.data import arrays
from bench.errors import BenchError, DataError, UsageError
from bench.registry import plugins

if TYPE_CHECKING:
    import requests

URL = "https://zenodo.org/records/1161203/files/data.tar.gz"
MD5 = "9b9c9b0375315ad270eba4ce80c093ab"
#: The git blob ids of files of the archive, where known: SHA-1 of a header and the bytes.
BLOBS = {"miniboone/data.npy": "9737c80fa84df483ed368404e3110c324613d54c"}
#: The archive's name in the data folder; an incomplete download has the suffix `.part`.
ARCHIVE = "data.tar.gz"
#: The archive's folder that corresponds to the data folder.
TOP = "data"

#: Called with the step ("download", "check", "extract"), bytes done, and total bytes or None.
Progress = Callable[[str, int, int | None], None]

_BLOCK = 2**20
_DOWNLOAD_BLOCK = 2**16  # at most this much is lost by an interruption
_ATTEMPTS = 5
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True)
class Status:
    """What is on disk of a data set: its best source and the bytes of it.

    `source` is None if there is none; `missing` are the archive's files that are not on disk.
    """

    name: str
    source: Source | None
    missing: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Verified:
    """The result of a check: rows (train, validation, test), their revision, any problem."""

    name: str
    rows: tuple[int, ...] = ()
    revision: str = ""
    problem: str = ""


def fetch(
    root: Path,
    names: Iterable[str],
    progress: Progress,
    *,
    url: str = URL,
    md5: str = MD5,
    keep: bool = False,
) -> list[str]:
    """Download the archive and extract the named data sets, or all, into `root`.

    Data sets that are complete are left alone. An existing `root/data.tar.gz` is used instead of a
    download, and kept; a downloaded archive is kept if `keep`.

    Returns:
        The names of the data sets that were extracted.

    Raises:
        UsageError: a name is unknown or not in the archive.
        DataError: no network, a wrong checksum, an unexpected archive, or a disk that can't be
            written.
    """
    names, wanted = tuple(names), {}
    for dataset in _named(names):
        files = arrays.archived(dataset)
        if names and not files:
            raise UsageError(
                f"The data set {dataset.name!r} is not in the archive: it is generated, comes with "
                "a package or is your own."
            )
        if not all((root / file).is_file() for file in files):
            wanted[dataset.name] = files
    if not wanted:
        return []
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".fetch.lock"):
            given = root / ARCHIVE
            archive = given if given.is_file() else _download(root, url, progress)
            _check(archive, md5, progress)
            _extract(archive, root, {f for files in wanted.values() for f in files}, progress)
            if archive != given:
                os.replace(archive, given) if keep else archive.unlink()
    except OSError as error:
        raise DataError(
            f"{error.filename or root} can't be written or read: {error.strerror or error}.",
            "Free some space, or choose another folder by --data or BENCH_DATA.",
        ) from error
    return list(wanted)


def status(root: Path, names: Iterable[str] = ()) -> list[Status]:
    """Return what is on disk of the named data sets, or of all.

    Raises:
        UsageError: a name is unknown.
    """
    found = []
    for dataset in _named(names):
        source = dataset.find(root)
        size = sum((root / name).stat().st_size for name in source.files) if source else 0
        missing = tuple(name for name in arrays.archived(dataset) if not (root / name).is_file())
        found.append(Status(dataset.name, source, missing, size))
    return found


def verify(root: Path, names: Iterable[str] = ()) -> list[Verified]:
    """Read the named data sets, or all that have files on disk, bypassing the cache; check them.

    Checked are git blob ids (where known), that files can be read, the number of rows of a whole
    set, and that all values are finite.

    Raises:
        UsageError: a name is unknown.
    """
    names, found = tuple(names), []
    for dataset in _named(names):
        source = dataset.find(root)
        if not names and (source is None or not source.files):
            continue
        try:
            if source is None:
                raise arrays.missing(dataset, root)
            for name in source.files:
                if name in BLOBS and _blob_id(root / name) != BLOBS[name]:
                    raise DataError(f"{root / name} is not the published file.", "Fetch it again.")
            splits = arrays.read(dataset, source, root)
            rows = tuple(len(getattr(splits, name)) for name in arrays.SPLITS)
            found.append(Verified(dataset.name, rows, arrays.revision(splits)))
        except (BenchError, OSError) as error:
            found.append(Verified(dataset.name, problem=str(error)))
    return found


def _named(names: Iterable[str]) -> list[Dataset]:
    known = (name for name in plugins.datasets() if name != plugins.PATH)
    return [plugins.dataset(name) for name in (tuple(names) or known)]


def _blob_id(path: Path) -> str:
    """Return the id that git gives a file."""
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def _download(root: Path, url: str, progress: Progress) -> Path:
    """Download the archive, resuming an earlier attempt.

    Gives up after `_ATTEMPTS` attempts in a row that brought nothing.
    """
    import requests

    by_hand = f"Or download {url} on another machine and save it as {root / ARCHIVE}."
    part = root / f"{ARCHIVE}.part"
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(part, url, progress)
            return part
        except requests.HTTPError as error:
            raise DataError(f"{url} can't be downloaded: {error}.", by_hand) from error
        except (requests.RequestException, TimeoutError) as error:
            after = part.stat().st_size if part.exists() else 0
            failures = 0 if after > before else failures + 1
            if failures == _ATTEMPTS or not after:
                reason: BaseException = error
                while reason.__cause__ or reason.__context__:  # the innermost one says something
                    reason = reason.__cause__ or reason.__context__ or reason
                raise DataError(
                    f"The download of {url} stopped after {after} bytes: "
                    f"{type(reason).__name__}: {reason}.",
                    f"Check the network and repeat the command to resume. {by_hand}",
                ) from error
            time.sleep(min(2.0**failures, 10.0) / 10)


def _continue(part: Path, url: str, progress: Progress) -> None:
    """Append the rest of the archive to `part`; start again if the server ignores ranges."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if _total(response) != have:  # longer than the file: of another one
                part.unlink()
                _continue(part, url, progress)
            return
        if response.status_code >= 500:  # a temporary failure of the server
            raise requests.ConnectionError(f"{response.status_code} {response.reason}")
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            have = 0
        total = _total(response)
        with open(part, "ab" if have else "wb") as file:
            for block in response.iter_content(_DOWNLOAD_BLOCK):
                file.write(block)
                have += len(block)
                progress("download", have, total)
    if total is not None and have < total:
        raise requests.ConnectionError(f"{total - have} bytes are missing")


def _total(response: requests.Response) -> int | None:
    """Return the size of the whole file as the server states it."""
    ranged = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    stated = ranged[1] if ranged else response.headers.get("Content-Length")
    return int(stated) if stated else None


def _check(archive: Path, md5: str, progress: Progress) -> None:
    digest, done, size = hashlib.md5(usedforsecurity=False), 0, archive.stat().st_size
    with open(archive, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            progress("check", done, size)
    if digest.hexdigest() != md5:
        downloaded = archive.suffix == ".part"
        if downloaded:
            archive.unlink()
        raise DataError(
            f"The archive {archive} has the MD5 {digest.hexdigest()}, expected {md5}: it is "
            "damaged or another file. Nothing in it was read.",
            "It was deleted; fetch it again." if downloaded else "Delete it and fetch again.",
        )


def _extract(archive: Path, root: Path, files: set[str], progress: Progress) -> None:
    """Extract the wanted files of the archive into `root`: all of them, or none."""
    folder = Path(tempfile.mkdtemp(prefix=".fetch.", dir=root))
    try:
        _unpack(archive, folder, files, progress)
        for name in sorted(files):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder / name, root / name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"The archive {archive} can't be read: {error}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: Path, folder: Path, files: set[str], progress: Progress) -> None:
    """Copy the wanted files, and nothing else, into `folder`.

    The archive's paths are only compared, never written to; one that leads outside is refused
    nevertheless, since the published archive has none.
    """
    size, todo = archive.stat().st_size, set(files)
    with open(archive, "rb") as raw, tarfile.open(fileobj=raw, mode="r|gz") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise DataError(
                    f"The archive {archive} has a path that leads outside it: {member.name!r}."
                )
            progress("extract", raw.tell(), size)
            name = str(path.relative_to(TOP)) if path.is_relative_to(TOP) else ""
            if name not in todo:
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise DataError(f"In the archive {archive}, {member.name!r} is not a plain file.")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with open(folder / name, "wb") as file:
                while block := content.read(_BLOCK):
                    file.write(block)
                    progress("extract", raw.tell(), size)
            todo.remove(name)
            if not todo:
                return
    raise DataError(f"The archive {archive} lacks {', '.join(sorted(todo))}.")
