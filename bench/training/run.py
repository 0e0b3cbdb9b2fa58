"""One run: load, learn, judge, record. `bench.launch.worker` makes it, in a process of its own."""

from __future__ import annotations

import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.api.method import ContractBroken, Method
from bench.data import arrays
from bench.errors import BenchError, DataError, UsageError
from bench.evaluation.evaluate import evaluate
from bench.evaluation.flow import Flow
from bench.evaluation.protocol import Report, reference_flow
from bench.numerics.ode import SolverFailed
from bench.records import store
from bench.records.model import Record
from bench.records.spec import Judge, RunSpec
from bench.registry import plugins
from bench.registry.sources import reaches
from bench.training import environment
from bench.training.loop import Diverged, Interrupted, TimedOut
from bench.training.reference_timing import Yardstick, arithmetic
from bench.training.session import Control, learn


def execute(
    spec: RunSpec,
    results: Path,
    report: Report,
    stop: threading.Event | None = None,
    every: float = 60.0,
    yardstick: bool = False,
) -> store.Draft:
    """Run `spec`, or go on with it, and publish its record below `results`, however it ends.

    Args:
        spec: the run.
        results: the results folder.
        report: is told of every step, validation and stage.
        stop: when set, the run is left after the step in hand: its status is `interrupted`, it has
            no record, and goes on where it stopped when it is made again.
        every: seconds between two checkpoints.
        yardstick: whether each step is measured by `reference_timing` beside its seconds.
    """
    folder = store.begin(results, spec.run)
    content = store.outline(spec)
    control = Control(
        stop or threading.Event(),
        every,
        time.monotonic() + spec.timeout if spec.timeout else float("inf"),
        Yardstick() if yardstick and spec.device == "cpu" else None,
    )
    try:
        _fill(content, spec, folder, report, control)
        content["status"] = "ok"
    except Interrupted as error:
        return content | {"status": "interrupted", "reason": str(error)}
    except (Diverged, SolverFailed) as error:
        _failed(content, "diverged", str(error))
    except TimedOut as error:
        _failed(content, "timeout", str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        _failed(content, "oom", str(error) or "out of memory")
    except Exception as error:  # a failed run is a record too
        reason = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        _failed(content, "error", reason)
        (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    content["finished"] = store.utc()
    store.publish(results, spec.run, content)
    return content


def _fill(
    content: store.Draft, spec: RunSpec, folder: Path, report: Report, control: Control
) -> None:
    """Run, and put what came out into the record as it comes."""
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("There is no CUDA device any more.", "See `bench doctor`.")
    for file in spec.include:
        plugins.include(file)
    if plugins.version(plugins.methods()[spec.method]) != spec.version:
        raise UsageError(f"The source of {spec.method} changed since this run was planned.")
    if plugins.metric_versions() != dict(spec.metrics):
        raise UsageError("The plug-in metrics changed since this run was planned.", "Run it again.")
    if found := reaches(plugins.sources(plugins.methods()[spec.method])):
        raise ContractBroken(f"the source of {spec.method} reaches too far: {'; '.join(found)}")
    dataset = plugins.dataset(spec.dataset)
    data = arrays.load(dataset, Path(spec.data_root))
    if data.revision != spec.revision:
        raise DataError(f"The rows of {spec.label} changed since this run was planned.")
    extra = plugins.packages(plugins.methods()[spec.method])
    content["environment"] = environment.describe(spec.device, extra)
    if control.yardstick:
        content["environment"]["arithmetic"] = arithmetic()
    content["dataset"] |= {
        "kind": data.kind,
        "note": data.note,
        "notes": dict(data.notes),
        "subset": data.subset,
        "d": dataset.d,
        "entropy": dataset.entropy,
        "rows": {split: len(getattr(data, split)) for split in ("train", "validation", "test")},
    }
    _warm_up(spec.device)
    content["cost"]["baseline_rss_bytes"] = environment.peak_rss_bytes()
    method = build(spec, dataset.d)
    learn(content, method, data, spec, folder, report, control)
    _save_model(folder / "model.pt", spec, method)
    measured = evaluate(method, data, spec.judge, report)
    content["metrics"], content["cost"] = measured.metrics, content["cost"] | measured.cost
    kept: dict[str, Any] = measured.arrays()
    _save(folder / "samples.npz", lambda file: np.savez(file, **kept))


def _warm_up(device: str) -> None:
    """Have torch load what it loads at first use, so that no method pays for it.

    An optimiser's first step imports 80 MB, in a second.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    parameter = torch.nn.Parameter(torch.ones(2, 2, device=device))
    optimizer = torch.optim.Adam([parameter])
    (parameter @ parameter).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def build(spec: RunSpec, d: int) -> Method:
    """A fresh method on its device; the seed determines its parameters and all that it draws."""
    torch.manual_seed(spec.seed)
    kind = plugins.method(spec.method)
    method: Method = kind(d, kind.Config(**spec.config)).to(spec.device)
    if spec.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return method


def _save_model(path: Path, spec: RunSpec, method: Method) -> None:
    """What `bench.load` needs; plain tensors and numbers, so that it loads with weights_only."""
    content = {
        "method": spec.method,
        "config": dict(spec.config),
        "d": method.d,
        "state": method.state_dict(),
    }
    _save(path, lambda file: torch.save(content, file))


def load_flow(record: Record, results: Path) -> Flow:
    """The flow that a finished run has learned.

    Raises:
        DataError: there is no model, or it can't be read.
    """
    path = results / record.run / "model.pt"
    try:
        saved = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise DataError(
            f"The run {record.run} ({record.status}) has no model that can be read: "
            f"{path}: {error}."
        ) from error
    try:
        kind = plugins.method(saved["method"])
    except UsageError as error:
        files = record.include
        if not files:
            raise
        raise UsageError(
            f"{error.problem} The run {record.run} had included {', '.join(files)}.",
            "Name the file with --include.",
        ) from error
    try:
        method = kind(saved["d"], kind.Config(**saved["config"]))
        method.load_state_dict(saved["state"])
    except (RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"The model of the run {record.run} does not fit {saved['method']} as it is now: "
            f"{' '.join(str(error).split()):.200}.",
            f"Its source has changed since (then version {record.method.version}, now "
            f"{plugins.version(plugins.methods()[saved['method']])}): run that cell again.",
        ) from error
    settings: dict[str, Any] = record.judge
    return reference_flow(method, Judge(**settings))


def _save(path: Path, write: Callable[[Any], None]) -> None:
    with open(path, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _failed(content: store.Draft, status: str, reason: str) -> None:
    content["status"], content["reason"] = status, reason
