"""The command line as a user has it: the installed `bench`, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Bench = Callable[..., "subprocess.CompletedProcess[str]"]

#: The script that the installation made.
BENCH = str(Path(sys.executable).with_name("bench"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Call `bench` with arguments in an empty folder; the exit code is the caller's to look at."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BENCH, *arguments],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "100", **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return call


@pytest.fixture
def own_table(tmp_path: Path) -> str:
    """A small table of the user's own: a correlated Gaussian in two dimensions."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2_000, 2)) @ np.array([[1.0, 0.0], [0.8, 0.6]]).T
    np.savetxt(tmp_path / "own.csv", rows, delimiter=",", header="a,b", comments="")
    return "own.csv"
