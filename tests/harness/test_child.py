"""Runs that go wrong, in real child processes: each ends as a record that says why."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from bench.launch import process
from bench.launch.process import Halt, Place, make
from bench.launch.worker import GUARDED, Job
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
    log = folder / "runs" / spec.run / "log.txt"
    assert status != "ok" or "mini-batch" in log.read_text()
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
def over(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Let the time be up by the parent's clock a second after the first step; not by the child's.

    Until then the parent's clock stands: on a busy machine a child starts slowly.
    """
    began, first = time.monotonic(), list[float]()

    def clock() -> float:
        passed = 1_000.0 + process.GRACE / 2 - 1.0
        return began + (passed + time.monotonic() - first[0] if first else 0.0)

    def tell(event: dict[str, Any]) -> None:
        assert event["event"] in ("step", "stage"), "it is resumed"
        first.append(time.monotonic())

    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    monkeypatch.setattr(process, "GRACE", 60.0)
    return tell


@pytest.mark.usefixtures("sick")
@pytest.mark.parametrize(("method", "minibatches"), [("hangs", 8), ("gaussian", 10**7)])
def test_one_that_is_out_of_time_is_interrupted(
    method: str, minibatches: int, tmp_path: Path, over: Callable[[dict[str, Any]], None]
) -> None:
    """Whatever its own clock says; it writes its own record, with all that it had come to."""
    spec = planned(method, tmp_path, minibatches, timeout=1_000.0)
    content = ended(spec, tmp_path, tell=over)
    assert content["status"] == "timeout"
    assert content["reason"] == "interrupted past the time limit of 1000 s"
    assert content["training"]["minibatches"] >= 3
    assert len(content["sessions"]) == 1


