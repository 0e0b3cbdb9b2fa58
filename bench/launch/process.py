"""One run in a child process: starting it, listening to it, ending it in time, its last record."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
from filelock import FileLock, Timeout

from bench.launch.worker import lock_file
from bench.records import store
from bench.records.spec import RunSpec

Event = dict[str, Any]

#: Seconds that a run gets, past its time limit, to write its own record. It stops by itself
#: between two steps; at half that time it is interrupted wherever it is, then killed.
GRACE = 20.0

#: Seconds that a run gets to finish its step and write a checkpoint when it is asked to stop.
PATIENCE = 120.0

#: How often a run that somebody kills is taken up again without a new checkpoint in between.
LIVES = 3

#: Lines of a run's log that a record keeps where its process ended without a word.
KEPT_LINES = 40


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Attributes:
        threads: its threads.
        memory: its resident memory in bytes, None for no limit.
        checkpoint_every: seconds between two checkpoints.
        yardstick: whether its steps are measured by `bench.training.reference_timing`.
    """

    threads: int = 1
    memory: int | None = None
    checkpoint_every: float = 60.0
    yardstick: bool = False


@dataclass(frozen=True)
class Job:
    """A run that a child shall make.

    Attributes:
        spec: the run.
        results: the results folder.
        limits: what it may use.
        gpu: the GPU that it sees, all where None.
        seen: the stamp of the record that the run has already and shall be made again in spite of;
            any other record means that it is made.
    """

    spec: RunSpec
    results: Path
    limits: Limits = Limits()
    gpu: str | None = None
    seen: list[Any] | None = None


@dataclass(frozen=True)
class Halt:
    """How runs are ended from outside; a run so ended leaves no record.

    Attributes:
        stop: when set, a run finishes its step, writes a checkpoint and ends.
        kill: when set, a run is killed.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    kill: threading.Event = field(default_factory=threading.Event)


@dataclass
class Ending:
    """How a child ended: by its own word (`status`), or by what else (`cause`).

    `status` is the record's, `busy` or `interrupted`; `cause` is `timeout`, `oom`, `killed` or
    `error`.
    """

    status: str | None = None
    cause: str | None = None
    reason: str = ""


def make(job: Job, tell: Callable[[Event], None], halt: Halt) -> str:
    """Make one run in a child process, which leaves a record however it ends.

    A child that somebody kills, and not the time or the memory limit, is taken up again from its
    last checkpoint.

    Args:
        job: the run.
        tell: is called with what the child reports, as it reports it.
        halt: ends it from outside.

    Returns:
        The record's status; `busy` where another process makes the run; `interrupted`.

    Raises:
        OSError: no process can be started, or its last record can't be written.
    """
    lives, last, began = LIVES, None, store.utc()
    while True:
        with tempfile.TemporaryFile() as errors:
            ending = _attempt(job, tell, halt, errors)
            if halt.stop.is_set() or halt.kill.is_set():
                return ending.status or "interrupted"
            if ending.status == "interrupted":
                ending = Ending(cause="killed", reason="the process was told to end (SIGTERM)")
            if ending.status:
                return ending.status
            output = _last_lines(job, errors)
        found = store.read(job.results, job.spec.run)
        if found and (found.finished or "") >= began:  # killed when all was done
            return found.status
        checkpoint = _last_checkpoint(job)
        lives = LIVES if checkpoint != last else lives - 1
        last = checkpoint
        if ending.cause != "killed" or lives <= 0:
            return _record_lost(job, ending, output, began)
        tell({"event": "note", "note": f"{ending.reason}; it is taken up again"})


def _attempt(job: Job, tell: Callable[[Event], None], halt: Halt, errors: IO[bytes]) -> Ending:
    """Start a child and listen to it until it ends."""
    ending, killed_before = Ending(), _killed_for_memory()
    child = _start(job, errors)
    watch = threading.Thread(target=_watch, args=(child, job, halt, ending), daemon=True)
    watch.start()
    assert child.stdout is not None
    for line in child.stdout:
        with suppress(ValueError):
            event = json.loads(line)
            if event["event"] in ("end", "busy"):
                ending.status = event.get("status", "busy")
            else:
                tell(event)
    code = child.wait()
    watch.join()
    if not ending.status and not ending.cause:
        ending.cause, ending.reason = _cause(code, _killed_for_memory() > killed_before)
    return ending


def _cause(code: int, short_of_memory: bool) -> tuple[str, str]:
    """Why a process ended without a word, by its exit code."""
    if code == -signal.SIGKILL and short_of_memory:
        return "oom", "killed (SIGKILL) while the kernel, out of memory, killed a process"
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        return "killed", f"the process was killed by somebody ({signal.Signals(-code).name})"
    if code < 0:
        return "error", f"the process ended by {signal.Signals(-code).name}"
    return "error", f"the process ended with exit code {code}"


def _start(job: Job, errors: IO[bytes]) -> subprocess.Popen[str]:
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(job.limits.threads)
    environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # deterministic cuBLAS
    if job.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = job.gpu
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.launch.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C is the parent's to handle
    )
    request = {
        "spec": job.spec.to_json(),
        "results": str(job.results.absolute()),
        "checkpoint_every": job.limits.checkpoint_every,
        "yardstick": job.limits.yardstick,
        "seen": job.seen,
    }
    _say(child, json.dumps(request))
    return child


def _say(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.write(f"{line}\n")
        child.stdin.flush()


def _watch(child: subprocess.Popen[str], job: Job, halt: Halt, ending: Ending) -> None:
    """Ask, interrupt and kill the child as its limits and the study's end want it."""
    start = time.monotonic()
    timeout, memory = job.spec.timeout, job.limits.memory
    asked = math.inf
    while child.poll() is None:
        now = time.monotonic()
        over = now - start - timeout if timeout else -math.inf
        if halt.stop.is_set() and asked == math.inf:
            asked = now
            _say(child, "stop")
        if over > GRACE / 2 and not ending.cause:
            ending.cause = "timeout"
            ending.reason = f"it was interrupted {over:.3g} s after its time limit of {timeout:g} s"
            child.terminate()
        if over > GRACE:
            ending.reason = f"killed {over:.3g} s after its time limit of {timeout:g} s"
        taken = _resident(child.pid) if memory else 0
        too_much = memory is not None and taken > memory
        if memory and too_much:
            ending.cause = "oom"
            ending.reason = (
                f"killed: it took {taken / 2**30:.2f} GiB of memory, "
                f"and a run may take {memory / 2**30:.2f} GiB"
            )
        if halt.kill.is_set() or now - asked > PATIENCE or over > GRACE or too_much:
            break
        time.sleep(0.05)
    _kill(child)  # and what it has started, also where it ended by itself


