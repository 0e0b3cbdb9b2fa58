"""What the tests of whole runs share: a judge with little to do, a small table, the children."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil

from bench.launch.worker import GUARDED
from bench.records.spec import Judge
from bench.study.studies import Study

#: As little as can be judged.
JUDGE = Judge(
    test_rows=40,
    error_rows=10,
    integral_cells=16,
    mmd_n=30,
    permutations=99,
    validations=2,
    validation_rows=20,
    validation_tol=1e-2,
)


def table(path: Path, seed: int = 1) -> Path:
    """400 correlated rows of two columns, in a file there."""
    rows = np.random.default_rng(seed).multivariate_normal([1, -1], [[1, 0.8], [0.8, 1]], 400)
    np.save(path, rows.astype(np.float32))
    return path


def two_methods(folder: Path) -> Study:
    """The floor and a flow on such a table, six mini-batches each."""
    return Study(
        methods=("gaussian", "flow-matching"),
        datasets=(str(table(folder / "own.npy")),),
        judge=JUDGE,
        minibatches=6,
        batch_size=32,
        settings=("width=8",),
    )


def children(pid: int | None = None) -> list[psutil.Process]:
    """The runs under way below a process, or below this one; on Linux without their guards."""
    found = []
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    for process in below:
        try:
            if "bench.launch.worker" in process.cmdline():
                found.append((process, process.ppid()))
        except psutil.Error:
            continue
    guards = {process.pid for process, _ in found} if GUARDED else set()
    return [process for process, parent in found if not GUARDED or parent in guards]
