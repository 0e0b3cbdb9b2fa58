"""What a worker does with a run: it runs it in a child process, reports, and sends the result.

The result is in the results folder already where the worker sees it; else it travels as bytes.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import DataError
from bench.launch.dask import workers
from bench.launch.dask.workers import Needs, Unfit
from bench.launch.pool import opened
from bench.launch.process import Event, Halt, Job, make
from bench.records import store
from bench.records.spec import Limits, RunSpec

if TYPE_CHECKING:
    from distributed import Worker

#: Bytes of one run that travel at most; larger files stay behind, the record never does.
LIMIT = 2**30

#: Seconds between two reports of a run's steps; validations and stages are all reported.
REPORT_EVERY = 1.0

#: Seconds that a lock may outlive the worker that died: its child takes a moment to notice.
ORPHAN = 10.0

#: Seconds between two looks whether the run is still wanted.
LOOK = 0.5


@dataclass(frozen=True)
class Home:
    """The driver's results folder, with a token that proves that a machine sees it."""

    results: str
    token: str
    secret: str

    def here(self) -> bool:
        """Whether this machine sees that very folder and may write there."""
        folder = Path(self.results)
        try:
            if (folder / self.token).read_text(encoding="utf-8") != self.secret:
                return False
            with tempfile.TemporaryFile(dir=folder):
                return True
        except OSError:
            return False


@contextmanager
def home(results: Path) -> Iterator[Home]:
    """The results folder, with a token in it until the study ends.

    Raises:
        UsageError: it can't be written.
    """
    token = f".locks/{secrets.token_hex(8)}.token"
    made = Home(str(results.absolute()), token, secrets.token_hex())
    path = results / made.token
    with opened(results):
        path.write_text(made.secret, encoding="utf-8")
    try:
        yield made
    finally:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Parcel:
    """The files of a finished run, and the sizes of those that were too large to send."""

    files: Mapping[str, bytes]
    left_behind: Mapping[str, int]


@dataclass(frozen=True)
class Order:
    """A run as it is sent to a worker; `need` holds its specification.

    `key` is the task's name, `topic` that of its events, `limit` the bytes that may travel. `seen`
    is the stamp of a record to be replaced: any other record means that the run is done.
    """

    need: Needs
    key: str
    topic: str
    home: Home
    limits: Limits
    limit: int
    seen: list[Any] | None


@dataclass(frozen=True)
class Outcome:
    """How a run ended on a worker: the status of `make`, or `unfit`, and what has to travel."""

    status: str
    worker: str
    parcel: Parcel | None = None
    unfit: Unfit | None = None


def run_task(order: Order) -> Outcome:
    """Run one run on this worker: the task that Dask sends."""
    from distributed import get_worker

    worker = get_worker()
    if problem := workers.unfit(order.need):
        return Outcome("unfit", worker.address, unfit=problem)
    (spec,) = order.need.specs
    root = workers.root(spec.label, spec.dataset, spec.revision, spec.data_root)
    spec = replace(spec, data_root=str(root))
    with _stop(worker, order.key) as stop:
        if order.home.here():
            results = Path(order.home.results)
            with suppress(DataError):
                found = store.read(results, spec.run)
                if found is not None and store.stamp(found) != order.seen:
                    return Outcome(found.status, worker.address)
            return Outcome(_make(spec, results, order, worker, stop), worker.address)
        with tempfile.TemporaryDirectory(dir=worker.local_directory, prefix="bench-") as folder:
            results = Path(folder)
            status = _make(spec, results, order, worker, stop)
            made = results / spec.run
            parcel = pack(made, order.limit) if made.is_dir() else None
            return Outcome(status, worker.address, parcel)


def _make(spec: RunSpec, results: Path, order: Order, worker: Worker, stop: threading.Event) -> str:
    """Make the run in a child process of this worker.

    A run whose worker died may still find the lock of that worker's child for a moment.
    """
    shared = str(results) == order.home.results
    (results / ".locks").mkdir(parents=True, exist_ok=True)
    worker.log_event(order.topic, {"key": order.key, "event": {"event": "start"}, "here": shared})
    last = 0.0

    def tell(event: Event) -> None:
        nonlocal last
        now, always = time.monotonic(), event["event"] != "step" or "validation_nll" in event
        if always or now - last >= REPORT_EVERY:
            last = now
            worker.log_event(order.topic, {"key": order.key, "event": event})

    deadline = time.monotonic() + ORPHAN
    job = Job(spec, results, order.limits, seen=order.seen if shared else None)
    while True:
        status = make(job, tell, Halt(stop=stop))
        if status != "busy" or time.monotonic() > deadline:
            return status
        stop.wait(LOOK)


@contextmanager
def _stop(worker: Worker, key: str) -> Iterator[threading.Event]:
    """An event that is set when the run is no longer wanted: cancelled, or the worker closes.

    Dask does not interrupt a running task but marks it, also when whoever sent it is gone.
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


def pack(folder: Path, limit: int) -> Parcel:
    """The files of a run's folder, the record first, then the smallest, `limit` bytes in all."""
    files: dict[str, bytes] = {}
    left_behind: dict[str, int] = {}
    found = [path for path in folder.iterdir() if path.is_file()]
    for path in sorted(found, key=lambda p: (p.name != "record.json", p.stat().st_size)):
        size = path.stat().st_size
        if size > limit and path.name != "record.json":
            left_behind[path.name] = size
        else:
            limit -= size
            files[path.name] = path.read_bytes()
    return Parcel(files, left_behind)


def unpack(parcel: Parcel, results: Path, run: str) -> None:
    """Publish a run that was made elsewhere; the caller holds the run's lock.

    The record names the files that were left behind, with their sizes in bytes.
    """
    folder = store.part(results, run)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in parcel.files.items():
        if name != "record.json":
            store.write_synced(folder / Path(name).name, methodcaller("write", content))
    made: store.Draft = json.loads(parcel.files["record.json"])
    if parcel.left_behind:
        made["left_behind"] = dict(parcel.left_behind)
    store.publish(results, run, made)
