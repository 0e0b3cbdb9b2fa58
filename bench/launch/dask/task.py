"""What a worker does with a run: it runs it in a child process, reports, and sends the result.

The result is in the results folder already where the worker sees it; else it travels as bytes.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING

from bench.launch.dask import workers
from bench.launch.dask.workers import Unfit
from bench.launch.pool import opened
from bench.launch.process import Halt, make
from bench.launch.worker import Event, Job, spaced
from bench.records import store
from bench.records.model import Damaged, is_intact

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


@contextmanager
def token_in(results: Path) -> Iterator[str]:
    """A file of a random name in the results folder until the study ends; see `sees`.

    Raises:
        UsageError: it can't be written.
    """
    path = results / ".locks" / f"{secrets.token_hex()}.token"
    with opened(results):
        path.touch()
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)


def sees(results: Path, token: str) -> bool:
    """Whether this machine sees the results folder with that token and may write there."""
    try:
        with tempfile.TemporaryFile(dir=results):
            return (results / ".locks" / token).is_file()
    except OSError:
        return False


@dataclass(frozen=True)
class Parcel:
    """The files of a finished run, and the sizes of those that were too large to send."""

    files: Mapping[str, bytes]
    left_behind: Mapping[str, int]


@dataclass(frozen=True)
class Order:
    """A run as it is sent to a worker.

    `key` is the task's name, `topic` that of its events, `token` that of the results folder.
    """

    job: Job
    planned_by: tuple[str, str]
    key: str
    topic: str
    token: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the status of `make` and what has to travel, or what the worker lacks.

    With a `reason` the run has left no record.
    """

    status: str
    worker: str = ""
    parcel: Parcel | None = None
    unfit: Unfit | None = None
    reason: str = ""


def run_task(order: Order) -> Outcome:
    """Run one run on this worker: the task that Dask sends."""
    from distributed import get_worker

    worker = get_worker()
    if problem := workers.unfit(order.planned_by, [order.job.spec]):
        return Outcome("unfit", worker.address, unfit=problem)
    job, spec = order.job, order.job.spec
    root = workers.root(spec.label, spec.dataset, spec.revision, spec.data_root)
    job = replace(job, spec=replace(spec, data_root=str(root)))
    with _stop(worker, order.key) as stop:
        if sees(job.results, order.token):
            return Outcome(_make(job, order, worker, stop, here=True), worker.address)
        with tempfile.TemporaryDirectory(dir=worker.local_directory, prefix="bench-") as folder:
            job = replace(job, results=Path(folder), seen=None)
            (job.results / ".locks").mkdir()
            status = _make(job, order, worker, stop, here=False)
            made = job.results / spec.run
            parcel = pack(made, LIMIT) if made.is_dir() else None
            return Outcome(status, worker.address, parcel)


def _make(job: Job, order: Order, worker: Worker, stop: threading.Event, here: bool) -> str:
    """Make the run in a child process of this worker; `here` if in the driver's results folder.

    A run whose worker died may still find the lock of that worker's child for a moment.
    """

    def send(event: Event) -> None:
        worker.log_event(order.topic, {"key": order.key, "event": event})

    send({"event": "start", "here": here})
    tell = spaced(REPORT_EVERY, send)
    deadline = time.monotonic() + ORPHAN
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

    Raises:
        Damaged: a file is not the one that the run wrote.
    """
    made: store.Draft = json.loads(parcel.files["record.json"])
    sent = {name: hashlib.sha256(content).hexdigest() for name, content in parcel.files.items()}
    known = made.get("digests", {})
    changed = [name for name in sent if known.get(name, sent[name]) != sent[name]]
    if {"digest", "digests"} & made.keys() and not is_intact(parcel.files["record.json"]):
        changed = ["record.json"]
    if changed:
        raise Damaged(f"{changed[0]} of the run {run} has changed on its way.", "Run it again.")
    folder = store.part(results, run)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in parcel.files.items():
        if name != "record.json":
            store.write_synced(folder / Path(name).name, methodcaller("write", content))
    if parcel.left_behind:
        made["left_behind"] = dict(parcel.left_behind)
    store.publish(results, run, made)
