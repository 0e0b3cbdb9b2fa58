"""Sending the runs of a study to Dask's workers, listening to them, and ending each."""

from __future__ import annotations

import math
import queue
import time
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from bench.errors import BenchError, DataError
from bench.launch.dask import task, workers
from bench.launch.dask.task import Home, Order, Outcome, run_task
from bench.launch.dask.workers import Resources, Unfit
from bench.launch.pool import jobs_of
from bench.launch.process import Event
from bench.launch.worker import lock_file
from bench.records import store
from bench.records.spec import Limits, RunSpec
from bench.registry import plugins

if TYPE_CHECKING:
    from distributed import Client, Future

#: A run that has lost so many workers is taken for what kills them.
DEATHS = 4

#: Seconds to wait for a worker that can make the runs.
PATIENCE = 30.0

_KEPT = "Finished runs are kept; the same command resumes the rest."


class ClusterLost(BenchError):
    """The study can't go on; finished runs are kept."""

    exit_code = 1


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
    with task.home(results) as home:
        store.restore(results)
        limits = limits or Limits(threads=1)
        resources = workers.wait(client, specs[0].device, limits.threads or 1, patience)
        # A worker has another working folder: paths of tables become absolute.
        sendable = [
            spec
            if spec.dataset in plugins.datasets()
            else replace(spec, dataset=str(Path(spec.dataset).absolute()))
            for spec in specs
        ]
        workers.examine(client, workers.needs(sendable))
        originals = {spec.run: spec for spec in specs}
        seen = {job.spec.run: job.seen for job in jobs_of(specs, results, limits, again)}
        waiting = deque(sendable)
        with closing(_Study(client, home, waiting, resources, limits, patience, seen)) as study:
            for run, event in study.make():
                yield originals[run], event


