"""What a worker does with a cell: it makes the run in a child process and says how it goes."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import DataError
from bench.launch.dask import result_transfer, worker_checks
from bench.launch.dask.result_transfer import Home, Parcel
from bench.launch.dask.worker_checks import Needs, Unfit
from bench.launch.process import Event, Halt, Job, make
from bench.records import store
from bench.records.model import Record
from bench.records.spec import Limits, RunSpec

if TYPE_CHECKING:
    from distributed import Worker

#: Seconds between two reports of a cell's steps; validations and stages are all reported.
REPORT_EVERY = 1.0

#: Seconds that a lock may outlive the worker that died: its child takes a moment to notice.
ORPHAN = 10.0

#: Seconds between two looks whether the cell is still wanted.
LOOK = 0.5


@dataclass(frozen=True)
class Order:
    """A cell as it is sent: the run (`RunSpec.to_json`), and what the worker needs beside it.

    `key` is the task's name, `topic` that under which events are told, `most` the bytes that may
    travel. `seen` is the stamp of the record that the run has and shall be made again in spite of:
    any other is this cell, made already.
    """

    spec: str
    need: Needs
    key: str
    topic: str
    home: Home
    limits: Limits
    most: int
    seen: list[Any] | None


@dataclass(frozen=True)
class Outcome:
    """How a cell ended on a worker: `make`'s status, or `unfit`, and what has to travel."""

    status: str
    worker: str
    parcel: Parcel | None = None
    unfit: Unfit | None = None


def make_cell(order: Order) -> Outcome:
    """Make one run on this worker; the task that is sent."""
    from distributed import get_worker

    worker = get_worker()
    spec = RunSpec.from_json(order.spec)
    problem = worker_checks.unfit(order.need)
    if problem:
        return Outcome("unfit", worker.address, unfit=problem)
    spec = replace(spec, data_root=str(worker_checks.root(worker_checks.rows_of(spec))))
    with _stop(worker, order.key) as stop:
        if order.home.here():
            results = Path(order.home.results)
            found = _started(results, spec.run)
            if found is not None and store.stamp(found) != order.seen:
                return Outcome(found.status, worker.address)
            return Outcome(_make(spec, results, order, worker, stop), worker.address)
        with tempfile.TemporaryDirectory(dir=worker.local_directory, prefix="bench-") as folder:
            results = Path(folder)
            status = _make(spec, results, order, worker, stop)
            made = results / spec.run
            parcel = result_transfer.pack(made, order.most) if made.is_dir() else None
            return Outcome(status, worker.address, parcel)


def _make(spec: RunSpec, results: Path, order: Order, worker: Worker, stop: threading.Event) -> str:
    """The one place where a worker calls `bench.launch.process.make`.

    A cell that comes from a worker that died may find the lock of that worker's child, for a
    moment.
    """
    shared = str(results) == order.home.results
    (results / ".locks").mkdir(parents=True, exist_ok=True)
    worker.log_event(order.topic, {"key": order.key, "event": {"event": "start"}, "here": shared})
    tell = _teller(worker, order)
    deadline = time.monotonic() + ORPHAN
    job = Job(spec, results, order.limits, seen=order.seen if shared else None)
    while True:
        status = make(job, tell, Halt(stop=stop))
        if status != "busy" or time.monotonic() > deadline:
            return status
        stop.wait(LOOK)


def _teller(worker: Worker, order: Order) -> Callable[[Event], None]:
    """A function that sends an event home, but not every step."""
    last = 0.0

    def tell(event: Event) -> None:
        nonlocal last
        steps = event["event"] == "step" and "validation_nll" not in event
        if steps and time.monotonic() - last < REPORT_EVERY:
            return
        last = time.monotonic()
        worker.log_event(order.topic, {"key": order.key, "event": event})

    return tell


@contextmanager
def _stop(worker: Worker, key: str) -> Iterator[threading.Event]:
    """An event that is set when the cell is no longer wanted: cancelled, or the worker closes.

    Dask does not interrupt a task that runs; it only marks it. It does so too when whoever sent
    the cell is gone.
    """
    from distributed.core import Status

    stop, over = threading.Event(), threading.Event()
    closing = (Status.closing, Status.closed, Status.failed, Status.stopping, Status.stopped)

    def watch() -> None:
        while not over.wait(LOOK):
            task = worker.state.tasks.get(key)
            wanted = task is not None and task.state in ("executing", "long-running")
            if not wanted or worker.status in closing:
                stop.set()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        over.set()
        thread.join()


def _started(results: Path, run: str) -> Record | None:
    """The record of the run, where there is one that can be read."""
    try:
        return store.read(results, run)
    except DataError:
        return None
