"""Sending the cells of a study to Dask's workers, listening to them, and ending each."""

from __future__ import annotations

import queue
import time
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from bench.errors import DataError
from bench.launch.dask import result_transfer, slots, worker_checks
from bench.launch.dask.cell import Order, Outcome, make_cell
from bench.launch.dask.errors import ClusterLost
from bench.launch.dask.result_transfer import Home
from bench.launch.dask.slots import Ask
from bench.launch.dask.worker_checks import Needs, Unfit
from bench.launch.pool import jobs_of
from bench.launch.process import Event
from bench.launch.worker import lock_file
from bench.records import store
from bench.records.model import Record
from bench.records.spec import Limits, RunSpec
from bench.registry import plugins

if TYPE_CHECKING:
    from distributed import Client, Future

#: The workers that a cell may lose before it is taken for what kills them.
DEATHS = 4

#: Seconds to wait for a worker that can make the runs.
PATIENCE = 30.0


def run_on(
    client: Client,
    specs: Sequence[RunSpec],
    results: Path,
    limits: Limits | None = None,
    patience: float = PATIENCE,
    again: bool = False,
) -> Generator[tuple[RunSpec, Event]]:
    """Make the runs on the workers of a Dask cluster, each in a child process there.

    Yields the same events as `bench.launch.pool.run_all`. A cell whose worker is lost is made again
    on another; one that loses four ends as an error. Where the consumer stops (Ctrl-C), the cells
    on the workers end too, and finished runs stay.

    Args:
        client: a connected Dask client.
        specs: the runs, all on one device.
        results: the results folder; workers that see it too write there, from others the runs
            come home through the scheduler.
        limits: what a run may use; by default one thread, and no memory limit.
        patience: the seconds to wait for a worker that can make the runs.
        again: whether runs that have records now are made again.

    Raises:
        UsageError: nothing was sent: no worker can make the runs, or one has another version of
            the program or other data, or the results folder can't be written.
        ClusterLost: the scheduler is gone, or no worker is left.
    """
    if not specs:
        return
    with result_transfer.home(results) as home:
        store.restore(results)
        limits = limits or Limits(threads=1)
        ask = slots.wait(client, specs[0].device, limits.threads or 1, patience)
        sendable = {spec.run: _sendable(spec) for spec in specs}
        need = worker_checks.needs(list(sendable.values()))
        worker_checks.examine(client, need)
        originals = {spec.run: spec for spec in specs}
        seen = {job.spec.run: job.seen for job in jobs_of(specs, results, limits, again)}
        with closing(_Cells(client, home, need, ask, limits, patience, seen)) as cells:
            for run, event in cells.make(sendable.values()):
                yield originals[run], event


def _sendable(spec: RunSpec) -> RunSpec:
    """The run with the path of a user's own table made whole: a worker has another folder."""
    if spec.dataset in plugins.datasets():
        return spec
    return replace(spec, dataset=str(Path(spec.dataset).absolute()))


@dataclass(frozen=True)
class _Sent:
    """A cell that is out: its run and the future of its outcome."""

    spec: RunSpec
    future: Future[Outcome]


