"""Sending the runs of a study to Dask's workers, listening to them, and ending each."""

from __future__ import annotations

import math
import queue
import time
import uuid
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from bench.launch.dask import task, workers
from bench.launch.dask.task import Order, Outcome, run_task
from bench.launch.dask.workers import Resources, Unfit
from bench.launch.pool import ClusterLost, make_all
from bench.launch.process import Halt, leave_record
from bench.launch.worker import Event, Job, Tell
from bench.records import store
from bench.records.spec import Limits, RunSpec

if TYPE_CHECKING:
    from distributed import Client, Future

#: A run that has lost so many workers is taken for what kills them.
DEATHS = 4

#: Seconds to wait for a worker that can make the runs.
PATIENCE = 30.0

_KEPT = "Finished runs are kept; the same command resumes the rest."


def run_on(
    client: Client,
    specs: Sequence[RunSpec],
    results: Path,
    limits: Limits | None = None,
    patience: float = PATIENCE,
    again: bool = False,
) -> Generator[tuple[RunSpec, Event]]:
    """Make the runs on the workers of a Dask cluster, each in a child process there.

    Yields the same events as `bench.launch.pool.run_all`. A run whose worker is lost is made again
    on another; one that loses four ends as an error. Where the consumer stops (Ctrl-C), the runs on
    the workers end too, and finished runs stay.

    Args:
        client: a connected Dask client.
        specs: the runs, all on one device.
        results: the results folder; workers that see it write there, from others the runs travel
            through the scheduler.
        limits: what a run may use; by default one thread, and no memory limit.
        patience: the seconds to wait for a worker that can make the runs.
        again: whether runs that have records are made again.

    Raises:
        UsageError: nothing was sent: no worker can make the runs, one has another version of the
            program or other data, or the results folder can't be written.
        ClusterLost: the scheduler is gone, or no worker is left.
    """
    if not specs:
        return
    limits = limits or Limits(threads=1)
    with task.token_in(results) as token:
        resources = workers.wait(client, specs[0].device, limits.threads or 1, patience)
        workers.examine(client, specs)
        with closing(_Dispatcher(client, token, resources, patience)) as dispatcher:
            made = make_all(specs, results, limits, again, dispatcher.make, dispatcher.places)
            yield from made


