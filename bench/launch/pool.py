"""The runs of a study side by side: each has a thread that waits for it, here or on a cluster."""

from __future__ import annotations

import queue
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread

from filelock import FileLock, Timeout

from bench.errors import BenchError, UsageError
from bench.launch.process import Halt, Place, StudyLost, make
from bench.launch.worker import Event, Job, Tell
from bench.records import store
from bench.records.spec import Limits, RunSpec

#: Seconds between two looks at a run that another process makes, and at the places for runs.
LOOK_EVERY = 0.5

_Events = queue.Queue[tuple[Job, Event]]


class ClusterLost(StudyLost):
    """The cluster can't make the runs any more."""


def run_all(
    specs: Sequence[RunSpec],
    results: Path,
    jobs: int,
    limits: Limits,
    gpus: Sequence[str] = (),
    again: bool = False,
) -> Generator[tuple[RunSpec, Event]]:
    """Make the runs on this machine, `jobs` at a time, each in a child process; see `make_all`.

    The children share out the `gpus` among them; without any, each sees all.
    """
    places = [Place(gpus[k % len(gpus)] if gpus else None) for k in range(jobs)]
    free = queue.LifoQueue[Place]()
    for place in places:
        free.put(place)

    def make_here(job: Job, tell: Tell, halt: Halt) -> str:
        place = free.get()
        try:
            return make(replace(job, gpu=place.gpu), tell, halt, place)
        finally:
            free.put(place)

    try:
        yield from make_all(specs, results, limits, again, make_here, lambda: jobs)
    finally:
        for place in places:
            place.close()


def make_all(
    specs: Sequence[RunSpec],
    results: Path,
    limits: Limits,
    again: bool,
    make_one: Callable[[Job, Tell, Halt], str],
    places: Callable[[], int],
) -> Generator[tuple[RunSpec, Event]]:
    """Make the runs, as many at a time as there are places.

    Several such calls, in this process or in others, share the work of one results folder: a run
    that one makes or has made is left alone by the others, which report when it is done.

    Yields what happens as it happens: `start`, the run's `step`, `stage` and `note` events, and for
    each run one `end` with its status. When the consumer closes this generator, as on Ctrl-C, the
    runs finish their steps, write checkpoints and end; a KeyboardInterrupt meanwhile kills them.

    Args:
        specs: the runs.
        results: the results folder.
        limits: what each may use.
        again: whether runs that have records now are repeated.
        make_one: makes one run, as `bench.launch.process.make`; it is called in several threads.
        places: how many runs can be made at a time now.

    Raises:
        UsageError: the results folder can't be written.
        StudyLost: the results folder is gone, or the cluster.
    """
    with opened(results):
        tempfile.TemporaryFile(dir=results).close()
    store.restore(results)
    waiting = deque[Job]()
    for spec in specs:
        found = store.read(results, spec.run) if again else None
        waiting.append(Job(spec, results, limits, seen=store.stamp(found) if found else None))
    events: _Events = queue.Queue()
    halt, threads, active = Halt(), list[Thread](), 0
    try:
        while waiting or active:
            for _ in range(min(len(waiting), places() - active)):
                arguments = waiting.popleft(), make_one, events, halt
                threads.append(Thread(target=_run_one, args=arguments, daemon=True))
                threads[-1].start()
                active += 1
            try:
                job, event = events.get(timeout=LOOK_EVERY)
            except queue.Empty:
                continue
            if lost := event.get("lost"):
                raise lost
            active -= event["event"] == "end"
            if event.get("status") == "busy":
                waiting.append(job)
            else:
                yield job.spec, event
    finally:
        halt.stop.set()
        while any(thread.is_alive() for thread in threads):
            try:
                time.sleep(0.05)
            except KeyboardInterrupt:
                halt.kill.set()


def _run_one(
    job: Job, make_one: Callable[[Job, Tell, Halt], str], events: _Events, halt: Halt
) -> None:
    """Make a run, unless another process has made it or is making it; its last event is `end`."""

    end: Event = {"event": "end"}

    def tell(event: Event) -> None:
        if event["event"] == "elsewhere":  # done by another process before this one's was ready
            end["elsewhere"] = True
        else:
            events.put((job, event))

    try:
        found = store.read(job.results, job.spec.run)
        if found and store.stamp(found) != job.seen:
            end |= {"status": found.status, "elsewhere": True}
        elif _is_locked(job):
            end["status"] = "busy"
        else:
            tell({"event": "start"})
            end["status"] = make_one(job, tell, halt)
        if end["status"] == "busy":
            halt.stop.wait(LOOK_EVERY)
    except StudyLost as error:
        end["lost"] = error
    except Exception as error:  # no process can be started, a full disk; the other runs go on
        known = isinstance(error, OSError | BenchError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        end |= {"status": "error", "reason": reason}
    tell(end)


def _is_locked(job: Job) -> bool:
    try:
        with FileLock(store.lock_file(job.results, job.spec.run), timeout=0):
            return False
    except Timeout:
        return True


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
