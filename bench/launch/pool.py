"""The grid of runs: making them side by side, each in a child process of its own."""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from bench.errors import BenchError, UsageError
from bench.launch.process import Event, Halt, Job, Limits, make
from bench.launch.worker import lock_file
from bench.records import store
from bench.records.spec import RunSpec

#: Seconds between two looks at a run that another process makes.
LOOK_EVERY = 0.5

Tell = queue.Queue[tuple[RunSpec, Event]]


def run_all(
    specs: Sequence[RunSpec],
    results: Path,
    jobs: int,
    limits: Limits,
    gpus: Sequence[str] = (),
    again: bool = False,
) -> Generator[tuple[RunSpec, Event]]:
    """Make the runs, `jobs` at a time, each in a child process.

    Several such calls, in this process or in others, share the work of one results folder: what one
    makes or has made, the others leave alone, and report when it is done.

    Yields what happens as it happens: `start`, the child's `step`, `stage` and `note` events, and
    for each run one `end` with its status. Where the consumer closes this generator, as on Ctrl-C,
    the children finish their steps, write checkpoints and end; a KeyboardInterrupt meanwhile kills
    them.

    Args:
        specs: the runs.
        results: the results folder.
        jobs: how many are made side by side.
        limits: what each may use.
        gpus: the GPUs that are dealt out to them; none where they shall see all.
        again: whether runs that have records now are made again.

    Raises:
        UsageError: the results folder can't be written.
    """
    _writable(results)
    store.restore(results)
    todo = deque(jobs_of(specs, results, limits, again))
    events: Tell = queue.Queue()
    halt = Halt()
    places = min(jobs, len(specs))
    left = threading.Semaphore(0)  # counts the places that have ended; a join can't be interrupted
    for k in range(places):
        gpu = gpus[k % len(gpus)] if gpus else None
        threading.Thread(target=_place, args=(todo, gpu, events, halt, left), daemon=True).start()
    try:
        for _ in range(len(specs)):
            while True:
                spec, event = events.get()
                yield spec, event
                if event["event"] == "end":
                    break
    finally:
        _end(places, left, halt)


def jobs_of(specs: Sequence[RunSpec], results: Path, limits: Limits, again: bool) -> Iterator[Job]:
    """The runs as jobs; with `again`, each knows the record that it shall replace."""
    for spec in specs:
        found = store.read(results, spec.run) if again else None
        yield Job(spec, results, limits, seen=store.stamp(found) if found else None)


def _end(places: int, left: threading.Semaphore, halt: Halt) -> None:
    """Wait for the children: gently at first, and after a KeyboardInterrupt no more."""
    halt.stop.set()
    ended = 0
    while ended < places:
        try:
            left.acquire()
            ended += 1
        except KeyboardInterrupt:
            halt.kill.set()


def _place(
    todo: deque[Job],
    gpu: str | None,
    events: Tell,
    halt: Halt,
    left: threading.Semaphore,
) -> None:
    """Make one run after the other until none is left; those of other processes are waited for."""
    try:
        _work(todo, gpu, events, halt)
    finally:
        left.release()


def _work(todo: deque[Job], gpu: str | None, events: Tell, halt: Halt) -> None:
    """The work of a place; see there."""
    waited_for = set[str]()
    while todo and not halt.stop.is_set():
        try:
            job = todo.popleft()
        except IndexError:  # another place was faster
            return
        if job.spec.run in waited_for:
            time.sleep(LOOK_EVERY)
        end = _one(replace(job, gpu=gpu), events, halt)
        if end["status"] == "busy":
            waited_for.add(job.spec.run)
            todo.append(job)
        else:
            events.put((job.spec, end))


def _one(job: Job, events: Tell, halt: Halt) -> Event:
    """Make one run, unless another process has made it or is making it; how it ended."""
    try:
        found = store.read(job.results, job.spec.run)
        if found and store.stamp(found) != job.seen:
            return {"event": "end", "status": found.status, "elsewhere": True}
        if _held(job):
            return {"event": "end", "status": "busy"}
        events.put((job.spec, {"event": "start"}))
        status = make(job, lambda event: events.put((job.spec, event)), halt)
        return {"event": "end", "status": status}
    except Exception as error:  # no process to be had, a full disk; the rest goes on
        known = isinstance(error, OSError | BenchError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        return {"event": "end", "status": "error", "reason": reason}


def _held(job: Job) -> bool:
    """Whether another process makes the run."""
    try:
        with FileLock(lock_file(job.results, job.spec.run), timeout=0):
            return False
    except Timeout:
        return True


def _writable(results: Path) -> None:
    try:
        (results / ".locks").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise UsageError(
            f"The results folder {results} can't be written: {error.strerror}.",
            "Choose another with --results.",
        ) from error
