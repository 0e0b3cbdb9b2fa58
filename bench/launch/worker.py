"""The child process that makes one run: `python -P -m bench.launch.worker`.

It reads its job, a pickle in one line of hexadecimal digits, and writes one line of JSON for each
event. All other output goes to the run's log. A line `stop` on standard input asks it to stop after
the current step; when standard input ends, its parent is gone, and it ends too.

On Linux the process that was started is a guard: it makes the run in a process of its own, and ends
all processes that the run has started when the run ends, however it ends.
"""

from __future__ import annotations

import ctypes
import datetime
import faulthandler
import json
import math
import os
import pickle
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from bench.records import store
from bench.records.spec import Limits, RunSpec

Event = dict[str, Any]
Tell = Callable[[Event], None]

#: Seconds between two reports of steps: a report for each would choke the parent.
REPORT_EVERY = 0.2

#: Seconds between two steps in the log.
LOG_EVERY = 30.0

#: Whether a run has a guard: a process that adopts what the run leaves behind, see `prctl(2)`.
GUARDED = sys.platform == "linux"

_ON_PARENTS_DEATH, _ADOPT_ORPHANS = 1, 36  # of <sys/prctl.h>

#: What the parent sends a run that is out of time by the parent's clock: see `_run`.
OUT_OF_TIME = signal.SIGUSR2

#: Seconds that a guard tries to end what a run has left.
END_WITHIN = 10.0


@dataclass(frozen=True)
class Job:
    """A run for a child process, below a results folder.

    `gpu` is the GPU that it sees, None for all. `seen` is the stamp of the record that it is to
    replace: any other record means that the run is done. `deadline` is the `time.monotonic()` at
    which its time is over, counted from the start of the child.
    """

    spec: RunSpec
    results: Path
    limits: Limits = field(default_factory=Limits)
    gpu: str | None = None
    seen: list[Any] | None = None
    deadline: float = math.inf


def main() -> None:
    """Make the run that standard input describes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    if GUARDED:
        _under_guard()
    channel, orders = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8"), os.dup(0)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # Neither is the method's: other programs don't inherit them, nor does a fork the channel.
    os.register_at_fork(after_in_child=lambda: os.dup2(2, channel.fileno(), inheritable=False))
    with suppress(OSError):  # Linux: the kernel ends this process, not its parent
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    requests = os.fdopen(orders, encoding="utf-8")
    job: Job = pickle.loads(bytes.fromhex(requests.readline()))
    stop, evaluating = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(requests, stop, evaluating), daemon=True).start()
    results, run = job.results, job.spec.run
    try:
        lock = FileLock(store.lock_file(results, run)).acquire(timeout=0)
    except Timeout:
        _send(channel, {"event": "end", "status": "busy"})
        return
    with lock:
        found = store.finish(results, run) or store.read(results, run)
        if found and store.stamp(found) != job.seen:
            _send(channel, {"event": "end", "status": found.status, "elsewhere": True})
            return
        with suppress(OSError):  # all output goes to the run's log, if that can be written
            folder = store.part(results, run)
            folder.mkdir(parents=True, exist_ok=True)
            log = os.open(folder / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
        faulthandler.enable()
        _run(job, channel, stop, evaluating)


def _under_guard() -> None:
    """Return in a new process; this one waits for its end, and ends as it did.

    The guard is the parent of all that the run has started, also in sessions of their own, once
    their own parents are gone. It ends all of it when the run ends. On SIGUSR1, which it also gets
    when its own parent dies, it ends the run.
    """
    prctl, guard = ctypes.CDLL(None).prctl, os.getpid()
    prctl(_ADOPT_ORPHANS, 1)
    prctl(_ON_PARENTS_DEATH, signal.SIGUSR1)
    child = os.fork()
    if not child:
        prctl(_ON_PARENTS_DEATH, signal.SIGKILL)  # even if it is stuck in C
        if os.getppid() != guard:
            os._exit(1)
        return
    for passed_on in (signal.SIGTERM, OUT_OF_TIME):
        signal.signal(passed_on, lambda number, _: os.kill(child, number))
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(child, signal.SIGKILL))
    ended = status = 0
    while ended != child:
        ended, status = os.wait()
    _end_children()
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(guard, -code)
    os._exit(code)


def _end_children() -> None:
    """Kill all processes below this one, until there are none."""
    deadline = time.monotonic() + END_WITHIN
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        import psutil

        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.01)


def spaced(seconds: float, tell: Tell) -> Tell:
    """Return `tell` without the steps that follow too soon; a validation is always told."""
    last = 0.0

    def told(event: Event) -> None:
        nonlocal last
        now, always = time.monotonic(), event["event"] != "step" or "validation_nll" in event
        if always or now - last >= seconds:
            last = now
            tell(event)

    return told


def _run(job: Job, channel: IO[str], stop: threading.Event, evaluating: threading.Event) -> None:
    import torch

    from bench.training.loop import TimedOut
    from bench.training.run import execute

    spec = job.spec

    def interrupt(*_: object) -> None:
        """On SIGTERM, from anybody who wants an end."""
        if evaluating.is_set():  # nothing half-way is kept; the last checkpoint is written
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        stop.set()

    def out_of_time(*_: object) -> None:
        raise TimedOut(f"interrupted past the time limit of {spec.timeout:g} s")

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(OUT_OF_TIME, out_of_time)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    def log(event: Event) -> None:
        text = str(event.get(event["event"]))
        if event["event"] == "step":
            left_out = ("event", "total", "minibatch")
            values = [f"{k} {v:.6g}" for k, v in event.items() if k not in left_out]
            text = f"mini-batch {event['minibatch']} of {event['total']}: {', '.join(values)}"
        _log(text)

    now_and_then = spaced(LOG_EVERY, log), spaced(REPORT_EVERY, partial(_send, channel))

    def report(event: Event) -> None:
        if event["event"] == "stage":
            evaluating.set()
        for tell in now_and_then:
            tell(event)

    _log(f"process {os.getpid()}, {torch.get_num_threads()} threads, {spec.device}")
    draft = execute(spec, job.results, report, stop, job.limits, job.deadline)
    _log(" ".join(filter(None, (draft["status"], draft["reason"]))))
    _send(channel, {"event": "end", "status": draft["status"]})


def _send(channel: IO[str], event: Event) -> None:
    channel.write(json.dumps(event) + "\n")


def _log(text: str) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with suppress(OSError):
        os.write(2, f"{now} {text}\n".encode())


def _listen(requests: IO[str], stop: threading.Event, evaluating: threading.Event) -> None:
    """Do what the parent asks. Standard input stays open as long as it lives."""
    for line in requests:
        if line.strip() == "stop":
            stop.set()
            if evaluating.is_set():
                os._exit(0)
    if os.getpgrp() == os.getpid():  # together with the processes that the run has started
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
