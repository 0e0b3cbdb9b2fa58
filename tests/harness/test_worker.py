"""The child process: what it says, what it leaves, and how it ends."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np
from filelock import FileLock

from bench.launch.worker import Job
from bench.records import store
from bench.records.spec import Judge, RunSpec
from bench.study.planning import plan
from bench.study.studies import Study

JUDGE = Judge(
    integral_cells=16, test_rows=20, mmd_n=20, permutations=19, validations=1, validation_rows=20
)


def spec(folder: Path, minibatches: int) -> RunSpec:
    rows = np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32)
    np.save(folder / "own.npy", rows)
    study = Study(
        ("gaussian",), (str(folder / "own.npy"),), (0,), "quick", JUDGE, minibatches, batch_size=16
    )
    return plan(study, folder / "runs", folder).runs[0]


def start(run: RunSpec, folder: Path) -> subprocess.Popen[str]:
    (folder / "runs" / ".locks").mkdir(parents=True, exist_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.launch.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    pipe(child.stdin).write(pickle.dumps(Job(run, folder / "runs")).hex() + "\n")
    pipe(child.stdin).flush()
    return child


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def told(child: subprocess.Popen[str]) -> list[dict[str, str]]:
    """The events of its run; a process that is then ready for another is told to end."""
    events = []
    for line in pipe(child.stdout):
        event = json.loads(line)
        if event == {"event": "ready"}:
            pipe(child.stdin).close()
            break
        events.append(event)
    return events


def test_one_line_of_json_an_event_and_a_clean_exit(tmp_path: Path) -> None:
    run = spec(tmp_path, 3)
    with start(run, tmp_path) as child:
        events = told(child)
        assert child.wait(60) == 0, pipe(child.stderr).read()
    assert events[-1] == {"event": "end", "status": "ok"}
    assert {e["event"] for e in events} == {"step", "stage", "end"}
    content = store.read(tmp_path / "runs", run.run)
    assert content is not None
    assert content.environment.threads == 1


def test_busy(tmp_path: Path) -> None:
    run = spec(tmp_path, 3)
    (tmp_path / "runs" / ".locks").mkdir(parents=True)
    with FileLock(store.lock_file(tmp_path / "runs", run.run)), start(run, tmp_path) as child:
        events = told(child)
        assert child.wait(60) == 0
    assert events == [{"event": "end", "status": "busy"}]
    assert list(store.read_all(tmp_path / "runs")) == []


def test_it_ends_when_its_parent_does_and_not_with_ctrl_c(tmp_path: Path) -> None:
    """SIGINT is the parent's to handle; a closed standard input is the parent's end."""
    run = spec(tmp_path, 10**7)
    with start(run, tmp_path) as child:
        assert json.loads(pipe(child.stdout).readline())["event"] == "step"
        child.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert child.poll() is None
        pipe(child.stdin).close()
        assert child.wait(10) == 1
        child.stdin = None
    assert list(store.read_all(tmp_path / "runs")) == []
    assert store.part(tmp_path / "runs", run.run).is_dir()
