"""The runs of a bundle, once they are verified."""

from __future__ import annotations

from pathlib import Path

from bench.records.manifest import RECORDS, damaged, files_below, read_manifest, sha256


def runs_of(bundle: Path) -> Path:
    """The results folder inside a bundle; every file in it is there, with its checksum.

    Tables and figures are not looked at: nothing reads them.

    Raises:
        DataError: it is no bundle, or a file of a run is missing, is another, or is one too many.
    """
    listed = {
        file["path"]: file
        for file in read_manifest(bundle)["files"]
        if file["path"].startswith(f"{RECORDS}/")
    }
    there = {f"{RECORDS}/{name}" for name in files_below(bundle / RECORDS)}
    if missing := sorted(listed.keys() - there):
        raise damaged(bundle, f"{missing[0]} is missing{_more(missing)}")
    if others := sorted(there - listed.keys()):
        raise damaged(bundle, f"{others[0]} is not in its manifest{_more(others)}")
    changed = [
        name
        for name, file in listed.items()
        if (bundle / name).stat().st_size != file["size"] or sha256(bundle / name) != file["sha256"]
    ]
    if changed:
        raise damaged(bundle, f"{changed[0]} is not what was written{_more(changed)}")
    return bundle / RECORDS


def _more(names: list[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""
