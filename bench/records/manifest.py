"""The manifest of a bundle and its checksums: what is in it, and whether it still is.

`MANIFEST.json` names every other file with its size and SHA-256; `SHA256SUMS` has the same sums,
and that of the manifest, as `sha256sum -c` reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bench.errors import DataError

MANIFEST, SUMS, RECORDS = "MANIFEST.json", "SHA256SUMS", "records"

#: What a manifest says that it is of, and the layout that this version writes.
KIND, FORMAT = "cnf-bench bundle", 1


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path) -> Iterator[str]:
    """Every file below a folder, as a path with slashes, sorted."""
    found = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    yield from sorted(path.relative_to(folder).as_posix() for path in found)


def write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    """Write the manifest and the checksums of all that lies in a folder."""
    files = [
        {"path": name, "size": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in files_below(folder)
    ]
    content = {"kind": KIND, "format": FORMAT, **about, "files": files}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
    sums = {file["path"]: file["sha256"] for file in files}
    sums[MANIFEST] = sha256(folder / MANIFEST)
    lines = "".join(_line(str(name), str(digest)) for name, digest in sums.items())
    (folder / SUMS).write_text(lines, encoding="utf-8")


def is_bundle(folder: Path) -> bool:
    """Whether a folder has the manifest of a bundle.

    Raises:
        DataError: it has a manifest that can't be read.
    """
    return _read(folder) is not None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle, once its own checksum is verified.

    Raises:
        DataError: it is none, is damaged, or a newer program wrote it.
    """
    content = _read(folder)
    if content is None:
        raise DataError(f"{folder} is no bundle.", "Name a folder that `bench export` wrote.")
    if not isinstance(content.get("format"), int) or content["format"] > FORMAT:
        raise DataError(
            f"The bundle {folder} has layout {content.get('format')}; this version reads up to "
            f"{FORMAT}.",
            "Install a newer cnf-bench.",
        )
    try:
        sums = (folder / SUMS).read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, ValueError) as error:
        raise damaged(folder, f"{SUMS} can't be read: {error}") from error
    if _line(MANIFEST, sha256(folder / MANIFEST)) not in sums:
        raise damaged(folder, f"{MANIFEST} is not the one that {SUMS} has")
    if not isinstance(content.get("files"), list) or not all(map(_is_file, content["files"])):
        raise damaged(folder, f"{MANIFEST} has no list of files")
    return content


def damaged(folder: Path, what: str) -> DataError:
    """The error for a bundle that is not what was written."""
    return DataError(
        f"The bundle {folder} is damaged: {what}.",
        f"Copy it again, or see `cd {folder} && sha256sum -c {SUMS}`.",
    )


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise damaged(folder, f"{MANIFEST} can't be read: {error}") from error
    return content if isinstance(content, dict) and content.get("kind") == KIND else None


def _is_file(file: Any) -> bool:
    """Whether an entry is one, of a path that stays inside the bundle."""
    if not isinstance(file, dict) or not isinstance(file.get("path"), str):
        return False
    path = PurePosixPath(file["path"])
    inside = not path.is_absolute() and ".." not in path.parts
    return inside and isinstance(file.get("size"), int) and isinstance(file.get("sha256"), str)


def _line(name: str, digest: str) -> str:
    """A line of `sha256sum`, which marks names that it has to escape by a backslash before it."""
    plain = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if plain == name else chr(92)}{digest}  {plain}\n"