class _Dispatcher:
    """Makes runs on the workers of a cluster.

    As many are sent as the workers can make at once, so that a worker that joins late gets its
    share, and one that dies takes no more runs with it than it was making.
    """

    def __init__(self, client: Client, token: str, resources: Resources, patience: float) -> None:
        self.client, self.token = client, token
        self.resources, self.patience = resources, patience
        self.unfit: dict[str, Unfit] = {}
        self.fit: list[str] = []
        self.room = 0
        self.looked, self.last_fit = -math.inf, time.monotonic()
        self.inboxes: dict[str, queue.Queue[Event]] = {}
        self.topic = f"bench-{uuid.uuid4().hex}"
        client.subscribe_topic(self.topic, self._receive)

    def close(self) -> None:
        with suppress(Exception):  # without a scheduler there is nothing to stop
            self.client.unsubscribe_topic(self.topic)

    def places(self) -> int:
        """Return how many runs the workers can make at a time.

        Raises:
            ClusterLost: there has been no worker, or no scheduler, for too long.
        """
        now = time.monotonic()
        if now - self.looked < workers.LOOK:
            return self.room
        self.looked = now
        running = self.client.status == "running"
        found = self.client.scheduler_info()["workers"] if running else {}
        able = {address: w for address, w in found.items() if address not in self.unfit}
        slots = {address: workers.slots(w, self.resources) for address, w in able.items()}
        self.fit, self.room = [address for address, n in slots.items() if n], sum(slots.values())
        if self.fit:
            self.last_fit = now
        if now - self.last_fit < self.patience:
            return self.room
        if not running:
            raise self._gone()
        if self.unfit:
            worker, (what, remedy) = next(iter(self.unfit.items()))
            raise ClusterLost(f"The worker {worker} can't make these runs: {what}.", remedy)
        lacking = workers.lacking(found, self.resources, self._address(), self.patience)
        raise ClusterLost(f"{lacking[0]} {_KEPT}", lacking[1])

    def _address(self) -> str:
        return self.client.scheduler.address if self.client.scheduler else "of this study"

    def _gone(self) -> ClusterLost:
        return ClusterLost(f"The scheduler {self._address()} is gone.", _KEPT)

    def make(self, job: Job, tell: Tell, halt: Halt) -> str:
        """Make one run on a worker, as `bench.launch.process.make` does here."""
        lock = FileLock(store.lock_file(job.results, job.spec.run))
        try:
            outcome = self._outcome(job, tell, halt, lock)
            if outcome.parcel and _acquired(lock, wait=5):
                _unpack(job, outcome.parcel)
        finally:
            lock.release(force=True)
        if outcome.reason:
            return leave_record(job, outcome.status, outcome.reason)
        return outcome.status

    def _outcome(self, job: Job, tell: Tell, halt: Halt, lock: FileLock) -> Outcome:
        """Send a run until a worker has made it; the lock is held if it has another folder."""
        from distributed.scheduler import KilledWorker

        starts = lost = 0
        while lost < DEATHS:
            with self._sent(job) as (future, inbox):
                for event in _until_done(inbox, halt):
                    if event["event"] != "start":
                        tell(event)
                        continue
                    starts += 1
                    lost = max(lost, starts - 1)
                    if lost >= DEATHS:
                        break
                    if starts > 1:
                        tell({"event": "stage", "stage": "started again: its worker was lost"})
                    elif not event["here"] and not _acquired(lock):
                        return Outcome("busy")
                if halt.stop.is_set():
                    return Outcome("interrupted")
                if lost >= DEATHS:
                    break
                try:
                    outcome: Outcome = future.result()
                except KilledWorker:
                    lost = max(lost + 1, starts)
                    continue
                except CancelledError as error:
                    if self.client.status != "running":
                        raise self._gone() from error
                    what = f"The scheduler gave up the run {job.spec.run}"
                    raise ClusterLost(f"{what}: {error or 'cancelled'}.", _KEPT) from error
                except Exception as error:
                    return Outcome("error", reason=f"{type(error).__name__}: {error}")
            if outcome.unfit:
                if outcome.worker not in self.unfit:
                    why = " ".join((f"{outcome.unfit[0]}.", outcome.unfit[1]))
                    warnings.warn(f"The worker {outcome.worker} gets no runs: {why}", stacklevel=2)
                self.unfit[outcome.worker] = outcome.unfit
                self.looked = -math.inf
                return Outcome("busy")
            if outcome.status != "interrupted":  # else the worker closed
                return outcome
        why = f"its worker died or closed each of the {lost} times that it was started"
        return Outcome("error", reason=why)

    @contextmanager
    def _sent(self, job: Job) -> Iterator[tuple[Future[Outcome], queue.Queue[Event]]]:
        """A run as a task, with its events, the last of them `end`; cancelled where it is left."""
        key = f"{job.spec.run}-{uuid.uuid4().hex[:8]}"
        inbox = self.inboxes[key] = queue.Queue()
        job = replace(job, results=job.results.absolute())
        future = self.client.submit(
            run_task,
            Order(job, workers.program(), key, self.topic, self.token),
            key=key,
            resources=dict(self.resources) or None,
            # Not to a worker that would refuse it again, unless the others are gone.
            workers=self.fit if self.unfit else None,
            allow_other_workers=bool(self.unfit),
            pure=False,
        )
        future.add_done_callback(lambda _: inbox.put({"event": "end"}))
        try:
            yield future, inbox
        finally:
            del self.inboxes[key]
            if self.client.status == "running":
                with suppress(Exception):  # without a scheduler there is nothing to stop
                    self.client.cancel([future], force=True)

    def _receive(self, message: tuple[float, dict[str, Any]]) -> None:
        key, event = message[1]["key"], message[1]["event"]
        if inbox := self.inboxes.get(key):  # else the run was given up
            inbox.put(event)


def _until_done(inbox: queue.Queue[Event], halt: Halt) -> Iterator[Event]:
    """The events of a run until its task is done, or until all are to stop."""
    while not halt.stop.is_set():
        try:
            event = inbox.get(timeout=workers.LOOK / 4)
        except queue.Empty:
            continue
        if event["event"] == "end":
            return
        yield event


def _acquired(lock: FileLock, wait: float = 0) -> bool:
    """Hold the run's lock here, so that no other study makes it meanwhile."""
    try:
        if not lock.is_locked:
            lock.acquire(timeout=wait)
    except Timeout:
        return False
    return True


def _unpack(job: Job, parcel: task.Parcel) -> None:
    run = job.spec.run
    try:
        task.unpack(parcel, job.results, run)
    except OSError as error:
        raise ClusterLost(
            f"The run {run} has arrived and can't be written: {error.strerror}.",
            "Make room below the results folder; finished runs are kept.",
        ) from error
    for name, size in parcel.left_behind.items():
        what = f"{name} of {run} stayed on the worker: it has {size:,} bytes"
        why = f"a run may send {task.LIMIT:,}. Share the results folder with the workers."
        warnings.warn(f"{what}, and {why}", stacklevel=2)
