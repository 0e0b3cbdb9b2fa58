"""The grid of runs: planning it, skipping what is done, running the rest side by side."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from filelock import FileLock, Timeout

from bench import arrays, plugins, presets, record
from bench.budget import budget
from bench.errors import UsageError
from bench.spec import RunSpec
from bench.study import Study
from bench.worker import lock_file

Only = Literal["missing", "failed", "stale", "all"]

#: Seconds that a run gets, past its time limit, to write its own record.
GRACE = 10.0

Event = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """The runs of a study: all of them, and those still to be made."""

    runs: tuple[RunSpec, ...]
    todo: tuple[RunSpec, ...]


def plan(
    study: Study,
    results: Path,
    data_root: Path,
    device: str = "cpu",
    only: Only = "missing",
    timeout: float | None = None,
) -> Plan:
    """The runs of the study in the order of seeds, data sets, methods; nothing is run.

    Reads the data (they determine the revision) and makes their array cache.

    Raises:
        UsageError: an unknown name, an impossible number.
        DataError: data that are not there.
    """
    for name in study.methods:
        plugins.method(name)
    amounts = budget(study.budget)
    settings = presets.share(study.settings, study.methods)
    versions = {m: plugins.version(plugins.methods()[m]) for m in study.methods}
    sets = [(name, plugins.dataset(name)) for name in study.datasets]
    revisions = {name: arrays.load(dataset, data_root).revision for name, dataset in sets}
    runs = []
    for seed in study.seeds:
        for name, dataset in sets:
            amount = amounts.amount(dataset.name, study.minibatches, study.batch_size)
            for method in study.methods:
                config, preset = presets.configure(
                    method, dataset.name, dataset.d, settings[method]
                )
                runs.append(
                    RunSpec(
                        method=method,
                        version=versions[method],
                        config=asdict(config),
                        dataset=name,
                        label=dataset.name,
                        revision=revisions[name],
                        minibatches=amount.minibatches,
                        batch_size=amount.batch_size,
                        seed=seed,
                        device=device,
                        judge=study.judge,
                        preset=preset,
                        budget=study.budget,
                        data_root=str(data_root.absolute()),
                        timeout=timeout,
                    )
                )
    return Plan(tuple(runs), tuple(_todo(runs, results, only)))


def _todo(runs: Sequence[RunSpec], results: Path, only: Only) -> Iterator[RunSpec]:
    """Those runs that `only` asks for.

    Stale is a run without a record, of which there is a record with another version of the
    method, another preset or other rows.
    """
    records = {r["run"]: r for r in record.read_all(results)}
    cells = {(r["method"]["name"], r["dataset"]["name"], r["seed"]) for r in records.values()}
    for spec in runs:
        found = records.get(spec.run)
        wanted = {
            "all": True,
            "missing": found is None,
            "failed": found is not None and found["status"] != "ok",
            "stale": found is None and (spec.method, spec.label, spec.seed) in cells,
        }
        if wanted[only]:
            yield spec


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
    """Make one run in a child process, and see to it that it ends with a record."""
    if stop.is_set():
        return
    events.put((spec, {"event": "start"}))
    status = None
    with tempfile.TemporaryFile() as errors:
        child = _start(spec, results, threads, errors)
        overstayed = threading.Event()
        watch = threading.Thread(
            target=_watch, args=(child, spec.timeout, stop, overstayed), daemon=True
        )
        watch.start()
        assert child.stdout is not None
        for line in child.stdout:
            with suppress(ValueError):
                event = json.loads(line)
                if event["event"] in ("end", "busy"):
                    status = event.get("status", "busy")
                else:
                    events.put((spec, event))
        code = child.wait()
        watch.join()
        if status is None and not stop.is_set():
            errors.seek(0)
            last_lines = errors.read().decode(errors="replace").strip().splitlines()[-3:]
            reason = _reason(code, " | ".join(last_lines))
            if overstayed.is_set():
                reason = f"killed {GRACE:g} s after its time limit of {spec.timeout:g} s"
            status = "timeout" if overstayed.is_set() else "error"
            _record_lost(spec, results, status, reason)
    events.put((spec, {"event": "end", "status": status or "interrupted"}))


def _start(spec: RunSpec, results: Path, threads: int, errors: IO[bytes]) -> subprocess.Popen[str]:
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(threads)
    environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # deterministic cuBLAS
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C is the parent's to handle
    )
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        request = {"spec": spec.to_json(), "results": str(results.absolute())}
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
    return child


def _watch(
    child: subprocess.Popen[str],
    timeout: float | None,
    stop: threading.Event,
    overstayed: threading.Event,
) -> None:
    """Kill the child when the study is stopped, or when it overstays its time limit."""
    deadline = time.monotonic() + timeout + GRACE if timeout else float("inf")
    while child.poll() is None:
        if time.monotonic() > deadline:
            overstayed.set()
        if stop.is_set() or overstayed.is_set():
            child.kill()
            return
        time.sleep(0.05)


def _reason(code: int, last_lines: str) -> str:
    """Why a process ended without a word."""
    if code == -signal.SIGKILL:
        return "the process was killed (SIGKILL): by someone, or by the kernel for want of memory"
    if code < 0:
        return f"the process was killed by {signal.Signals(-code).name}: {last_lines}"
    return f"the process ended with exit code {code}: {last_lines}"


def _record_lost(spec: RunSpec, results: Path, status: str, reason: str) -> None:
    """Write the record of a run whose process ended without one."""
    from bench.execution import outline

    content = outline(spec) | {"status": status, "reason": reason}
    with suppress(Timeout), FileLock(lock_file(results, spec.run), timeout=1):
        record.part(results, spec.run).mkdir(parents=True, exist_ok=True)
        record.publish(results, spec.run, content)


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
