"""Training one run: from its start or its last checkpoint, with a curve and further checkpoints.

A checkpoint is the SHA-256 of its content, since torch does not notice a flipped bit, then the
content as `torch.save` writes it. It loads with `weights_only=True`. Each is written atomically,
and the last two are kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
import resource
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import paths
from bench.api.method import Method
from bench.api.stream import Stream
from bench.data.arrays import Loaded
from bench.errors import DataError
from bench.evaluation.flow import Report, pick
from bench.records import store
from bench.records.spec import Limits, RunSpec
from bench.registry import plugins
from bench.training.compiling import Compiler
from bench.training.loop import Interrupted, Training, blocked, train, validator
from bench.training.reference_timing import ReferenceTimer

#: The curve of a run: a line of JSON for each step.
CURVE = "curve.jsonl"

#: The layout of what a checkpoint holds.
CHECKPOINT_FORMAT = 1

#: Seconds between two looks whether the folder of a run is still there.
LOOK_EVERY = 1.0

#: The last checkpoint and the one before it, in the folder of a run.
CHECKPOINT_NAMES = ("checkpoint.bin", "checkpoint-before.bin")


@dataclass(kw_only=True)
class Session:
    """A run while it trains: writes its curve and its checkpoints, and ends it early.

    It ends after the current step if `stop` is set, or past `deadline`, a `time.monotonic()`. With
    a `timer` each line of the curve has the CPU seconds of the step, a validation included
    (`step_cpu_seconds`), and of one pass of the timer after it (`yardstick_cpu_seconds`).
    """

    spec: RunSpec
    draft: store.Draft
    folder: Path
    report: Report
    limits: Limits
    stop: threading.Event
    deadline: float = math.inf
    timer: ReferenceTimer | None = None

    def learn(self, method: Method, data: Loaded) -> None:
        """Train a method; the outcome goes into the draft of the record, after a failure too.

        A run that has a good checkpoint in its folder resumes from it, and on a CPU with the same
        number of threads ends with the same bits as one that was never stopped.

        Raises:
            Interrupted: it was asked to stop.
            DataError: its folder is gone.
            Diverged, TimedOut, ContractBroken: as `bench.training.loop.train`.
        """
        spec, draft, judge = self.spec, self.draft, self.spec.judge
        found, notes = newest_checkpoint(self.folder, spec.key)
        for note in notes:
            self._note(note)
        kept = found or {}
        # Checkpoints of earlier versions have no CPU seconds: those of the run are not known.
        done = Training(
            **{"train_cpu_seconds": math.nan if found else 0.0} | kept.get("training", {})
        )
        threads = torch.get_num_threads()
        here = {"after": done.minibatches, "started": store.utc(), "threads": threads}
        draft["sessions"] = [*kept.get("sessions", []), here]
        if found:
            draft["started"] = found["started"]
            self._note(f"Resuming after mini-batch {done.minibatches:,}.")
            method.load_state_dict(found["state"])
            method.resume(found["progress"])
        else:
            start, cpu_start = time.perf_counter(), time.process_time()
            method.affine.fit(data.train)
            done.train_seconds += time.perf_counter() - start
            done.train_cpu_seconds += time.process_time() - cpu_start
        self.method = method
        self.stream = Stream(
            data.train,
            spec.batch_size,
            spec.minibatches,
            spec.seed,
            spec.device,
            dealt=done.minibatches,
            first=method.affine,
            pushes=kept.get("pushes", 0),
        )
        rows = torch.from_numpy(np.array(pick(data.validation, judge.validation_rows, judge.seed)))
        validate = validator(rows, judge)
        self.peaks: Mapping[str, int] = kept.get("peaks", {})
        sources = plugins.dataset(spec.dataset).sources
        files = [Path(spec.data_root) / name for source in sources for name in source.files]
        compiler = Compiler(spec.device) if spec.compile else None
        if compiler:
            done.compile_seconds += compiler.seconds
        with open(self.folder / CURVE, "ab") as self.curve:
            self.curve.truncate(min(kept.get("curve_bytes", 0), self.curve.tell()))
            self.cpu_seconds, self.look, self.noted = time.process_time(), 0.0, ""
            self.due = time.monotonic() + self.limits.checkpoint_every
            try:
                if found:
                    torch.set_rng_state(found["random"]["cpu"])
                    if spec.device == "cuda":
                        torch.cuda.set_rng_state(found["random"]["cuda"])
                counting = compiler.counting() if compiler else nullcontext()
                with blocked(paths.array_cache(), files), counting:
                    train(
                        method,
                        self.stream,
                        validate,
                        judge.validations,
                        self._write,
                        self.deadline,
                        done,
                        self._after_step,
                        compiler,
                    )
            finally:
                draft["method"]["params"] = method.size() + method.affine.size()
                counts = ("minibatches", "samples_seen", "best_step", "best_validation_nll")
                draft["training"] = {name: getattr(done, name) for name in (*counts, "last_loss")}
                clocks = ["train", "train_cpu", "validation", "checkpoint"]
                clocks += ["compile"] if compiler else []
                costs = (*(f"{clock}_seconds" for clock in clocks), "nfe_train")
                draft["cost"] |= {name: getattr(done, name) for name in costs}
                draft["cost"] |= self._peaks()
        if self.stop.is_set():
            raise Interrupted("Stopped after the last mini-batch.")

    def _write(self, event: dict[str, Any]) -> None:
        entry = {k: v for k, v in event.items() if k not in ("event", "total")}
        if self.timer:
            entry["step_cpu_seconds"] = time.process_time() - self.cpu_seconds
            entry["yardstick_cpu_seconds"] = self.timer.measure()
            self.cpu_seconds = time.process_time()
        self.curve.write(json.dumps(store.finite(entry)).encode() + b"\n")
        self.report(event)

    def _after_step(self, done: Training) -> None:
        stopped, now = self.stop.is_set(), time.monotonic()
        if now - self.look >= LOOK_EVERY:
            self.look = now
            self._check_folder()
        finished = done.minibatches == self.stream.total
        if not (stopped or finished or now >= self.due or now > self.deadline):
            return
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
            "peaks": self._peaks(),
            "curve_bytes": self.curve.tell(),
        }
        try:
            write_checkpoint(self.folder, content)
        except OSError as error:
            self._check_folder()
            note = f"No checkpoint can be written: {error}"
            if note != self.noted:  # once for each cause, as there may be thousands
                self._note(note)
            self.noted = note
        done.checkpoint_seconds += time.perf_counter() - began
        self.due = time.monotonic() + self.limits.checkpoint_every
        if stopped:
            raise Interrupted(f"Stopped after mini-batch {done.minibatches:,}.")

    def _check_folder(self) -> None:
        with suppress(OSError):  # it can't be reached now
            if not self.folder.exists():
                raise DataError(f"The folder {self.folder} was removed while the run was training.")

    def _note(self, note: str) -> None:
        self.report({"event": "note", "note": note})

    def _peaks(self) -> dict[str, int]:
        """Return peak memory in bytes over all sessions, by the names in a record's cost."""
        here = {"peak_rss_bytes": peak_rss_bytes()}
        if self.spec.device == "cuda":
            here["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
            here["peak_gpu_reserved_bytes"] = torch.cuda.max_memory_reserved()
        return {name: max(value, self.peaks.get(name, 0)) for name, value in here.items()}


class Corrupt(ValueError):
    """A file that is not a checkpoint, or is not as it was written."""


def write_checkpoint(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as the last checkpoint in the folder; the one before it is kept.

    Raises:
        OSError: it can't be written; the last one is unchanged.
    """
    buffer = io.BytesIO()
    torch.save({"format": CHECKPOINT_FORMAT, **content}, buffer)
    payload = buffer.getbuffer()
    last, before = (folder / name for name in CHECKPOINT_NAMES)
    parts = hashlib.sha256(payload).digest(), payload
    store.write_synced(last, lambda file: file.writelines(parts), before)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, its tensors on the CPU.

    Raises:
        Corrupt: it is truncated, was changed, or is no checkpoint.
        OSError: it can't be read.
    """
    raw = path.read_bytes()
    digest, payload = raw[:32], raw[32:]
    if hashlib.sha256(payload).digest() != digest:
        raise Corrupt("its content does not match its checksum")
    try:
        content: dict[str, Any] = torch.load(
            io.BytesIO(payload), weights_only=True, map_location="cpu"
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise Corrupt(str(error).partition("\n")[0]) from error
    return content


def newest_checkpoint(folder: Path, key: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the newest good checkpoint of the run with that key, or None.

    One that is corrupt or belongs to another run is renamed with the ending `.aside`; the second
    result is a sentence for each of these.
    """
    notes: list[str] = []
    for name in CHECKPOINT_NAMES:
        path = folder / name
        try:
            content = read_checkpoint(path)
            if content["key"] == key and content["format"] == CHECKPOINT_FORMAT:
                return content, notes
            problem = "it belongs to another run or another version"
        except FileNotFoundError:
            continue
        except (Corrupt, OSError, KeyError) as error:
            problem = str(error)
        os.replace(path, path.with_name(f"{name}.aside"))
        notes.append(f"Set aside the checkpoint {name}: {problem}.")
    return None, notes


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
