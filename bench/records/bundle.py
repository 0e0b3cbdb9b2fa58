"""The results folder, and bundles of runs with the checksums of their files.

`MANIFEST.json` names every other file of a bundle with its size and SHA-256; `SHA256SUMS` has the
same sums, and that of the manifest, as `sha256sum -c` reads them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.errors import DataError, UsageError

MANIFEST, SUMS, RECORDS = "MANIFEST.json", "SHA256SUMS", "records"

#: What the manifest of a bundle says it describes, and the layout that this version writes.
KIND, LAYOUT = "cnf-bench bundle", 1


def results_dir(given: str | Path | None = None, *, write: bool = False) -> Path:
    """The results folder: as given, else `BENCH_RESULTS`, else `results/runs` here.

    For a bundle, it is the folder of the runs inside it, whose files are verified first.

    Raises:
        DataError: the bundle is damaged.
        UsageError: runs are to be written, and it is a bundle.
    """
    folder = Path(given or os.environ.get("BENCH_RESULTS") or Path("results") / "runs").expanduser()
    if not os.path.lexists(folder / MANIFEST) or not is_bundle(folder):
        return folder
    if write:
        raise UsageError(
            f"{folder} is a bundle; bundles are read-only.", "Use --results DIR for new runs."
        )
    _verify_runs(folder)
    return folder / RECORDS


@dataclass(frozen=True)
class BundledFile:
    """A file of a bundle: its path with slashes, its bytes, its checksum."""

    path: str
    size: int
    sha256: str


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path) -> Iterator[str]:
    """Every file below a folder, as a path with slashes, sorted."""
    found = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    yield from sorted(path.relative_to(folder).as_posix() for path in found)


def write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    """Write the manifest and the checksums of all files in a folder."""
    files = [
        {"path": name, "size": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in files_below(folder)
    ]
    content = {"kind": KIND, "format": LAYOUT, **about, "files": files}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
    sums = {file["path"]: file["sha256"] for file in files}
    sums[MANIFEST] = sha256(folder / MANIFEST)
    lines = "".join(_sum_line(str(name), str(digest)) for name, digest in sums.items())
    (folder / SUMS).write_text(lines, encoding="utf-8")


def is_bundle(folder: Path) -> bool:
    """Whether a folder has the manifest of a bundle.

    Raises:
        DataError: it has a manifest that can't be read.
    """
    return _content(folder) is not None


def bundled_files(folder: Path) -> tuple[BundledFile, ...]:
    """The files that the manifest of a bundle names, once its own checksum is verified.

    Raises:
        DataError: the folder is not a bundle, is damaged, or a newer program wrote it.
    """
    content = _content(folder)
    if content is None:
        raise DataError(f"{folder} is not a bundle.", "Name a folder written by `bench export`.")
    if not isinstance(content.get("format"), int) or content["format"] > LAYOUT:
        raise DataError(
            f"The bundle {folder} has layout {content.get('format')}; this version reads up to "
            f"{LAYOUT}.",
            "Install a newer cnf-bench.",
        )
    try:
        sums = (folder / SUMS).read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{SUMS} can't be read: {error}") from error
    if _sum_line(MANIFEST, sha256(folder / MANIFEST)) not in sums:
        raise _damaged(folder, f"the checksum of {MANIFEST} is not the one in {SUMS}")
    import msgspec

    try:
        files = msgspec.convert(content.get("files"), tuple[BundledFile, ...])
    except msgspec.ValidationError as error:
        raise _damaged(folder, f"the list of files in {MANIFEST} is invalid: {error}") from error
    for path in (PurePosixPath(file.path) for file in files):
        if path.is_absolute() or ".." in path.parts:
            raise _damaged(folder, f"{MANIFEST} names {path}, which is outside of the bundle")
    return files


def _verify_runs(bundle: Path) -> None:
    """Check that every file of every run is there, with its checksum, and no other file.

    Tables and figures are not checked: nothing reads them.
    """
    known = {f.path: f for f in bundled_files(bundle) if f.path.startswith(f"{RECORDS}/")}
    found = {f"{RECORDS}/{name}" for name in files_below(bundle / RECORDS)}
    problems = {"is missing": known.keys() - found, "is not in its manifest": found - known.keys()}
    if not any(problems.values()):
        problems["has changed"] = {
            name
            for name, file in known.items()
            if (bundle / name).stat().st_size != file.size or sha256(bundle / name) != file.sha256
        }
    for problem, names in problems.items():
        if names:
            more = f", and {len(names) - 1} more" if len(names) > 1 else ""
            raise _damaged(bundle, f"{min(names)} {problem}{more}")


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(
        f"The bundle {folder} is damaged: {what}.",
        f"Copy it again, or see `cd {folder} && sha256sum -c {SUMS}`.",
    )


def _content(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None where it has none, or that of something else."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder, f"{MANIFEST} can't be read: {error}") from error
    return content if isinstance(content, dict) and content.get("kind") == KIND else None


def _sum_line(name: str, digest: str) -> str:
    """A line of `sha256sum`, which puts a backslash before names that it has to escape."""
    plain = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if plain == name else chr(92)}{digest}  {plain}\n"
