"""Runs that go wrong, in real child processes: each ends as a record that says why."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.launch import process
from bench.launch.process import Halt, make
from bench.launch.worker import Job
from bench.records import store
from bench.records.spec import Limits, RunSpec
from bench.registry import plugins
from bench.study.planning import plan
from bench.study.studies import Study

from .small import JUDGE, children

SICK = Path(__file__).parent.parent / "sick"


@pytest.fixture
def sick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The sick methods, found here and in child processes."""
    monkeypatch.syspath_prepend(SICK)
    paths = [str(SICK), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    plugins.forget()
    yield
    plugins.forget()


def planned(method: str, folder: Path, minibatches: int = 8, **changes: Any) -> RunSpec:
    rows = np.random.default_rng(1).normal(size=(400, 2)).astype(np.float32)
    np.save(folder / "own.npy", rows)
    study = Study(
        (method,), (str(folder / "own.npy"),), (0,), "quick", JUDGE, minibatches, batch_size=16
    )
    return replace(plan(study, folder / "runs", folder).runs[0], **changes)


def ended(
    spec: RunSpec,
    folder: Path,
    limits: Limits | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda event: None,
) -> dict[str, Any]:
    """The record that the run leaves."""
    (folder / "runs" / ".locks").mkdir(parents=True, exist_ok=True)
    status = make(Job(spec, folder / "runs", limits or Limits()), tell, Halt())
    found = store.content(folder / "runs", spec.run)
    assert found["status"] == status
    assert not store.part(folder / "runs", spec.run).exists()
    assert "mini-batch" in (folder / "runs" / spec.run / "log.txt").read_text() or status != "ok"
    return found


@pytest.mark.usefixtures("sick")
@pytest.mark.parametrize(
    ("method", "status", "reason"),
    [
        ("raises", "error", "ValueError: a matrix that should be orthogonal is not"),
        ("returns-nan", "diverged", "the loss is nan at mini-batch 4"),
        ("segfaults", "error", "SIGSEGV: Fatal Python error: Segmentation fault"),
    ],
)
def test_what_goes_wrong_is_in_the_record(
    method: str, status: str, reason: str, tmp_path: Path
) -> None:
    content = ended(planned(method, tmp_path), tmp_path)
    assert content["status"] == status
    assert reason in content["reason"]
    if method == "segfaults":
        assert "_sum" in content["reason"], "where in Python it was"
        assert any("sick_methods.py" in line for line in content["output"])


@pytest.fixture
def timed_from_first_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Stop the parent's clock until the first step: on a busy machine a child starts slowly."""
    first: list[float] = []

    def clock() -> float:
        return time.monotonic() - first[0] if first else 0.0

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "step" and not first:
            first.append(time.monotonic())

    monkeypatch.setattr(process, "GRACE", 8.0)
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    return tell


@pytest.mark.usefixtures("sick")
def test_one_that_hangs_is_interrupted(
    tmp_path: Path, timed_from_first_step: Callable[[dict[str, Any]], None]
) -> None:
    """It writes its own record, with all that it had come to."""
    spec = planned("hangs", tmp_path, timeout=15.0)
    content = ended(spec, tmp_path, tell=timed_from_first_step)
    assert content["status"] == "timeout"
    assert "interrupted" in content["reason"]
    assert "15 s" in content["reason"]
    assert content["training"]["minibatches"] == 3


@pytest.mark.usefixtures("sick")
def test_one_that_hangs_on_is_killed(
    tmp_path: Path, timed_from_first_step: Callable[[dict[str, Any]], None]
) -> None:
    spec = planned("hangs-on", tmp_path, timeout=15.0)
    content = ended(spec, tmp_path, tell=timed_from_first_step)
    assert content["status"] == "timeout"
    assert content["reason"].startswith("killed 8")


@pytest.mark.usefixtures("sick")
def test_one_that_eats_memory_is_killed(tmp_path: Path) -> None:
    spec = planned("eats-memory", tmp_path)
    content = ended(spec, tmp_path, Limits(memory=1.0))
    assert content["status"] == "oom"
    assert "the limit is 1.00" in content["reason"]
    assert content["key"] == spec.key


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_one_is_taken_up_where_it_was(tmp_path: Path, signal_: signal.Signals) -> None:
    """Killed in mid-run: the same bits as an undisturbed run, and no second record."""
    spec = planned("flow-matching", tmp_path, minibatches=400)
    (tmp_path / "runs" / ".locks").mkdir(parents=True)
    kills = 0
    notes = []

    def tell(event: dict[str, Any]) -> None:
        nonlocal kills
        if event["event"] == "note":
            notes.append(event["note"])
        if event["event"] == "step" and event["minibatch"] > 100 * (kills + 1) and kills < 2:
            kills += 1
            children()[0].send_signal(signal_)

    job = Job(spec, tmp_path / "runs", Limits(checkpoint_every=0.0))
    assert make(job, tell, Halt()) == "ok"
    assert sum("resumed" in note for note in notes) == 2
    found = store.content(tmp_path / "runs", spec.run)
    assert len(found["sessions"]) == 3
    assert all(session["after"] > 0 for session in found["sessions"][1:])
    assert not list((tmp_path / "runs" / spec.run).glob("checkpoint*"))
    undisturbed = ended_elsewhere(spec, tmp_path / "other")
    for part in ("training", "metrics"):
        assert found[part] == undisturbed[part]
    assert found["cost"]["nfe_train"] == undisturbed["cost"]["nfe_train"]


def ended_elsewhere(spec: RunSpec, results: Path) -> dict[str, Any]:
    (results / ".locks").mkdir(parents=True)
    assert make(Job(spec, results), lambda event: None, Halt()) == "ok"
    return store.content(results, spec.run)


def test_one_that_is_killed_again_and_again_ends_as_an_error(tmp_path: Path) -> None:
    spec = planned("gaussian", tmp_path, minibatches=10**7)
    (tmp_path / "runs" / ".locks").mkdir(parents=True)

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            children()[0].send_signal(signal.SIGKILL)

    assert make(Job(spec, tmp_path / "runs"), tell, Halt()) == "error"
    found = store.content(tmp_path / "runs", spec.run)
    assert "SIGKILL" in found["reason"]


def test_a_time_limit_leaves_a_checkpoint_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made again with more time, it goes on where it was."""
    monkeypatch.setattr(process, "GRACE", 120.0)  # starting takes long on a busy machine
    spec = planned("flow-matching", tmp_path, minibatches=2_000)
    first = ended(replace(spec, timeout=0.01), tmp_path)
    assert first["status"] == "timeout"
    done = first["training"]["minibatches"]
    assert 0 < done < 2_000
    record = store.read(tmp_path / "runs", spec.run)
    assert record is not None
    job = Job(spec, tmp_path / "runs", seen=store.stamp(record))
    assert make(job, lambda event: None, Halt()) == "ok"
    found = store.content(tmp_path / "runs", spec.run)
    assert [s["after"] for s in found["sessions"]] == [0, done]
    assert found["training"]["minibatches"] == 2_000
    assert found["started"] == first["started"]


def test_a_stop_is_a_checkpoint_and_no_record(tmp_path: Path) -> None:
    spec = planned("gaussian", tmp_path, minibatches=10**7)
    (tmp_path / "runs" / ".locks").mkdir(parents=True)
    halt = Halt()

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            halt.stop.set()

    assert make(Job(spec, tmp_path / "runs"), tell, halt) == "interrupted"
    assert store.read(tmp_path / "runs", spec.run) is None
    assert (store.part(tmp_path / "runs", spec.run) / "checkpoint.bin").is_file()
    assert not children()


def test_a_kill_ends_it_at_once(tmp_path: Path) -> None:
    spec = planned("gaussian", tmp_path, minibatches=10**7)
    (tmp_path / "runs" / ".locks").mkdir(parents=True)
    halt = Halt()
    threading.Timer(0.5, halt.kill.set).start()
    began = time.monotonic()
    assert make(Job(spec, tmp_path / "runs"), lambda event: None, halt) == "interrupted"
    assert time.monotonic() - began < 10
    assert not children()


def test_a_gpu_that_is_gone(tmp_path: Path) -> None:
    """Planned for a GPU, made where there is none to be seen."""
    spec = planned("gaussian", tmp_path, device="cuda")
    (tmp_path / "runs" / ".locks").mkdir(parents=True)
    make(Job(spec, tmp_path / "runs", gpu=""), lambda event: None, Halt())
    found = store.content(tmp_path / "runs", spec.run)
    assert found["status"] == "error"
    assert "CUDA" in found["reason"]


def test_a_record_that_was_written_and_not_put_in_place(tmp_path: Path) -> None:
    """Its process was killed between the two; the next one puts it in place and runs nothing."""
    spec = planned("gaussian", tmp_path)
    ended(spec, tmp_path)
    runs = tmp_path / "runs"
    (runs / spec.run).rename(store.part(runs, spec.run))
    events: list[Any] = []
    assert make(Job(spec, runs), events.append, Halt()) == "ok"
    assert events == []
    assert json.loads((runs / spec.run / "record.json").read_text())["status"] == "ok"


@pytest.mark.parametrize(
    ("code", "short_of_memory", "cause", "words"),
    [
        (-9, True, "oom", "SIGKILL"),
        (-9, False, "killed", "SIGKILL"),
        (-15, False, "killed", "SIGTERM"),
        (-6, False, "error", "SIGABRT"),
        (-6, True, "error", "SIGABRT"),
        (3, False, "error", "3"),
    ],
)
def test_causes(code: int, short_of_memory: bool, cause: str, words: str) -> None:
    """By the exit code, and whether the kernel killed for want of memory meanwhile."""
    found, reason = process._cause(code, short_of_memory)
    assert found == cause
    assert words in reason
