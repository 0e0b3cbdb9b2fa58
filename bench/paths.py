"""Where data are kept: the data root and the array cache."""

from __future__ import annotations

import os
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
