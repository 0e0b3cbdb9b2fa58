"""How many cores there are to use, and how many threads a run has."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench.launch.driver import StudyRequest, prepare
from bench.paths import usable_cores

HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/\n", {}, HERE),
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, HERE),
        ("0::/\n", {"cpu.max": f"{HERE + 5}00000 100000\n"}, HERE),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "100000 100000\n"}, 1),
        ("0::/outside/of/it\n", {"cpu.max": "100000 100000\n"}, 1),
        (
            "3:cpuset:/\n2:cpuacct,cpu:/a\n0::/\n",
            {"cpu/a/cpu.cfs_quota_us": "150000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            1,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, HERE),
    ],
)
def test_a_containers_quota_is_respected(
    group: str, files: dict[str, str], cores: int, tmp_path: Path
) -> None:
    files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in ({"proc/self/cgroup": group} | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("threads", "used"), [(None, 1), (2, 2)])
def test_a_run_has_one_thread_unless_more_are_asked_for(
    threads: int | None, used: int, tmp_path: Path
) -> None:
    """Whatever the machine: the number of threads can change the last bits of a result."""
    np.save(tmp_path / "own.npy", np.random.default_rng(0).normal(size=(99, 2)))
    asked = StudyRequest(
        methods=["gaussian"],
        datasets=[tmp_path / "own.npy"],
        threads=threads,
        results=tmp_path / "runs",
    )
    made = prepare(asked, lambda text: None)
    assert (made.request.jobs, made.request.threads) == (1, used)