@dataclass
class _Study:
    """The runs of a study: those that wait, those that were sent, and what workers report.

    As many are sent as the workers can make at once, so that a worker that joins late gets its
    share, and one that dies takes no more runs with it than it was making.
    """

    client: Client
    home: Home
    waiting: deque[RunSpec]
    resources: Resources
    limits: Limits
    patience: float
    seen: Mapping[str, list[Any] | None]

    def __post_init__(self) -> None:
        self.results = Path(self.home.results)
        self.sent: dict[str, tuple[RunSpec, Future[Outcome]]] = {}
        self.begun: set[str] = set()
        self.starts = Counter[str]()
        self.kills = Counter[str]()
        self.locks: dict[str, FileLock] = {}
        self.unfit: dict[str, Unfit] = {}
        self.fit: list[str] = []
        self.room = 0
        self.looked = -math.inf
        self.alone_since: float | None = None
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self.topic = f"bench-{uuid.uuid4().hex}"
        self.fetching = ThreadPoolExecutor(2, thread_name_prefix="bench-fetch")
        self.client.subscribe_topic(self.topic, lambda event: self.messages.put(event[1]))

    def make(self) -> Iterator[tuple[str, Event]]:
        """Make all of them; yields events by the run's name."""
        while self.waiting or self.sent:
            if time.monotonic() - self.looked > workers.LOOK:
                self._look()
            while self.waiting and len(self.sent) < self.room:
                spec = self.waiting.popleft()
                made = None
                with suppress(DataError):
                    made = store.read(self.results, spec.run)
                if made and store.stamp(made) != self.seen[spec.run]:
                    yield spec.run, {"event": "end", "status": made.status, "elsewhere": True}
                else:
                    self._send(spec)
            if not self.waiting and not self.sent:
                return
            with suppress(queue.Empty):
                message = self.messages.get(timeout=workers.LOOK)
                key = message["key"]
                if key not in self.sent:
                    continue  # of a run that was given up
                if "event" in message:
                    yield from self._reported(key, message["event"], message.get("here"))
                else:
                    yield from self._ended(key, message["outcome"])

    def close(self) -> None:
        """Give up what was sent: Dask marks the tasks, and the workers stop the child processes."""
        if self.client.status == "running":
            with suppress(Exception):  # without a scheduler there is nothing to stop
                self.client.unsubscribe_topic(self.topic)
                self.client.cancel([future for _, future in self.sent.values()], force=True)
        self.sent.clear()
        self.fetching.shutdown(wait=False, cancel_futures=True)
        for lock in self.locks.values():
            lock.release()

    def _look(self) -> None:
        """Count how many runs the workers can make.

        Raises:
            ClusterLost: there has been no worker, or no scheduler, for too long.
        """
        self.looked = time.monotonic()
        running = self.client.status == "running"
        found = self.client.scheduler_info()["workers"] if running else {}
        able = {address: w for address, w in found.items() if address not in self.unfit}
        room = {address: workers.slots(w, self.resources) for address, w in able.items()}
        self.fit, self.room = [address for address, n in room.items() if n], sum(room.values())
        if self.fit:
            self.alone_since = None
            return
        self.alone_since = self.alone_since or self.looked
        if self.looked - self.alone_since < self.patience:
            return
        address = self.client.scheduler.address if self.client.scheduler else "of this study"
        if not running:
            raise ClusterLost(f"The scheduler {address} is gone.", _KEPT)
        if self.unfit:
            worker, (what, remedy) = next(iter(self.unfit.items()))
            raise ClusterLost(f"The worker {worker} can't make these runs: {what}.", remedy)
        problem, remedy = workers.lacking(found, self.resources, address, self.patience)
        raise ClusterLost(f"{problem} {_KEPT}", remedy)

    def _send(self, spec: RunSpec) -> None:
        key = f"{spec.run}-{uuid.uuid4().hex[:8]}"
        need, seen = workers.needs([spec]), self.seen[spec.run]
        order = Order(need, key, self.topic, self.home, self.limits, task.LIMIT, seen)
        future = self.client.submit(
            run_task,
            order,
            key=key,
            resources=dict(self.resources) or None,
            # Not to a worker that would refuse it again, unless the others are gone.
            workers=self.fit if self.unfit else None,
            allow_other_workers=bool(self.unfit),
            pure=False,
        )
        self.sent[key] = spec, future

        def fetch() -> None:  # in a thread: the outcome may be large
            try:
                outcome: Outcome | BaseException = future.result()
            except (Exception, CancelledError) as error:
                outcome = error
            self.messages.put({"key": key, "outcome": outcome})

        def done(_: Any) -> None:
            with suppress(RuntimeError):  # the study has ended
                self.fetching.submit(fetch)

        future.add_done_callback(done)

    def _reported(self, key: str, event: Event, here: bool | None) -> Iterator[tuple[str, Event]]:
        run = self.sent[key][0].run
        if event["event"] != "start":
            yield run, event
            return
        self.starts[run] += 1
        if self.starts[run] > DEATHS:
            yield from self._fail(key, _deadly(self.starts[run] - 1))
        elif self.starts[run] > 1:
            yield run, {"event": "stage", "stage": "started again: its worker was lost"}
        elif here or self._lock(run):
            self.begun.add(run)
            yield run, event
        else:
            yield from self._end(key, "busy")

    def _ended(self, key: str, outcome: Outcome | BaseException) -> Iterator[tuple[str, Event]]:
        from distributed.scheduler import KilledWorker

        run = self.sent[key][0].run
        if isinstance(outcome, KilledWorker):
            self.kills[run] += 1
            deaths = max(self.starts[run], self.kills[run])
            if deaths >= DEATHS:
                yield from self._fail(key, _deadly(deaths))
            else:
                self._requeue(key)
        elif isinstance(outcome, CancelledError):
            what = f"The scheduler gave up the run {run}: {outcome or 'cancelled'}."
            raise ClusterLost(what, _KEPT)
        elif isinstance(outcome, BaseException):
            yield from self._fail(key, f"{type(outcome).__name__}: {outcome}")
        elif outcome.unfit:
            if outcome.worker not in self.unfit:
                why = " ".join((f"{outcome.unfit[0]}.", outcome.unfit[1]))
                warnings.warn(f"The worker {outcome.worker} gets no runs: {why}", stacklevel=2)
            self.unfit[outcome.worker] = outcome.unfit
            self.looked = -math.inf
            self._requeue(key)
        elif outcome.status == "interrupted":  # the worker closed
            self._requeue(key)
        else:
            if outcome.parcel and (run in self.locks or self._lock(run, wait=5)):
                self._unpack(run, outcome.parcel)
            yield from self._end(key, outcome.status)

    def _requeue(self, key: str) -> None:
        self.waiting.appendleft(self.sent.pop(key)[0])

    def _end(self, key: str, status: str) -> Iterator[tuple[str, Event]]:
        spec, future = self.sent.pop(key)
        run = spec.run
        future.cancel()
        if lock := self.locks.pop(run, None):
            lock.release()
        if run not in self.begun:  # made by another, or ended before it began
            yield run, {"event": "start"}
        yield run, {"event": "end", "status": status}

    def _fail(self, key: str, reason: str) -> Iterator[tuple[str, Event]]:
        """End a run that leaves no record by itself with one that says why."""
        spec, future = self.sent[key]
        run = spec.run
        future.cancel()
        if run in self.locks or self._lock(run, wait=5):
            store.part(self.results, run).mkdir(parents=True, exist_ok=True)
            draft = store.outline(spec) | {"status": "error", "reason": reason}
            store.publish(self.results, run, draft)
        yield from self._end(key, "error")

    def _unpack(self, run: str, parcel: task.Parcel) -> None:
        try:
            task.unpack(parcel, self.results, run)
        except OSError as error:
            raise ClusterLost(
                f"The run {run} has arrived and can't be written: {error.strerror}.",
                "Make room below the results folder; finished runs are kept.",
            ) from error
        for name, size in parcel.left_behind.items():
            what = f"{name} of {run} stayed on the worker: it has {size:,} bytes"
            why = f"a run may send {task.LIMIT:,}. Share the results folder with the workers."
            warnings.warn(f"{what}, and {why}", stacklevel=2)

    def _lock(self, run: str, wait: float = 0) -> bool:
        """Hold the run's lock here, so that no other study makes it meanwhile."""
        lock = FileLock(lock_file(self.results, run))
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            return False
        self.locks[run] = lock
        return True


def _deadly(deaths: int) -> str:
    return f"its worker died or closed each of the {deaths} times that it was started"
