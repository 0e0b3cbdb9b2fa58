"""Downloading the published data sets, and checking what is on disk.

The archive is that of Papamakarios et al. (2017), doi:10.5281/zenodo.1161203, about 0.8 GB. A
broken download is resumed where it stopped, which is why pooch does not do it: pooch starts anew.
Its MD5 is checked before anything in it is read, and only the files that are needed leave it.
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
from bench.data.archive import BLOBS, FILES, MD5, URL
from bench.errors import BenchError, DataError, UsageError
from bench.registry import plugins

if TYPE_CHECKING:
    import requests

#: The archive's name below the data root; what has arrived of it has the suffix `.part`.
ARCHIVE = "data.tar.gz"
#: The folder inside the archive that is the data root.
TOP = "data"

#: Told of progress: the step ("download", "check", "extract"), bytes done, bytes in all if known.
Progress = Callable[[str, int, int | None], None]

_BLOCK = 2**20
_ARRIVING = 2**16  # a cut loses as much
_ATTEMPTS = 5
_TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True)
class Status:
    """What is on disk of a data set: its best source there and that source's bytes.

    `source` is None where none is there; `missing` are its files of the archive that are not there.
    """

    name: str
    source: Source | None
    missing: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Verified:
    """What a check of a data set found: its rows (train, validation, test) and their revision.

    `problem` says what is wrong and is empty where nothing is.
    """

    name: str
    source: Source | None
    rows: tuple[int, int, int] | None
    revision: str
    problem: str


def fetch(
    root: Path,
    names: Iterable[str],
    progress: Progress,
    *,
    url: str = URL,
    md5: str = MD5,
    keep: bool = False,
) -> list[str]:
    """Download the archive and put the whole sets of these names below the root.

    A set whose files are all there is left alone; without names, all that the archive has are
    fetched. An archive that lies below the root as `data.tar.gz` is used instead of a download,
    and stays; a downloaded one stays if `keep`.

    Returns:
        The names of the sets that were put there.

    Raises:
        UsageError: a name is unknown, or that of a set that is not downloaded.
        DataError: no network, a wrong checksum, an archive with something else in it, or a disk
            that can't be written.
    """
    wanted = {name: files for name, files in _fetchable(names).items() if _absent(root, files)}
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
            "Make room or name another folder with --data or BENCH_DATA.",
        ) from error
    return list(wanted)


def status(root: Path, names: Iterable[str] = ()) -> list[Status]:
    """What is on disk of the data sets of these names, of all without names.

    Raises:
        UsageError: a name is unknown.
    """
    return [_status(dataset, root) for dataset in _named(names)]


def verify(root: Path, names: Iterable[str] = ()) -> list[Verified]:
    """Read the data sets of these names anew, past the cache, and check them.

    Without names: those of which files are below the root. Checked are the git blob id where it is
    known, that the files can be read, the number of rows of a whole set, and that all is finite.

    Raises:
        UsageError: a name is unknown.
    """
    names = tuple(names)
    found = [(dataset, dataset.find(root)) for dataset in _named(names)]
    return [
        _verify(dataset, source, root)
        for dataset, source in found
        if names or (source is not None and source.files)
    ]


def _named(names: Iterable[str]) -> list[Dataset]:
    known = (name for name in plugins.datasets() if name != plugins.PATH)
    return [plugins.dataset(name) for name in (tuple(names) or known)]


def _whole(dataset: Dataset) -> tuple[str, ...]:
    """The set's files of the archive; none where it is not in the archive."""
    return next((s.files for s in dataset.sources if s.files and FILES.issuperset(s.files)), ())


