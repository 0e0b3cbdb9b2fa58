"""One run in a child process: starting it, listening to it, ending it in time, its last record."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from bench import record
from bench.spec import RunSpec
from bench.worker import lock_file

Event = dict[str, Any]

#: Seconds that a run gets, past its time limit, to write its own record.
GRACE = 20.0


def make(
    spec: RunSpec,
    results: Path,
    threads: int,
    tell: Callable[[Event], None],
    stop: threading.Event,
) -> str:
    """Make one run in a child process, which leaves a record however it ends.

    Args:
        spec: the run.
        results: the results folder.
        threads: the threads that the child may use.
        tell: is called with what the child reports, as it reports it.
        stop: when set, the child is killed and leaves no record.

    Returns:
        The record's status; `busy` where another process makes the run; `interrupted`.
    """
    status = None
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryFile() as errors:
        child = _start(spec, results, threads, errors)
        overstayed = threading.Event()
        watch = threading.Thread(
            target=_watch, args=(child, spec.timeout, stop, overstayed), daemon=True
        )
        watch.start()
        assert child.stdout is not None
        for line in child.stdout:
            with suppress(ValueError):
                event = json.loads(line)
                if event["event"] in ("end", "busy"):
                    status = event.get("status", "busy")
                else:
                    tell(event)
        code = child.wait()
        watch.join()
        if status is None and not stop.is_set():
            errors.seek(0)
            last_lines = errors.read().decode(errors="replace").strip().splitlines()[-3:]
            reason = _reason(code, " | ".join(last_lines))
            if overstayed.is_set():
                reason = f"killed {GRACE:g} s after its time limit of {spec.timeout:g} s"
            status = "timeout" if overstayed.is_set() else "error"
            status = _record_lost(spec, results, status, reason, began)
    return status or "interrupted"


def _start(spec: RunSpec, results: Path, threads: int, errors: IO[bytes]) -> subprocess.Popen[str]:
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(threads)
    environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # deterministic cuBLAS
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C is the parent's to handle
    )
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        request = {"spec": spec.to_json(), "results": str(results.absolute())}
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
    return child


def _watch(
    child: subprocess.Popen[str],
    timeout: float | None,
    stop: threading.Event,
    overstayed: threading.Event,
) -> None:
    """Kill the child when the study is stopped, or when it overstays its time limit."""
    deadline = time.monotonic() + timeout + GRACE if timeout else float("inf")
    while child.poll() is None:
        if time.monotonic() > deadline:
            overstayed.set()
        if stop.is_set() or overstayed.is_set():
            child.kill()
            return
        time.sleep(0.05)


def _reason(code: int, last_lines: str) -> str:
    """Why a process ended without a word."""
    if code == -signal.SIGKILL:
        return "the process was killed (SIGKILL): by someone, or by the kernel for want of memory"
    if code < 0:
        return f"the process was killed by {signal.Signals(-code).name}: {last_lines}"
    return f"the process ended with exit code {code}: {last_lines}"


def _record_lost(spec: RunSpec, results: Path, status: str, reason: str, began: str) -> str:
    """Write the record of a run whose process ended without a word; the status that it has.

    A child that was killed after it had published its record has one.
    """
    from bench.execution import outline

    found = record.read(results, spec.run)
    if found and found["started"] >= began:
        return str(found["status"])
    content = outline(spec) | {"status": status, "reason": reason}
    with suppress(Timeout), FileLock(lock_file(results, spec.run), timeout=1):
        record.part(results, spec.run).mkdir(parents=True, exist_ok=True)
        record.publish(results, spec.run, content)
    return status
