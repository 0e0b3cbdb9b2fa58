"""Where things lie: the data root, the array cache, the results folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from bench.errors import UsageError


def cache_home() -> Path:
    """The user's cache folder for this program."""
    return Path(platformdirs.user_cache_dir("cnf-bench", appauthor=False))


def data_root(given: str | Path | None = None) -> Path:
    """The data root: as given, else `BENCH_DATA`, else `data` in the user's cache folder."""
    return Path(given or os.environ.get("BENCH_DATA") or cache_home() / "data").expanduser()


def array_cache() -> Path:
    """The memory-mapped arrays: `arrays` in `BENCH_CACHE`, else in the user's cache folder."""
    return Path(os.environ.get("BENCH_CACHE") or cache_home()).expanduser() / "arrays"


def results_dir(given: str | Path | None = None, *, write: bool = False) -> Path:
    """The results folder: as given, else `BENCH_RESULTS`, else `results/runs` from here.

    A bundle that `bench export` wrote stands for the runs in it, which are verified.

    Raises:
        DataError: the bundle is damaged.
        UsageError: runs are to be written, and it is a bundle.
    """
    folder = Path(given or os.environ.get("BENCH_RESULTS") or Path("results") / "runs").expanduser()
    if not os.path.lexists(folder / "MANIFEST.json"):
        return folder
    from bench.records.bundle import runs_of
    from bench.records.manifest import is_bundle

    if not is_bundle(folder):
        return folder
    if write:
        raise UsageError(f"{folder} is a bundle, which is only read.", "Name another (--results).")
    return runs_of(folder)
