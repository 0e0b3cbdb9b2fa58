"""The learning of one run: from its start or its last checkpoint, with checkpoints on the way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from bench import paths
from bench.api.method import Method
from bench.api.stream import Stream
from bench.data.arrays import Loaded
from bench.evaluation.protocol import Report, pick
from bench.records import store
from bench.records.spec import RunSpec
from bench.registry import plugins
from bench.training import checkpoint, environment
from bench.training.isolation import sealed
from bench.training.loop import Interrupted, Training, train, validator
from bench.training.reference_timing import Yardstick

#: The curve of a run: a line of JSON for each step.
CURVE = "curve.jsonl"


@dataclass(frozen=True)
class Control:
    """How a run is to be stopped and kept.

    When `stop` is set, the run ends after the step in hand, with a checkpoint. Otherwise it writes
    one `every` so many seconds, and one after its last step. Past `deadline`, a
    `time.monotonic()`, it has timed out. With a `yardstick` the curve has for each step its CPU
    seconds (`step_cpu_seconds`; at a validation with that) and one pass of the yardstick's after it
    (`yardstick_cpu_seconds`).
    """

    stop: threading.Event = field(default_factory=threading.Event)
    every: float = 60.0
    deadline: float = float("inf")
    yardstick: Yardstick | None = None


def learn(
    content: store.Draft,
    method: Method,
    data: Loaded,
    spec: RunSpec,
    folder: Path,
    report: Report,
    control: Control,
) -> None:
    """Train; what came of it goes into the record, also where it fails half-way.

    A run that has a good checkpoint in its folder goes on from there, and on a CPU with the same
    number of threads ends with the same bits as one that was never stopped.

    Raises:
        Interrupted: it was asked to stop.
        Diverged, TimedOut, ContractBroken: as `bench.training.loop.train`.
    """
    found, notes = checkpoint.newest(folder, spec.key)
    for note in notes:
        report({"event": "note", "note": note})
    done = Training(**found["training"]) if found else Training()
    if found:
        content["started"] = found["started"]
        report({"event": "note", "note": f"goes on after mini-batch {done.minibatches}"})
    sessions = [*(found["sessions"] if found else []), _session(done)]
    _begin(method, data, found, done)
    stream = Stream(
        data.train,
        spec.batch_size,
        spec.minibatches,
        spec.seed,
        spec.device,
        dealt=done.minibatches,
        first=method.affine,
        pushes=found["pushes"] if found else 0,
    )
    validate = _validator(data, spec)
    peaks = found["peaks"] if found else {}
    with _curve(folder / CURVE, found["curve_bytes"] if found else 0) as curve:
        spent = time.process_time()

        def keep(event: dict[str, Any]) -> None:
            nonlocal spent
            entry = {k: v for k, v in event.items() if k not in ("event", "total")}
            if control.yardstick:
                entry["step_cpu_seconds"] = time.process_time() - spent
                entry["yardstick_cpu_seconds"] = control.yardstick.measure()
                spent = time.process_time()
            curve.write(json.dumps(store.finite(entry)).encode() + b"\n")
            report(event)

        def save() -> None:
            began = time.perf_counter()
            curve.flush()
            state = {
                "key": spec.key,
                "started": content["started"],
                "sessions": sessions,
                "training": dict(vars(done)),
                "state": method.state_dict(),
                "progress": method.progress(),
                "pushes": stream.pushes,
                "random": _random(spec.device),
                "peaks": _peaks(spec.device, peaks),
                "curve_bytes": curve.tell(),
            }
            try:
                checkpoint.write(folder, state)
            except OSError as error:
                report({"event": "note", "note": f"no checkpoint can be written: {error}"})
            done.checkpoint_seconds += time.perf_counter() - began

        due = time.monotonic() + control.every

        def between(done: Training) -> None:
            nonlocal due
            stopped, now = control.stop.is_set(), time.monotonic()
            finished = done.minibatches == stream.total
            if stopped or finished or now >= due or now > control.deadline:
                save()
                due = time.monotonic() + control.every
            if stopped:
                raise Interrupted(f"stopped after mini-batch {done.minibatches}")

        try:
            if found:
                _set_random(found["random"], spec.device)
            with sealed(paths.array_cache(), _files(spec)):
                train(
                    *(method, stream, validate, spec.judge.validations, keep),
                    *(control.deadline, done, between),
                )
        finally:
            content["method"]["params"] = method.size() + method.affine.size()
            content["training"] = _outcome(done)
            content["sessions"] = sessions
            content["cost"] |= _cost(done) | _peaks(spec.device, peaks)
    if control.stop.is_set():
        raise Interrupted("stopped after the last mini-batch")


def _peaks(device: str, before: Mapping[str, int]) -> dict[str, int]:
    """Peak memory in bytes over all sessions of a run, by the names that a record's cost has."""
    here = {"peak_rss_bytes": environment.peak_rss_bytes()}
    if device == "cuda":
        here["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
        here["peak_gpu_reserved_bytes"] = torch.cuda.max_memory_reserved()
    return {name: max(value, before.get(name, 0)) for name, value in here.items()}


def _begin(method: Method, data: Loaded, found: Mapping[str, Any] | None, done: Training) -> None:
    """Fit the first layer, or take up what a checkpoint holds."""
    if found:
        method.load_state_dict(found["state"])
        method.resume(found["progress"])
        return
    start = time.perf_counter()
    method.affine.fit(data.train)
    done.train_seconds += time.perf_counter() - start


def _session(done: Training) -> dict[str, Any]:
    """Where a stretch of a run began, when, and with how many threads."""
    return {"after": done.minibatches, "started": store.utc(), "threads": torch.get_num_threads()}


def _validator(data: Loaded, spec: RunSpec) -> Callable[[Method], float]:
    judge = spec.judge
    rows = torch.from_numpy(np.array(pick(data.validation, judge.validation_rows, judge.seed)))
    return validator(rows, judge)


def _files(spec: RunSpec) -> list[Path]:
    """The files that the data set can be read from."""
    sources = plugins.dataset(spec.dataset).sources
    return [Path(spec.data_root) / name for source in sources for name in source.files]


@contextmanager
def _curve(path: Path, kept: int) -> Iterator[IO[bytes]]:
    """The curve's file, cut off after the first `kept` bytes, to be appended to."""
    with open(path, "ab") as file:
        file.truncate(min(kept, path.stat().st_size))
        yield file


def _random(device: str) -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state()} if device == "cuda" else state


def _set_random(state: Mapping[str, Any], device: str) -> None:
    torch.set_rng_state(state["cpu"])
    if device == "cuda":
        torch.cuda.set_rng_state(state["cuda"])


def _outcome(done: Training) -> dict[str, Any]:
    return {
        "minibatches": done.minibatches,
        "samples_seen": done.samples_seen,
        "best_step": done.best_step,
        "best_validation_nll": done.best_validation_nll,
        "last_loss": done.last_loss,
    }


def _cost(done: Training) -> dict[str, Any]:
    return {
        "train_seconds": done.train_seconds,
        "validation_seconds": done.validation_seconds,
        "checkpoint_seconds": done.checkpoint_seconds,
        "nfe_train": done.nfe_train,
    }
