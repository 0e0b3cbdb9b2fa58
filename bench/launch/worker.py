"""The child process that makes one run: `python -P -m bench.launch.worker`.

It reads its job, a pickle in one line of hexadecimal digits, and writes one line of JSON for each
event. All other output goes to the run's log. A line `stop` on standard input asks it to stop after
the current step; when standard input ends, its parent is gone, and it ends too.

On Linux the process that was started is a guard: it makes the run in a process of its own, and ends
all processes that the run has started when the run ends, however it ends. After one that ended well
it is ready for another job: what it has imported for the first, torch above all, the next one has.
"""

from __future__ import annotations

import ctypes
import datetime
import faulthandler
import gc
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
    job = _under_guard() if GUARDED else _next_job()
    channel, orders = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8"), os.dup(0)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # Neither is the method's: other programs don't inherit them, nor does a fork the channel.
    os.register_at_fork(after_in_child=lambda: os.dup2(2, channel.fileno(), inheritable=False))
    with suppress(OSError):  # Linux: the kernel ends this process, not its parent
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    requests = os.fdopen(orders, encoding="utf-8")
    stop, evaluating = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(requests, stop, evaluating), daemon=True).start()
    results, run = job.results, job.spec.run
    try:
        lock = FileLock(store.lock_file(results, run)).acquire(timeout=0)
    except Timeout:
        _send(channel, {"event": "end", "status": "busy"})
        return
    with lock:
        placed = store.finish(results, run)
        found = placed or store.read(results, run)
        if found and store.stamp(found) != job.seen:
            if not placed:
                _send(channel, {"event": "elsewhere"})
            _send(channel, {"event": "end", "status": found.status})
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


def _next_job() -> Job:
    """The job in the next line of standard input, of which no byte more is read."""
    with open(0, "rb", buffering=0, closefd=False) as requests:
        line = requests.readline()
        while line == b"stop\n":  # it came when the run had ended
            line = requests.readline()
    if not line:
        os._exit(0)
    job: Job = pickle.loads(bytes.fromhex(line.decode()))
    return job


def _under_guard() -> Job:
    """Return a job in a new process; this one waits for its end, and ends as it did, or goes on.

    The guard is the parent of all that the run has started, also in sessions of their own, once
    their own parents are gone. It ends all of it when the run ends. On SIGUSR1, which it also gets
    when its own parent dies, it ends the run.

    A run on one thread of the CPU is forked from a guard that has imported all that it needs. With
    more, libraries may start threads when they are imported, and CUDA does not outlive a fork.
    """
    prctl, guard = ctypes.CDLL(None).prctl, os.getpid()
    prctl(_ADOPT_ORPHANS, 1)
    prctl(_ON_PARENTS_DEATH, signal.SIGUSR1)
    pages: list[int] = []
    while True:
        job = _next_job()
        reusable = job.spec.device == "cpu" and job.limits.threads in (None, 1)
        reusable &= os.access("/proc/self/pagemap", os.R_OK)  # else its memory can't be told
        if reusable and not pages:
            _import_all()
            pages = _pages_of_files()
        child = os.fork()
        if not child:
            prctl(_ON_PARENTS_DEATH, signal.SIGKILL)  # even if it is stuck in C
            if os.getppid() != guard:
                os._exit(1)
            for address in pages:
                ctypes.c_char.from_address(address).value  # noqa: B018
            return job
        code = _guarded(child)
        if not reusable or code:
            break
        with suppress(BrokenPipeError):
            os.write(1, b'{"event": "ready"}\n')
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(guard, -code)
    os._exit(code)


def _guarded(child: int) -> int:
    """Wait for the end of a run, end what it has left, and return its exit code."""
    handled = {signal.SIGTERM: signal.SIGTERM, OUT_OF_TIME: OUT_OF_TIME}  # are passed on
    handled[signal.SIGUSR1] = signal.SIGKILL
    ended = status = 0

    def pass_on(number: int, _: object) -> None:
        if ended != child:
            os.kill(child, handled[signal.Signals(number)])

    for each in handled:
        signal.signal(each, pass_on)
    while ended != child:
        ended, status = os.wait()
    _end_children()
    for each in handled:
        signal.signal(each, signal.SIG_DFL)
    return os.waitstatus_to_exitcode(status)


def _import_all() -> None:
    """Import what a run needs, also what torch imports in an optimiser's first step."""
    import torch._dynamo  # noqa: F401

    import bench.training.run  # noqa: F401

    gc.freeze()


def _pages_of_files() -> list[int]:
    """The addresses of the pages of libraries that are resident here.

    A fork touches them: else its memory would count the pages of what was imported only as they
    are used, and what a method takes could not be told from them; see `proc_pid_pagemap(5)`.
    """
    found, size = list[int](), resource.getpagesize()
    with open("/proc/self/maps", encoding="utf-8") as maps, open("/proc/self/pagemap", "rb") as map:
        for line in maps:
            area, access, _, _, inode, *_ = line.split()
            if inode == "0" or access[0] != "r":
                continue
            start, end = (int(address, 16) // size for address in area.split("-"))
            map.seek(8 * start)
            entries = memoryview(map.read(8 * (end - start))).cast("Q")
            found += [(start + k) * size for k, entry in enumerate(entries) if entry >> 63]
    return found


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
    import numpy as np
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
    np.random.seed()  # noqa: NPY002  # anew, as in a process that has just imported it

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
