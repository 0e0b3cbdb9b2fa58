"""Downloading the published data sets, and checking what is on disk.

The archive is that of Papamakarios et al. (2017), doi:10.5281/zenodo.1161203, about 0.8 GB. An
interrupted download is resumed (pooch would start again). The archive's MD5 is checked before
anything in it is read, and only the needed files are extracted.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from filelock import FileLock

from bench.api.dataset import Dataset
from bench.data import arrays
from bench.errors import DataError, UsageError
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
    for dataset in named(names):
        source = arrays.archived(dataset)
        if names and not source:
            raise UsageError(
                f"The data set {dataset.name!r} is not in the archive: it is generated, comes with "
                "a package or is your own."
            )
        if source and source.missing(root):
            wanted[dataset.name] = source.files
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


def verify(dataset: Dataset, root: Path) -> arrays.Loaded:
    """Read a data set, bypassing the cache, and check it.

    Checked are git blob ids (where known), that files can be read, the number of rows of a whole
    set, that all values are finite, and that the array cache, if it has the set, has these rows.

    Raises:
        DataError: it is missing or damaged.
    """
    source = dataset.find(root)
    if source is None:
        raise arrays.missing(dataset, root)
    for name in source.files:
        if name in BLOBS and _blob_id(root / name) != BLOBS[name]:
            raise DataError(f"{root / name} is not the published file.", "Fetch it again.")
    loaded = arrays.in_memory(source, arrays.read(dataset, source, root))
    arrays.check_cached(dataset, root, loaded)
    return loaded


def named(names: Iterable[str]) -> list[Dataset]:
    """The data sets of these names, or all that have one.

    Raises:
        UsageError: a name is unknown.
    """
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
        before = _size(part)
        try:
            _continue(part, url, progress)
            return part
        except requests.HTTPError as error:
            raise DataError(f"{url} can't be downloaded: {error}.", by_hand) from error
        except (requests.RequestException, TimeoutError) as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures == _ATTEMPTS or not _size(part):
                reason: BaseException = error
                while reason.__cause__ or reason.__context__:  # the innermost one says something
                    reason = reason.__cause__ or reason.__context__ or reason
                raise DataError(
                    f"The download of {url} stopped after {_size(part)} bytes: "
                    f"{type(reason).__name__}: {reason}.",
                    f"Check the network and repeat the command to resume. {by_hand}",
                ) from error
            time.sleep(min(2.0**failures, 10.0) / 10)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _continue(part: Path, url: str, progress: Progress) -> None:
    """Append the rest of the archive to `part`; start again if the server ignores ranges."""
    import requests

    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        total = _total(response)
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if total != have:  # longer than the file: of another one
                part.unlink()
                _continue(part, url, progress)
            return
        if response.status_code >= 500:  # a temporary failure of the server
            raise requests.ConnectionError(f"{response.status_code} {response.reason}")
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            have = 0
        with open(part, "ab" if have else "wb", opener=_not_through_a_link) as file:
            for block in response.iter_content(_DOWNLOAD_BLOCK):
                file.write(block)
                have += len(block)
                progress("download", have, total)
    if total is not None and have < total:
        raise requests.ConnectionError(f"{total - have} bytes are missing")


def _not_through_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _total(response: requests.Response) -> int | None:
    """Return the size of the whole file as the server states it."""
    ranged = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    stated = ranged[1] if ranged else response.headers.get("Content-Length")
    return int(stated) if stated else None


def _check(archive: Path, md5: str, progress: Progress) -> None:
    size = archive.stat().st_size
    progress("check", 0, size)
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    progress("check", size, size)
    if found != md5:
        downloaded = archive.suffix == ".part"
        if downloaded:
            archive.unlink()
        raise DataError(
            f"The archive {archive} has the MD5 {found}, expected {md5}: it is damaged or another "
            "file. Nothing in it was read.",
            "It was deleted; fetch it again." if downloaded else "Delete it and fetch again.",
        )


def _extract(archive: Path, root: Path, files: set[str], progress: Progress) -> None:
    """Extract the wanted files of the archive into `root`: all of them, or none.

    The archive's paths are only compared, never written to.
    """
    size, todo = archive.stat().st_size, set(files)
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".fetch.", dir=root) as folder,
            open(archive, "rb") as raw,
            tarfile.open(fileobj=raw, mode="r|gz") as tar,
        ):
            for member in tar:
                progress("extract", raw.tell(), size)
                name = str(PurePosixPath(member.name)).removeprefix(f"{TOP}/")
                content = tar.extractfile(member) if name in todo and member.isreg() else None
                if content is None:
                    continue
                Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
                with open(Path(folder, name), "wb") as file:
                    while block := content.read(_BLOCK):
                        file.write(block)
                        progress("extract", raw.tell(), size)
                todo.remove(name)
                if not todo:
                    break
            if todo:
                raise DataError(f"The archive {archive} lacks {', '.join(sorted(todo))}.")
            for name in sorted(files):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(folder, name), root / name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"The archive {archive} can't be read: {error}.") from error
