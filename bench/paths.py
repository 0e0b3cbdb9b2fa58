"""What is here: folders, cores, the commit of this checkout; and how a file is replaced."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def usable_cores(root: Path = Path("/")) -> int:
    """The cores that this process may use: by its affinity and by the quotas of its cgroups.

    `root` is the root of the file system: for tests.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return cores
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            top = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            top = root / "sys/fs/cgroup/cpu"
        else:
            continue
        group = top / path.lstrip("/")  # in a container it may lie outside of what is mounted
        for folder in (group, *(above for above in group.parents if above.is_relative_to(top))):
            with suppress(OSError, ValueError):  # ValueError: max, no quota
                if (folder / "cpu.max").exists():
                    quota, period = map(int, (folder / "cpu.max").read_text().split())
                else:
                    quota = int((folder / "cpu.cfs_quota_us").read_text())
                    period = int((folder / "cpu.cfs_period_us").read_text())
                if quota > 0:
                    cores = min(cores, max(1, quota // period))
    return cores


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
