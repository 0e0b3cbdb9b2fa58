"""How a finished run's folder comes home: it is there already, or it travels as bytes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.records import store

#: The bytes of one run that travel at most; what is larger stays behind, the record never does.
LIMIT = 2**30


@dataclass(frozen=True)
class Home:
    """The results folder of the machine that runs the study, and the proof that one sees it."""

    results: str
    token: str
    secret: str

    def here(self) -> bool:
        """Whether this machine sees that very folder, and may write there."""
        folder = Path(self.results)
        try:
            if (folder / self.token).read_text(encoding="utf-8") != self.secret:
                return False
            with tempfile.TemporaryFile(dir=folder):
                return True
        except OSError:
            return False


@dataclass(frozen=True)
class Parcel:
    """The files of a finished run, and the bytes of those that were too large to send."""

    files: Mapping[str, bytes]
    left_behind: Mapping[str, int]


@contextmanager
def home(results: Path) -> Iterator[Home]:
    """The results folder, with a token in it as long as the study goes.

    Raises:
        UsageError: it can't be written.
    """
    token = f".locks/{secrets.token_hex(8)}.token"
    made = Home(str(results.absolute()), token, secrets.token_hex())
    path = results / token
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made.secret, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"The results folder {results} can't be written: {error.strerror}.",
            "Choose another with --results.",
        ) from error
    try:
        yield made
    finally:
        path.unlink(missing_ok=True)


def pack(folder: Path, limit: int) -> Parcel:
    """The files of a run's folder, the record first, then the smallest, `limit` bytes in all."""
    files: dict[str, bytes] = {}
    left_behind: dict[str, int] = {}
    found = [path for path in folder.iterdir() if path.is_file()]
    room = limit
    for path in sorted(found, key=lambda p: (p.name != "record.json", p.stat().st_size)):
        size = path.stat().st_size
        if size > room and path.name != "record.json":
            left_behind[path.name] = size
            continue
        room -= size
        files[path.name] = path.read_bytes()
    return Parcel(files, left_behind)


def unpack(parcel: Parcel, results: Path, run: str) -> None:
    """Publish a run that was made elsewhere; the caller holds the run's lock.

    The record of a run that left files behind says which (`left_behind`, in bytes).
    """
    folder = store.part(results, run)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in parcel.files.items():
        if name != "record.json":
            with open(folder / Path(name).name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    made: store.Draft = json.loads(parcel.files["record.json"])
    if parcel.left_behind:
        made["left_behind"] = dict(parcel.left_behind)
    store.publish(results, run, made)
