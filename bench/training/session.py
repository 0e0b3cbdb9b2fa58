"""Training one run: from its start or its last checkpoint, with a curve and further checkpoints."""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from bench import paths
from bench.api.method import Method
from bench.api.stream import Stream
from bench.data.arrays import Loaded
from bench.evaluation.flow import Report, pick
from bench.records import store
from bench.records.spec import Limits, RunSpec
from bench.registry import plugins
from bench.training import checkpoint
from bench.training.isolation import blocked
from bench.training.loop import Interrupted, Training, train, validator
from bench.training.reference_timing import ReferenceTimer

#: The curve of a run: a line of JSON for each step.
CURVE = "curve.jsonl"


@dataclass(frozen=True, kw_only=True)
class Control:
    """When a run ends early: after the current step if `stop` is set, or past `deadline`.

    `deadline` is a `time.monotonic()`. With a `timer` each line of the curve has the CPU seconds of
    the step, a validation included (`step_cpu_seconds`), and of one pass of the timer after it
    (`yardstick_cpu_seconds`).
    """

    limits: Limits
    stop: threading.Event
    deadline: float
    timer: ReferenceTimer | None = None


def learn(
    draft: store.Draft,
    method: Method,
    data: Loaded,
    spec: RunSpec,
    folder: Path,
    report: Report,
    control: Control,
) -> None:
    """Train a method; the outcome goes into the draft of the record, after a failure too.

    A run that has a good checkpoint in its folder resumes from it, and on a CPU with the same
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
        draft["started"] = found["started"]
        report({"event": "note", "note": f"Resuming after mini-batch {done.minibatches:,}."})
    draft["sessions"] = [
        *(found["sessions"] if found else []),
        {"after": done.minibatches, "started": store.utc(), "threads": torch.get_num_threads()},
    ]
    if found:
        method.load_state_dict(found["state"])
        method.resume(found["progress"])
    else:
        start = time.perf_counter()
        method.affine.fit(data.train)
        done.train_seconds += time.perf_counter() - start
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
    judge = spec.judge
    rows = torch.from_numpy(np.array(pick(data.validation, judge.validation_rows, judge.seed)))
    validate = validator(rows, judge)
    peaks = found["peaks"] if found else {}
    sources = plugins.dataset(spec.dataset).sources
    files = [Path(spec.data_root) / name for source in sources for name in source.files]
    with open(folder / CURVE, "ab") as curve:
        curve.truncate(min(found["curve_bytes"] if found else 0, curve.tell()))
        session = _Session(draft, method, stream, spec, folder, report, control, curve, peaks)
        try:
            if found:
                torch.set_rng_state(found["random"]["cpu"])
                if spec.device == "cuda":
                    torch.cuda.set_rng_state(found["random"]["cuda"])
            with blocked(paths.array_cache(), files):
                train(
                    method,
                    stream,
                    validate,
                    judge.validations,
                    session.write,
                    control.deadline,
                    done,
                    session.after_step,
                )
        finally:
            draft["method"]["params"] = method.size() + method.affine.size()
            counts = ("minibatches", "samples_seen", "best_step", "best_validation_nll")
            draft["training"] = {name: getattr(done, name) for name in (*counts, "last_loss")}
            costs = ("train_seconds", "validation_seconds", "checkpoint_seconds", "nfe_train")
            draft["cost"] |= {name: getattr(done, name) for name in costs}
            draft["cost"] |= _peaks(spec.device, peaks)
    if control.stop.is_set():
        raise Interrupted("Stopped after the last mini-batch.")


@dataclass
class _Session:
    """Keeps a run while it trains: writes its curve and its checkpoints, and stops it."""

    draft: store.Draft
    method: Method
    stream: Stream
    spec: RunSpec
    folder: Path
    report: Report
    control: Control
    curve: IO[bytes]
    peaks: Mapping[str, int]

    def __post_init__(self) -> None:
        self.cpu_seconds = time.process_time()
        self.due = time.monotonic() + self.control.limits.checkpoint_every

    def write(self, event: dict[str, Any]) -> None:
        """Write a step to the curve, and report it."""
        entry = {k: v for k, v in event.items() if k not in ("event", "total")}
        if self.control.timer:
            entry["step_cpu_seconds"] = time.process_time() - self.cpu_seconds
            entry["yardstick_cpu_seconds"] = self.control.timer.measure()
            self.cpu_seconds = time.process_time()
        self.curve.write(json.dumps(store.finite(entry)).encode() + b"\n")
        self.report(event)

    def after_step(self, done: Training) -> None:
        """Write a checkpoint if one is due.

        Raises:
            Interrupted: the run was asked to stop.
        """
        stopped, now = self.control.stop.is_set(), time.monotonic()
        finished = done.minibatches == self.stream.total
        if stopped or finished or now >= self.due or now > self.control.deadline:
            self._save(done)
            self.due = time.monotonic() + self.control.limits.checkpoint_every
        if stopped:
            raise Interrupted(f"Stopped after mini-batch {done.minibatches:,}.")

    def _save(self, done: Training) -> None:
        began = time.perf_counter()
        self.curve.flush()
        random = {"cpu": torch.get_rng_state()}
        if self.spec.device == "cuda":
            random["cuda"] = torch.cuda.get_rng_state()
        content = {
            "key": self.spec.key,
            "started": self.draft["started"],
            "sessions": self.draft["sessions"],
            "training": dict(vars(done)),
            "state": self.method.state_dict(),
            "progress": self.method.progress(),
            "pushes": self.stream.pushes,
            "random": random,
            "peaks": _peaks(self.spec.device, self.peaks),
            "curve_bytes": self.curve.tell(),
        }
        try:
            checkpoint.write(self.folder, content)
        except OSError as error:
            self.report({"event": "note", "note": f"No checkpoint can be written: {error}"})
        done.checkpoint_seconds += time.perf_counter() - began


def peak_rss_bytes() -> int:
    """Return the peak resident memory of this process so far.

    On Linux it is VmHWM: `ru_maxrss` starts at what the parent had when it started this process.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _peaks(device: str, before: Mapping[str, int]) -> dict[str, int]:
    """Return peak memory in bytes over all sessions of a run, by the names in a record's cost."""
    here = {"peak_rss_bytes": peak_rss_bytes()}
    if device == "cuda":
        here["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
        here["peak_gpu_reserved_bytes"] = torch.cuda.max_memory_reserved()
    return {name: max(value, before.get(name, 0)) for name, value in here.items()}
