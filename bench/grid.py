"""The grid of runs: making them side by side, each in a child process of its own."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import record
from bench.child import Event, make
from bench.errors import UsageError
from bench.spec import RunSpec


def run_all(
    specs: Sequence[RunSpec], results: Path, jobs: int, threads: int
) -> Iterator[tuple[RunSpec, Event]]:
    """Make the runs, `jobs` at a time, each in a child process with `threads` threads.

    Yields what happens as it happens: `start`, the child's `step` and `stage` events, and for
    each run one `end` with its status. Where the consumer stops (Ctrl-C), the children end too.

    Raises:
        UsageError: the results folder can't be written.
    """
    _writable(results)
    record.restore(results)
    events: queue.Queue[tuple[RunSpec, Event]] = queue.Queue()
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_child, s, results, threads, events, stop) for s in specs]
        try:
            for _ in range(len(specs)):
                while True:
                    spec, event = events.get()
                    yield spec, event
                    if event["event"] == "end":
                        break
            for future in futures:
                future.result()
        finally:
            stop.set()
            for future in futures:
                future.cancel()


def _child(
    spec: RunSpec,
    results: Path,
    threads: int,
    events: queue.Queue[tuple[RunSpec, Event]],
    stop: threading.Event,
) -> None:
    """Make one run, and say that it started and how it ended, come what may."""
    if stop.is_set():
        return
    events.put((spec, {"event": "start"}))
    status = "error"
    try:
        status = make(spec, results, threads, lambda event: events.put((spec, event)), stop)
    finally:
        events.put((spec, {"event": "end", "status": status}))


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
