"""Where data are kept, how a file is replaced, and which commit this checkout is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs


def cache_home() -> Path:
    """The user's cache folder for this program."""
    return Path(platformdirs.user_cache_dir("cnf-bench", appauthor=False))


def data_root(given: str | Path | None = None) -> Path:
    """The data root: as given, else `BENCH_DATA`, else `data` in the user's cache folder."""
    return Path(given or os.environ.get("BENCH_DATA") or cache_home() / "data").expanduser()


def array_cache() -> Path:
    """The memory-mapped arrays: `arrays` in `BENCH_CACHE`, else in the user's cache folder."""
    return Path(os.environ.get("BENCH_CACHE") or cache_home()).expanduser() / "arrays"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new file that becomes `path` at the end, and is removed where something is raised.

    Nobody can have put a link at its place: its name can't be guessed.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    open(temporary, "xb").close()
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def commit() -> str | None:
    """The git commit of this checkout, with `+` where it has changes; None outside of one."""
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=5,
    ).stdout.strip()
