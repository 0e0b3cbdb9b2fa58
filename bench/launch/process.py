"""One run in a child process: start it, listen to it, end it in time, record how it ended."""

from __future__ import annotations

import itertools
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import psutil
from filelock import FileLock, Timeout

from bench.launch.worker import Job, Tell
from bench.records import store

#: Seconds past its time limit after which a run is killed. It stops by itself between two steps,
#: and is interrupted wherever it is after half of them.
GRACE = 20.0

#: Seconds that a run has to finish its step and to write a checkpoint when it is asked to stop.
PATIENCE = 120.0

#: How often a run is started that is killed each time before it writes a new checkpoint.
LIVES = 3

#: Lines of its log that the record of a run keeps whose process died.
KEPT_LINES = 40


@dataclass(frozen=True)
class Halt:
    """Ends runs without a record: `stop` after a step and a checkpoint, `kill` at once."""

    stop: threading.Event = field(default_factory=threading.Event)
    kill: threading.Event = field(default_factory=threading.Event)


@dataclass
class Ending:
    """How a child ended: with a status of its own, or for a reason that its parent has.

    `status` is the record's, `busy` or `interrupted`; with a `reason` it is `timeout`, `oom`,
    `killed` or `error`.
    """

    status: str = ""
    reason: str = ""


def make(job: Job, tell: Tell, halt: Halt) -> str:
    """Make one run in a child process, which leaves a record however it ends.

    A child that is killed, but not for its time or memory, is resumed from its last checkpoint.

    Args:
        job: the run.
        tell: gets the events of the child as they come.
        halt: ends it from outside.

    Returns:
        The record's status; `busy` if another process makes the run; `interrupted`.

    Raises:
        OSError: no process can be started, or the record of one that died can't be written.
    """
    lives, last, began = LIVES, None, store.utc()
    while True:
        with tempfile.TemporaryFile() as errors:
            ending = _attempt(job, tell, halt, errors)
            if halt.stop.is_set() or halt.kill.is_set():
                return "interrupted" if ending.reason else ending.status
            if ending.status == "interrupted":
                ending = Ending("killed", "Stopped by SIGTERM")
            if not ending.reason:
                return ending.status
            output = _last_lines(job, errors)
        found = store.read(job.results, job.spec.run)
        if found and (found.finished or "") >= began:  # killed when all was done
            return found.status
        paths = store.part(job.results, job.spec.run).glob(store.CHECKPOINTS)
        checkpoint = max((path.stat().st_mtime_ns for path in paths), default=None)
        lives = LIVES if checkpoint != last else lives - 1
        last = checkpoint
        if ending.status != "killed" or lives <= 0:
            status = "error" if ending.status == "killed" else ending.status
            reason = ": ".join([ending.reason, *_telling(output)])
            times = {"started": began, "finished": store.utc()}
            return leave_record(job, status, reason, output=output, **times)
        tell({"event": "note", "note": f"{ending.reason}; it will be resumed."})


def _attempt(job: Job, tell: Tell, halt: Halt, errors: IO[bytes]) -> Ending:
    ending, status, killed_before = Ending(), "", _killed_for_memory()
    child = _start(job, errors)
    watch = threading.Thread(target=_watch, args=(child, job, halt, ending), daemon=True)
    watch.start()
    assert child.stdout is not None
    for line in child.stdout:
        with suppress(ValueError):
            event = json.loads(line)
            if event["event"] == "end":
                status = event["status"]
            else:
                tell(event)
    code = child.wait()
    watch.join()
    if status or ending.reason:
        return Ending(status) if status else ending
    return Ending(*_cause(code, _killed_for_memory() > killed_before))


def _cause(code: int, short_of_memory: bool) -> tuple[str, str]:
    if code == -signal.SIGKILL and short_of_memory:
        return "oom", "Killed by SIGKILL when the kernel ran out of memory"
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        return "killed", f"Killed by {signal.Signals(-code).name}"
    by = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return "error", f"Ended {by}"


def _start(job: Job, errors: IO[bytes]) -> subprocess.Popen[str]:
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(job.limits.threads or 1)
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
    _say(child, pickle.dumps(replace(job, results=job.results.absolute())).hex())
    return child


def _say(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        print(line, file=child.stdin, flush=True)


def _watch(child: subprocess.Popen[str], job: Job, halt: Halt, ending: Ending) -> None:
    """Stop, interrupt and kill the child as its limits and `halt` demand."""
    start = time.monotonic()
    timeout, memory = job.spec.timeout, job.limits.memory or math.inf
    asked = math.inf
    while child.poll() is None:
        now = time.monotonic()
        over = now - start - timeout if timeout else -math.inf
        if halt.stop.is_set() and asked == math.inf:
            asked = now
            _say(child, "stop")
        if over > GRACE / 2 and not ending.status:
            ending.status = "timeout"
            ending.reason = f"interrupted {over:.3g} s after its time limit of {timeout:g} s"
            child.terminate()
        if over > GRACE:
            ending.reason = f"killed {over:.3g} s after its time limit of {timeout:g} s"
        taken = 0.0
        with suppress(psutil.Error):  # it may have ended
            taken = psutil.Process(child.pid).memory_info().rss / 2**30
        too_much = taken > memory
        if too_much:
            ending.status = "oom"
            ending.reason = f"killed: it used {taken:.2f} GiB of memory, the limit is {memory:.2f}"
        if halt.kill.is_set() or now - asked > PATIENCE or over > GRACE or too_much:
            break
        time.sleep(0.05)
    with suppress(ProcessLookupError):  # also the processes that a child has left behind
        os.killpg(child.pid, signal.SIGKILL)


def _killed_for_memory() -> int:
    """Return how many processes the kernel has killed for lack of memory (Linux; elsewhere 0)."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _last_lines(job: Job, errors: IO[bytes]) -> list[str]:
    """Return the last lines of the run's log, and of the output before there was one."""
    errors.seek(0)
    said = errors.read()
    with suppress(OSError):
        said = (store.part(job.results, job.spec.run) / "log.txt").read_bytes() + said
    lines = said.decode(errors="replace").strip().splitlines()
    return [line for line in lines if not line.startswith("Extension modules:")][-KEPT_LINES:]


def leave_record(job: Job, status: str, reason: str, **more: Any) -> str:
    """Write the record of a run that left none; its status, or `busy` if another has it now."""
    content = store.outline(job.spec) | {"status": status, "reason": reason} | more
    try:
        with FileLock(store.lock_file(job.results, job.spec.run), timeout=5):
            store.part(job.results, job.spec.run).mkdir(parents=True, exist_ok=True)
            store.publish(job.results, job.spec.run, content)
    except Timeout:
        return "busy"
    return status


def _telling(output: list[str]) -> list[str]:
    """Return the most telling lines: those of Python's fault handler, or else the last one."""
    for k, line in enumerate(output):
        if line.startswith("Fatal Python error"):
            current = itertools.dropwhile(lambda line: "urrent thread" not in line, output[k:])
            where = [later.strip() for later in current if later.startswith("  File")]
            return [line, *where[:1]]
    return output[-1:]
