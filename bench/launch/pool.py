"""Runs side by side on this machine, each in a child process."""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from bench.errors import BenchError, UsageError
from bench.launch.process import Event, Halt, Job, make
from bench.launch.worker import lock_file
from bench.records import store
from bench.records.spec import Limits, RunSpec

#: Seconds between two looks at a run that another process makes.
LOOK_EVERY = 0.5

Events = queue.Queue[tuple[RunSpec, Event]]


def run_all(
    specs: Sequence[RunSpec],
    results: Path,
    jobs: int,
    limits: Limits,
    gpus: Sequence[str] = (),
    again: bool = False,
) -> Generator[tuple[RunSpec, Event]]:
    """Make the runs, `jobs` at a time, each in a child process.

    Several such calls, in this process or in others, share the work of one results folder: a run
    that one makes or has made is left alone by the others, which report when it is done.

    Yields what happens as it happens: `start`, the child's `step`, `stage` and `note` events, and
    for each run one `end` with its status. When the consumer closes this generator, as on Ctrl-C,
    the children finish their steps, write checkpoints and end; a KeyboardInterrupt meanwhile kills
    them.

    Args:
        specs: the runs.
        results: the results folder.
        jobs: how many are made at a time.
        limits: what each may use.
        gpus: the GPUs to share out among them; without any, each sees all.
        again: whether runs that have records now are repeated.

    Raises:
        UsageError: the results folder can't be written.
    """
    with opened(results):
        tempfile.TemporaryFile(dir=results).close()
    store.restore(results)
    waiting = deque(jobs_of(specs, results, limits, again))
    events: Events = queue.Queue()
    halt = Halt()
    slots, unfinished = min(jobs, len(specs)), len(specs)
    ended = threading.Semaphore(0)  # counts the slots that have ended; a join can't be interrupted
    for k in range(slots):
        gpu = gpus[k % len(gpus)] if gpus else None
        arguments = waiting, gpu, events, halt, ended
        threading.Thread(target=_run_slot, args=arguments, daemon=True).start()
    try:
        while unfinished:
            spec, event = events.get()
            unfinished -= event["event"] == "end"
            yield spec, event
    finally:
        halt.stop.set()
        while slots:
            try:
                ended.acquire()
                slots -= 1
            except KeyboardInterrupt:
                halt.kill.set()


def jobs_of(specs: Sequence[RunSpec], results: Path, limits: Limits, again: bool) -> Iterator[Job]:
    """Return the runs as jobs; with `again`, each knows the record that it is to replace."""
    for spec in specs:
        found = store.read(results, spec.run) if again else None
        yield Job(spec, results, limits, seen=store.stamp(found) if found else None)


def _run_slot(
    waiting: deque[Job], gpu: str | None, events: Events, halt: Halt, ended: threading.Semaphore
) -> None:
    """Make one run after the other until none is waiting; wait for those of other processes."""
    busy = set[str]()
    try:
        while not halt.stop.is_set():
            try:
                job = waiting.popleft()
            except IndexError:
                return
            if job.spec.run in busy:
                time.sleep(LOOK_EVERY)
            end = _run_one(replace(job, gpu=gpu), events, halt)
            if end["status"] == "busy":
                busy.add(job.spec.run)
                waiting.append(job)
            else:
                events.put((job.spec, end))
    finally:
        ended.release()


def _run_one(job: Job, events: Events, halt: Halt) -> Event:
    """Make a run, unless another process has made it or is making it; return its `end` event."""
    try:
        found = store.read(job.results, job.spec.run)
        if found and store.stamp(found) != job.seen:
            return {"event": "end", "status": found.status, "elsewhere": True}
        try:
            with FileLock(lock_file(job.results, job.spec.run), timeout=0):
                pass
        except Timeout:
            return {"event": "end", "status": "busy"}
        events.put((job.spec, {"event": "start"}))
        status = make(job, lambda event: events.put((job.spec, event)), halt)
        return {"event": "end", "status": status}
    except Exception as error:  # no process can be started, a full disk; the other runs go on
        known = isinstance(error, OSError | BenchError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        return {"event": "end", "status": "error", "reason": reason}


@contextmanager
def opened(results: Path) -> Iterator[None]:
    """Make the results folder, and report a failure to write there as a UsageError."""
    try:
        (results / ".locks").mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(
            f"The results folder {results} can't be written: {error.strerror}.",
            "Choose another with --results.",
        ) from error