def _fetchable(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    names = tuple(names)
    files = {dataset.name: _whole(dataset) for dataset in _named(names)}
    for name in names:
        if not files.get(name):
            raise UsageError(
                f"The data set {name!r} is not in the archive: it is generated, comes with a "
                "package or is your own."
            )
    return {name: found for name, found in files.items() if found}


def _absent(root: Path, files: Iterable[str]) -> bool:
    return any(not (root / name).is_file() for name in files)


def _status(dataset: Dataset, root: Path) -> Status:
    source = dataset.find(root)
    size = sum((root / name).stat().st_size for name in source.files) if source else 0
    missing = tuple(name for name in _whole(dataset) if not (root / name).is_file())
    return Status(dataset.name, source, missing, size)


def _verify(dataset: Dataset, source: Source | None, root: Path) -> Verified:
    try:
        if source is None:
            raise arrays.missing(dataset, root)
        for name in source.files:
            if name in BLOBS and _blob(root / name) != BLOBS[name]:
                raise DataError(f"{root / name} is not the published file.", "Fetch it again.")
        splits = arrays.read(dataset, source, root)
    except (BenchError, OSError) as error:
        return Verified(dataset.name, source, None, "", str(error))
    rows = (len(splits.train), len(splits.validation), len(splits.test))
    return Verified(dataset.name, source, rows, arrays.revision(splits), "")


def _blob(path: Path) -> str:
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _download(root: Path, url: str, progress: Progress) -> Path:
    """Download the archive, from where an earlier attempt stopped.

    Tries again as long as each attempt brings something, up to `_ATTEMPTS` times in vain.
    """
    import requests

    part = root / f"{ARCHIVE}.part"
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(part, url, progress)
            return part
        except requests.HTTPError as error:
            raise DataError(f"{url} can't be downloaded: {error}.", _by_hand(root, url)) from error
        except (requests.RequestException, TimeoutError) as error:
            after = part.stat().st_size if part.exists() else 0
            failures = 0 if after > before else failures + 1
            if failures == _ATTEMPTS or not after:
                raise DataError(
                    f"The download of {url} broke off after {after} bytes: {_reason(error)}.",
                    "Check the network and type the same again: it goes on where it stopped. "
                    f"{_by_hand(root, url)}",
                ) from error
            time.sleep(min(2.0**failures, 10.0) / 10)


def _by_hand(root: Path, url: str) -> str:
    return f"Or download {url} on another machine and put it at {root / ARCHIVE}."


def _reason(error: BaseException) -> str:
    """The innermost reason, which is the one that says something."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {error}"


def _continue(part: Path, url: str, progress: Progress) -> None:
    """Append what is missing of the archive to `part`.

    A server that does not know ranges sends all of it: then `part` starts anew.
    """
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if _total(response) != have:  # more than there is: of another file
                part.unlink()
                _continue(part, url, progress)
            return
        if response.status_code >= 500:  # the server's trouble, which passes
            raise requests.ConnectionError(f"{response.status_code} {response.reason}")
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            have = 0
        total = _total(response)
        with open(part, "ab" if have else "wb") as file:
            for block in response.iter_content(_ARRIVING):
                file.write(block)
                have += len(block)
                progress("download", have, total)
    if total is not None and have < total:
        raise requests.ConnectionError(f"{total - have} bytes are missing")


def _total(response: requests.Response) -> int | None:
    """The size of the whole file, as the server states it."""
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
            f"The archive {archive} has the MD5 {digest.hexdigest()}, not {md5}: it is damaged or "
            "another file. Nothing in it was read.",
            "It was deleted; fetch it again." if downloaded else "Delete it and fetch again.",
        )


def _extract(archive: Path, root: Path, files: set[str], progress: Progress) -> None:
    """Put the wanted files of the archive below the root: all of them, or none."""
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
    """Copy the wanted files, and nothing else, into the folder.

    The archive's paths are only compared, never written to; one that leads outside is refused all
    the same, since the published archive has none.
    """
    size, todo = archive.stat().st_size, set(files)
    with open(archive, "rb") as raw, tarfile.open(fileobj=raw, mode="r|gz") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise DataError(f"The archive {archive} has a member outside it: {member.name!r}.")
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
