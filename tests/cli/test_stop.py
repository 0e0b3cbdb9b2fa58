"""`bench run` when it is stopped, or has not what it needs: nothing is lost, and it says so."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench.paths import usable_cores

from .conftest import BENCH, Bench

pytestmark = pytest.mark.timeout(400)

LONG = ("--minibatches", "3000", "--batch-size", "64", "--set", "width=16")


def start(
    folder: Path, *arguments: str, first: Callable[[], object] = lambda: None
) -> subprocess.Popen[str]:
    """`bench` with arguments; `first` is called in the new process before it."""

    def begin() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in background
        first()

    return subprocess.Popen(
        [BENCH, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "100"},
        preexec_fn=begin,
    )


def wait_for_steps(folder: Path) -> None:
    """Until a run has written of its first steps, at its first validation or checkpoint."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for log in (folder / "results" / "runs").glob("*.part/log.txt"):
            if "mini-batch" in log.read_text(encoding="utf-8"):
                return
        time.sleep(0.05)
    raise AssertionError("no run has begun")


@pytest.mark.parametrize(
    "signal_", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_stop_loses_nothing(
    bench: Bench, own_table: str, tmp_path: Path, signal_: signal.Signals
) -> None:
    """Ctrl-C, or SIGTERM as a cluster sends it: a checkpoint, how to go on, and going on."""
    command = ("run", "-m", "flow-matching", "-d", own_table, *LONG)
    parent = start(tmp_path, *command)
    wait_for_steps(tmp_path)
    parent.send_signal(signal_)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 130, said
    assert "Traceback" not in said
    assert f"bench {' '.join(command)}" in said, "how to go on"
    (part,) = (tmp_path / "results" / "runs").glob("*.part")
    assert (part / "checkpoint.bin").is_file()
    again = bench(*command)
    assert again.returncode == 0, again.stderr
    assert "Resuming after mini-batch" in again.stderr
    (path,) = (tmp_path / "results" / "runs").glob("*/record.json")
    sessions = json.loads(path.read_text(encoding="utf-8"))["sessions"]
    assert len(sessions) == 2
    assert sessions[1]["after"] > 0


def test_ctrl_c_twice_ends_at_once(own_table: str, tmp_path: Path) -> None:
    """Where the step in hand takes for ever."""
    parent = start(tmp_path, "run", "-m", "flow-matching", "-d", own_table, *LONG)
    wait_for_steps(tmp_path)
    (log,) = (tmp_path / "results" / "runs").glob("*.part/log.txt")
    child = psutil.Process(
        int(log.read_text(encoding="utf-8").partition("process ")[2].partition(",")[0])
    )
    child.suspend()  # it can't finish its step
    try:
        parent.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert parent.poll() is None, "it waits for the step"
        began = time.monotonic()
        parent.send_signal(signal.SIGINT)
        _, said = parent.communicate(timeout=60)
        assert time.monotonic() - began < 20
    finally:
        parent.kill()
        still = child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        if still:
            child.kill()
    assert not still
    assert "Traceback" not in said
    assert not list((tmp_path / "results" / "runs").glob("*/record.json"))


@pytest.mark.parametrize(
    ("most", "left"),
    [(4_096, "error"), pytest.param(256, "no record", marks=pytest.mark.slow)],
)
def test_a_full_disk(own_table: str, tmp_path: Path, most: int, left: str) -> None:
    """No file may grow beyond so many bytes: a reason, where it has room a record, no half file."""

    def quota() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    parent = start(
        *(tmp_path, "run", "-m", "gaussian", "-d", own_table, "--minibatches", "200"),
        first=quota,
    )
    _, said = parent.communicate(timeout=200)
    assert parent.returncode == 1, said
    assert f"{left}: " in said
    assert "File too large" in said
    assert "Traceback" not in said
    runs = tmp_path / "results" / "runs"
    found = [json.loads(path.read_text("utf-8"))["status"] for path in runs.glob("*/record.json")]
    assert found == ([] if left == "no record" else [left])
    assert not list(runs.rglob("*.tmp"))


def test_a_memory_limit(bench: Bench, own_table: str) -> None:
    """Less than the libraries alone take."""
    found = bench("run", "-m", "gaussian", "-d", own_table, "--memory", "0.1")
    assert found.returncode == 1
    assert "oom: " in found.stderr
    assert "0.10" in found.stderr


def test_no_more_runs_than_cores(bench: Bench, own_table: str) -> None:
    found = bench("run", "-m", "gaussian", "-d", own_table, "--minibatches", "5", "-j", "999")
    assert found.returncode == 0, found.stderr
    cores = usable_cores()
    assert f"Running {cores} at a time, not 999" in found.stderr