@pytest.mark.usefixtures("sick")
def test_one_that_hangs_on_is_killed(
    tmp_path: Path, over: Callable[[dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE", 8.0)
    content = ended(planned("hangs-on", tmp_path, timeout=1_000.0), tmp_path, tell=over)
    assert content["status"] == "timeout"
    assert content["reason"].startswith("killed 8")


def test_the_time_limit_counts_from_the_start_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that takes as long to start as it has: the limit is over at the first mini-batch."""
    monkeypatch.setattr(process, "GRACE", 120.0)
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(3)")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    content = ended(planned("gaussian", tmp_path, 10**7, timeout=3.0), tmp_path)
    assert content["status"] == "timeout"
    assert content["training"]["minibatches"] == 1


@pytest.mark.usefixtures("sick")
def test_one_that_eats_memory_is_killed(tmp_path: Path) -> None:
    spec = planned("eats-memory", tmp_path)
    content = ended(spec, tmp_path, Limits(memory=1.0))
    assert content["status"] == "oom"
    assert "the limit is 1.00" in content["reason"]
    assert content["key"] == spec.key


@pytest.mark.skipif(not GUARDED, reason="the memory of other processes is not counted here")
@pytest.mark.usefixtures("sick")
def test_memory_is_that_of_all_its_processes(tmp_path: Path) -> None:
    spec = planned("eats-memory-elsewhere", tmp_path)
    content = ended(spec, tmp_path, Limits(memory=1.0))
    assert content["status"] == "oom"
    assert "it and the 4 processes below it used" in content["reason"]


def left(token: str) -> list[psutil.Process]:
    """The processes that the sick method has left behind."""
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            marked = each.environ().get("SICK_SECONDS") == token and each.ppid() != os.getpid()
            if marked or each.cmdline() == ["sleep", token]:
                found.append(each)
    return found


@pytest.fixture
def token(sick: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What the processes that a sick method leaves behind are known by; all end with the test."""
    seconds = f"3600.{os.getpid()}{time.monotonic_ns()}"
    monkeypatch.setenv("SICK_SECONDS", seconds)
    yield seconds
    for each in left(seconds):
        each.kill()


@pytest.mark.skipif(not GUARDED, reason="only Linux tells what a process has left behind")
def test_what_a_run_has_started_ends_with_it(tmp_path: Path, token: str) -> None:
    """In sessions of their own, without a parent, with the channel open; their memory is shared."""
    seen = 0

    def tell(event: dict[str, Any]) -> None:
        nonlocal seen
        seen = max(seen, len(left(token)))

    spec = planned("leaves-processes", tmp_path)
    content = ended(spec, tmp_path, Limits(memory=1.2), tell)
    assert content["status"] == "ok"
    assert seen >= 7
    assert left(token) == []


#: Makes the job that it reads.
PARENT = """
import pickle, sys
from bench.launch.process import Halt, make
make(pickle.load(sys.stdin.buffer), lambda event: None, Halt())
"""


@pytest.mark.skipif(not GUARDED, reason="only Linux tells what a process has left behind")
@pytest.mark.parametrize("victim", ["run", "guard", "parent"])
def test_what_a_run_has_started_ends_with_a_kill(
    victim: str, tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the process of the run, of its guard, or of the parent of both."""
    monkeypatch.setattr(process, "LIVES", 1)
    spec = planned("leaves-processes", tmp_path, minibatches=10**7)
    (tmp_path / "runs" / ".locks").mkdir(parents=True)
    seen = 0

    def tell(event: dict[str, Any]) -> None:
        nonlocal seen
        if event["event"] == "step" and event["minibatch"] > 4:
            seen = max(seen, len(left(token)))
            running = children()[0]
            (running if victim != "guard" else running.parent()).kill()

    if victim == "parent":
        parent = subprocess.Popen([sys.executable, "-P", "-c", PARENT], stdin=subprocess.PIPE)
        assert parent.stdin is not None
        parent.stdin.write(pickle.dumps(Job(spec, tmp_path / "runs")))
        parent.stdin.close()
        until(lambda: len(left(token)) >= 8)
        parent.kill()
        parent.wait()
        until(lambda: not left(token))
        return
    assert make(Job(spec, tmp_path / "runs"), tell, Halt()) == "error"
    assert "SIGKILL" in store.content(tmp_path / "runs", spec.run)["reason"]
    assert seen >= 7
    assert [each for each in left(token) if victim == "run" or each.name() != "sleep"] == []


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("sick")
def test_a_message_that_is_none_ends_the_run(tmp_path: Path) -> None:
    """A method that writes into the channel; the reason names what it wrote."""
    content = ended(planned("writes-junk", tmp_path), tmp_path)
    assert content["status"] == "error"
    assert "Its process sent a message that is not valid: minibatch is not int" in content["reason"]


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON\n",
        b"\xff\xfe\x00\n",
        b"[" * 10_000 + b"\n",
        b"[1]\n",
        b"null\n",
        b"{}\n",
        b'{"event": ["step"]}\n',
        b'{"event": "lost"}\n',
        b'{"event": "note", "note": {}}\n',
        b'{"event": "end", "status": "fine"}\n',
        b'{"event": "step", "minibatch": 1, "total": 8}\n',
        b'{"event": "step", "minibatch": 1, "total": 8, "loss": "1"}\n',
        b'{"event": "step", "minibatch": true, "total": 8, "loss": 1.0}\n',
        b'{"event": "step", "minibatch": 9, "total": 8, "loss": 1.0}\n',
        b'{"event": "step", "minibatch": 1, "total": 9, "loss": 1.0}\n',
        b'{"event": "step", "minibatch": 1, "total": 8, "loss": 1.0, "validation_nll": null}\n',
        b'{"event": "note", "note": "' + b"no end" * 200_000,
    ],
)
def test_messages_that_are_none(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        process.understood(line, 8)


def test_what_is_taken_from_a_message() -> None:
    """What else it holds could be taken for what the parent itself says of a run."""
    step = {"event": "step", "minibatch": 2, "total": 8, "loss": 1.5, "validation_nll": math.inf}
    line = json.dumps(step | {"lost": 1.0, "status": 0.5, "reason": 3.0}).encode() + b"\n"
    assert process.understood(line, 8) == step


@pytest.mark.usefixtures("sick")
def test_a_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    spec = planned("shouts", tmp_path, minibatches=4)
    assert ended(spec, tmp_path)["status"] == "ok"
    log = (tmp_path / "runs" / spec.run / "log.txt").read_bytes()
    assert len(log) <= process.LOG_BYTES
    lines = log.splitlines()
    assert b"threads, cpu" in lines[0]
    assert sum(b"output left out" in line for line in lines) == 1
    assert lines[-1].endswith(b" ok")


def test_a_run_whose_folder_is_removed_says_so(tmp_path: Path) -> None:
    spec = planned("gaussian", tmp_path, minibatches=10**7)

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            shutil.rmtree(store.part(tmp_path / "runs", spec.run), ignore_errors=True)

    content = ended(spec, tmp_path, tell=tell)
    assert content["status"] == "error"
    assert "was removed while the run was training" in content["reason"]


@pytest.mark.parametrize(
    "signal_", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
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


@pytest.mark.skipif(not GUARDED, reason="only a guard forks its runs")
def test_the_next_run_has_what_the_last_has_imported(tmp_path: Path) -> None:
    """One process after the other from one guard; with the bits of a run that has its own."""
    results = tmp_path / "runs"
    specs = [planned("gaussian", tmp_path, seed=seed) for seed in (1, 2, 3)]
    (results / ".locks").mkdir(parents=True)
    place, guards, spent = Place(), [], []
    for spec in specs:
        assert make(Job(spec, results), lambda event: None, Halt(), place) == "ok"
        assert place.ready
        guards.append(place.ready.process.pid)
        spent.append(psutil.Process(guards[-1]).cpu_times())
        assert not psutil.Process(guards[-1]).children()
        if spec == specs[1]:  # one that dies while it waits is replaced
            place.ready.process.kill()
            place.ready.process.wait()
    assert guards[0] == guards[1] != guards[2]
    first, last = spent[:2]
    assert last.user - first.user < 0.1 * first.user, "nothing is imported again"
    own = last.children_user - first.children_user
    assert own < 0.5 * first.user, "a run costs less than what it has been spared"
    place.close()
    assert not psutil.pid_exists(guards[2])
    alone = ended_elsewhere(specs[1], tmp_path / "other")
    after = store.content(results, specs[1].run)
    assert after["metrics"] == alone["metrics"]
    for name in ("model.pt", "samples.npz"):
        assert after["digests"][name] == alone["digests"][name]
    rss = [each["cost"]["baseline_rss_bytes"] for each in (after, alone)]
    assert rss[0] == pytest.approx(rss[1], rel=0.05)


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


#: Ends the process when its record is in place, with the clock turned back by an hour in mid-run.
HOUR_BACK = """
import datetime, os
from bench.records import store

real, publish = store.utc, store.publish

def utc():
    then = datetime.datetime.fromisoformat(real()) - datetime.timedelta(hours=1)
    return then.isoformat(timespec="milliseconds")

def last(*given):
    publish(*given)
    os._exit(3)

store.utc, store.publish = utc, last
"""


def test_a_clock_that_is_turned_back_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = planned("gaussian", tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HOUR_BACK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    began = store.utc()
    assert ended(spec, tmp_path)["status"] == "ok"
    assert store.content(tmp_path / "runs", spec.run)["finished"] < began


def test_a_record_that_was_made_meanwhile_is_kept(tmp_path: Path) -> None:
    """By another process, after this one's child has died."""
    spec, runs = planned("gaussian", tmp_path), tmp_path / "runs"
    store.part(runs, spec.run).mkdir(parents=True)
    store.publish(runs, spec.run, store.outline(spec) | {"status": "ok"})
    assert process.leave_record(Job(spec, runs), "error", "it died") == "ok"
    found = store.read(runs, spec.run)
    assert found is not None
    assert found.status == "ok"
    again = Job(spec, runs, seen=store.stamp(found))
    assert process.leave_record(again, "error", "it died") == "error"


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