def _kill(child: subprocess.Popen[str]) -> None:
    """Kill the child and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _resident(pid: int) -> int:
    """The resident memory of a process in bytes, 0 where it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _killed_for_memory() -> int:
    """How many processes the kernel has killed for want of memory so far (Linux; elsewhere 0)."""
    try:
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def _last_lines(job: Job, errors: IO[bytes]) -> list[str]:
    """The last lines of output: of the run's log, and of what came before there was one."""
    errors.seek(0)
    said = errors.read()
    with suppress(OSError):
        said = (store.part(job.results, job.spec.run) / "log.txt").read_bytes() + said
    lines = said.decode(errors="replace").strip().splitlines()
    return [line for line in lines if not line.startswith("Extension modules:")][-KEPT_LINES:]


def _last_checkpoint(job: Job) -> int | None:
    """When the run under way wrote its last checkpoint; None where there is none."""
    paths = store.part(job.results, job.spec.run).glob(store.CHECKPOINTS)
    return max((path.stat().st_mtime_ns for path in paths), default=None)


def _record_lost(job: Job, ending: Ending, output: list[str], began: str) -> str:
    """Write the record of a run whose process ended without a word.

    Returns:
        Its status; `busy` where another process has taken the run up meanwhile.
    """
    status = ending.cause if ending.cause in ("timeout", "oom") else "error"
    reason = ": ".join([ending.reason, *_telling(output)])
    content = store.outline(job.spec) | {
        "status": status,
        "reason": reason,
        "output": output,
        "started": began,
        "finished": store.utc(),
    }
    try:
        with FileLock(lock_file(job.results, job.spec.run), timeout=1):
            store.part(job.results, job.spec.run).mkdir(parents=True, exist_ok=True)
            store.publish(job.results, job.spec.run, content)
    except Timeout:
        return "busy"
    return status


def _telling(output: list[str]) -> list[str]:
    """The lines that tell most: those of Python's own fault handler, or else the last one."""
    for k, line in enumerate(output):
        if line.startswith("Fatal Python error"):
            current = itertools.dropwhile(lambda line: "urrent thread" not in line, output[k:])
            where = [later.strip() for later in current if later.startswith("  File")]
            return [line, *where[:1]]
    return output[-1:]