class _Cells:
    """The cells of a study: those that wait, those that are out, and what is heard of them.

    As many are out as the workers can make at once, so that a worker that comes late gets its
    share, and one that dies takes no more cells with it than it was making.
    """

    def __init__(
        self,
        client: Client,
        home: Home,
        need: Needs,
        ask: Ask,
        limits: Limits,
        patience: float,
        seen: Mapping[str, list[Any] | None],
    ) -> None:
        self.client, self.home, self.need, self.ask = client, home, need, ask
        self.results, self.limits, self.patience = Path(home.results), limits, patience
        self.seen = seen
        self.waiting: deque[RunSpec] = deque()
        self.out: dict[str, _Sent] = {}
        self.begun: set[str] = set()
        self.starts = Counter[str]()
        self.kills = Counter[str]()
        self.locks: dict[str, FileLock] = {}
        self.unfit: dict[str, Unfit] = {}
        self.fit: list[str] = []
        self.room = 0
        self.looked = -float("inf")
        self.alone_since: float | None = None
        self.heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self.topic = f"bench-{uuid.uuid4().hex}"
        self.fetching = ThreadPoolExecutor(2, thread_name_prefix="bench-fetch")
        client.subscribe_topic(self.topic, lambda event: self.heard.put(event[1]))

    def make(self, specs: Iterable[RunSpec]) -> Iterator[tuple[str, Event]]:
        """Make all of them; yields events by the run's name."""
        self.waiting.extend(specs)
        while self.waiting or self.out:
            if time.monotonic() - self.looked > slots.LOOK:
                self._look()
            while self.waiting and len(self.out) < self.room:
                spec = self.waiting.popleft()
                made = self._record(spec)
                if made and store.stamp(made) != self.seen[spec.run]:
                    yield (
                        spec.run,
                        {"event": "end", "status": made.status, "elsewhere": True},
                    )
                else:
                    self._send(spec)
            if not self.waiting and not self.out:
                return
            with suppress(queue.Empty):
                message = self.heard.get(timeout=slots.LOOK)
                sent = self.out.get(message["key"])
                if sent is None:
                    continue  # of a cell that was given up
                if "event" in message:
                    yield from self._told(message["key"], sent, message)
                else:
                    yield from self._came(message["key"], sent, message["outcome"])

    def close(self) -> None:
        """Give up what is out: Dask marks the tasks, and the workers stop the child processes."""
        if self.client.status == "running":
            with suppress(Exception):  # the scheduler may be gone; there is nothing to stop then
                self.client.unsubscribe_topic(self.topic)
                self.client.cancel([sent.future for sent in self.out.values()], force=True)
        self.out.clear()
        self.fetching.shutdown(wait=False, cancel_futures=True)
        for lock in self.locks.values():
            lock.release()

    def _look(self) -> None:
        """Count the places that the workers have.

        Raises:
            ClusterLost: for long now there have been none, or no scheduler.
        """
        self.looked = time.monotonic()
        found = slots.workers(self.client) if self.client.status == "running" else {}
        able = {a: w for a, w in found.items() if a not in self.unfit and self.ask.slots(w)}
        self.fit, self.room = list(able), sum(self.ask.slots(w) for w in able.values())
        if able:
            self.alone_since = None
            return
        self.alone_since = self.alone_since or self.looked
        if self.looked - self.alone_since < self.patience:
            return
        kept = "Finished runs are kept; the same command goes on."
        address = self.client.scheduler.address if self.client.scheduler else "of this study"
        if self.client.status != "running":
            raise ClusterLost(f"The scheduler {address} is gone.", kept)
        if self.unfit:
            worker, (what, remedy) = next(iter(self.unfit.items()))
            raise ClusterLost(f"The worker {worker} can't make these runs: {what}.", remedy)
        problem, remedy = slots.lacking(found, self.ask, address, self.patience)
        raise ClusterLost(f"{problem} {kept}", remedy)

    def _send(self, spec: RunSpec) -> None:
        key = f"{spec.run}-{uuid.uuid4().hex[:8]}"
        order = Order(
            spec=spec.to_json(),
            need=worker_checks.narrowed(self.need, spec),
            key=key,
            topic=self.topic,
            home=self.home,
            limits=self.limits,
            most=result_transfer.LIMIT,
            seen=self.seen[spec.run],
        )
        future = self.client.submit(
            make_cell,
            order,
            key=key,
            resources=dict(self.ask.resources) or None,
            # Not there where it would be refused again; elsewhere, should those be gone.
            workers=self.fit if self.unfit else None,
            allow_other_workers=bool(self.unfit),
            pure=False,
        )
        self.out[key] = _Sent(spec, future)
        future.add_done_callback(lambda done: self._fetch(key, done))

    def _fetch(self, key: str, future: Future[Outcome]) -> None:
        """Bring an outcome home, in a thread: it may be large, or have to be made again."""

        def fetch() -> None:
            try:
                outcome: Outcome | BaseException = future.result()
            except (Exception, CancelledError) as error:
                outcome = error
            self.heard.put({"key": key, "outcome": outcome})

        with suppress(RuntimeError):  # the study has ended
            self.fetching.submit(fetch)

    def _told(self, key: str, sent: _Sent, message: dict[str, Any]) -> Iterator[tuple[str, Event]]:
        """What a worker said while it makes the cell."""
        run, event = sent.spec.run, message["event"]
        if event["event"] != "start":
            yield run, event
            return
        self.starts[run] += 1
        if self.starts[run] > DEATHS:
            yield from self._fail(key, sent, _deadly(self.starts[run] - 1))
        elif self.starts[run] > 1:
            yield run, {"event": "stage", "stage": "begun again: its worker was lost"}
        elif message["here"] or self._lock(run):
            self.begun.add(run)
            yield run, event
        else:
            yield from self._end(key, sent, "busy")

    def _came(
        self, key: str, sent: _Sent, outcome: Outcome | BaseException
    ) -> Iterator[tuple[str, Event]]:
        """A cell's task has ended, one way or another."""
        from distributed.scheduler import KilledWorker

        run = sent.spec.run
        if isinstance(outcome, KilledWorker):
            self.kills[run] += 1
            deaths = max(self.starts[run], self.kills[run])
            if deaths >= DEATHS:
                yield from self._fail(key, sent, _deadly(deaths))
            else:
                self._again(key, sent)
        elif isinstance(outcome, CancelledError):
            raise ClusterLost(
                f"The scheduler gave up the run {run}: {outcome or 'cancelled'}.",
                "Finished runs are kept; the same command goes on.",
            )
        elif isinstance(outcome, BaseException):
            yield from self._fail(key, sent, f"{type(outcome).__name__}: {outcome}")
        elif outcome.unfit:
            if outcome.worker not in self.unfit:
                warnings.warn(
                    f"The worker {outcome.worker} gets no runs: {outcome.unfit[0]}. "
                    f"{outcome.unfit[1]}",
                    stacklevel=2,
                )
            self.unfit[outcome.worker] = outcome.unfit
            self.looked = -float("inf")
            self._again(key, sent)
        elif outcome.status == "interrupted":  # the worker closed
            self._again(key, sent)
        else:
            if outcome.parcel:
                self._publish(run, outcome)
            yield from self._end(key, sent, outcome.status)

    def _again(self, key: str, sent: _Sent) -> None:
        del self.out[key]
        self.waiting.appendleft(sent.spec)

    def _end(self, key: str, sent: _Sent, status: str) -> Iterator[tuple[str, Event]]:
        run = sent.spec.run
        del self.out[key]
        sent.future.cancel()
        lock = self.locks.pop(run, None)
        if lock:
            lock.release()
        if run not in self.begun:  # made by another, or ended before it began
            yield run, {"event": "start"}
        yield run, {"event": "end", "status": status}

    def _fail(self, key: str, sent: _Sent, reason: str) -> Iterator[tuple[str, Event]]:
        """End a cell that leaves no record by itself with one that says why."""
        run = sent.spec.run
        sent.future.cancel()
        if run not in self.locks:
            self._lock(run, wait=5)
        if run in self.locks:
            store.part(self.results, run).mkdir(parents=True, exist_ok=True)
            content = store.outline(sent.spec) | {"status": "error", "reason": reason}
            store.publish(self.results, run, content)
        yield from self._end(key, sent, "error")

    def _publish(self, run: str, outcome: Outcome) -> None:
        """Put a run that travelled into the results folder.

        Raises:
            ClusterLost: it can't be written there.
        """
        assert outcome.parcel is not None
        if run not in self.locks and not self._lock(run, wait=5):
            return
        try:
            result_transfer.unpack(outcome.parcel, self.results, run)
        except OSError as error:
            raise ClusterLost(
                f"The run {run} came home and can't be written: {error.strerror}.",
                "Make room below the results folder; finished runs are kept.",
            ) from error
        for name, size in outcome.parcel.left_behind.items():
            warnings.warn(
                f"{name} of {run} did not come home: it has {size:,} bytes, and a run may send "
                f"{result_transfer.LIMIT:,}. Share the results folder with the workers.",
                stacklevel=2,
            )

    def _lock(self, run: str, wait: float = 0) -> bool:
        """Hold the run's lock here, so that no other study makes it meanwhile."""
        lock = FileLock(lock_file(self.results, run))
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            return False
        self.locks[run] = lock
        return True

    def _record(self, spec: RunSpec) -> Record | None:
        try:
            return store.read(self.results, spec.run)
        except DataError:
            return None


def _deadly(deaths: int) -> str:
    return f"its worker died or closed each of the {deaths} times that it was begun"
