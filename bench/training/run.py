"""One run from start to record: load, train, evaluate, write. `bench.launch.worker` calls it."""

from __future__ import annotations

import io
import math
import os
import platform
import threading
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.api.method import ContractBroken, Method
from bench.data import arrays
from bench.errors import BenchError, DataError, UsageError
from bench.evaluation.evaluate import evaluate
from bench.evaluation.flow import Flow, Report, reference_flow
from bench.numerics.ode import SolverFailed
from bench.paths import commit
from bench.records import store
from bench.records.model import Record
from bench.records.spec import Judge, Limits, RunSpec
from bench.registry import plugins
from bench.registry.sources import reaches
from bench.training.loop import Diverged, Interrupted, TimedOut
from bench.training.reference_timing import ReferenceTimer, arithmetic
from bench.training.session import Session, peak_rss_bytes

#: The packages whose versions every record has.
PACKAGES = ("cnf-bench", "torch", "torchdiffeq", "numpy", "scipy", "scikit-learn", "pandas")


def execute(
    spec: RunSpec,
    results: Path,
    report: Report,
    stop: threading.Event | None = None,
    limits: Limits | None = None,
    deadline: float | None = None,
) -> store.Draft:
    """Start or resume a run, and publish its record below `results`, however it ends.

    Args:
        spec: the run.
        results: the results folder.
        report: gets every step, validation and stage.
        stop: when set, the run ends after the current step: its status is `interrupted`, it has no
            record, and it resumes from there the next time.
        limits: how the run is kept; its process enforces the limits on threads and memory.
        deadline: the `time.monotonic()` at which to stop; without it, the run's time limit from
            now on.

    Returns:
        The record as it was written.
    """
    limits = limits or Limits()
    if deadline is None:
        deadline = time.monotonic() + (spec.timeout or math.inf)
    folder = store.begin(results, spec.run)
    draft = store.outline(spec)
    session = Session(
        spec=spec,
        draft=draft,
        folder=folder,
        report=report,
        limits=limits,
        stop=stop or threading.Event(),
        deadline=deadline,
        timer=ReferenceTimer() if limits.reference_timing and spec.device == "cpu" else None,
    )
    try:
        _run(session)
        draft["status"] = "ok"
    except Interrupted as error:
        return draft | {"status": "interrupted", "reason": str(error)}
    except (Diverged, SolverFailed) as error:
        draft |= {"status": "diverged", "reason": str(error)}
    except TimedOut as error:
        draft |= {"status": "timeout", "reason": str(error)}
    except (MemoryError, torch.OutOfMemoryError) as error:
        draft |= {"status": "oom", "reason": str(error) or "out of memory"}
    except Exception as error:  # a failed run is a record too
        reason = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        draft |= {"status": "error", "reason": reason}
        folder.mkdir(exist_ok=True)  # where somebody has removed it, but not the results folder
        (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    draft["finished"] = store.utc()
    store.publish(results, spec.run, draft)
    return draft


def _run(session: Session) -> None:
    """Train and evaluate; each result goes into the draft as soon as it is known."""
    spec, draft, folder = session.spec, session.draft, session.folder
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("The CUDA device is no longer available.", "See `bench doctor`.")
    for file in spec.include:
        plugins.include(file)
    plugin = plugins.methods()[spec.method]
    if plugins.version(plugin) != spec.version:
        raise UsageError(f"The source of {spec.method} changed since this run was planned.")
    if plugins.metric_versions() != dict(spec.metrics):
        raise UsageError("The plug-in metrics changed since this run was planned.", "Run it again.")
    if found := reaches(plugins.sources(plugin)):
        raise ContractBroken(f"the source of {spec.method} reaches too far: {'; '.join(found)}")
    dataset = plugins.dataset(spec.dataset)
    data = arrays.load(dataset, Path(spec.data_root))
    if data.revision != spec.revision:
        raise DataError(f"The rows of {spec.label} changed since this run was planned.")
    draft["environment"] = _environment(spec.device, plugins.packages(plugin))
    if session.timer:
        draft["environment"]["arithmetic"] = arithmetic()
    draft["dataset"] |= {
        "kind": data.source.kind,
        "note": data.source.note,
        "notes": dict(data.notes),
        "subset": data.source.kind == "subset",
        "d": dataset.d,
        "entropy": dataset.entropy,
        "rows": {split: len(getattr(data, split)) for split in ("train", "validation", "test")},
    }
    _warm_up(spec.device)
    draft["cost"]["baseline_rss_bytes"] = peak_rss_bytes()
    method = build(spec, dataset.d)
    session.learn(method, data)
    model = {  # tensors and plain numbers, so that it loads with weights_only
        "method": spec.method,
        "config": dict(spec.config),
        "d": method.d,
        "state": method.state_dict(),
    }
    store.write_synced(folder / "model.pt", lambda file: torch.save(model, file))
    measured = evaluate(method, data, spec.judge, session.report)
    draft["metrics"], draft["cost"] = measured.metrics, draft["cost"] | measured.cost
    kept: dict[str, Any] = measured.arrays()
    store.write_synced(folder / "samples.npz", lambda file: np.savez(file, **kept))


def _environment(device: str, packages: Iterable[str]) -> dict[str, Any]:
    versions: dict[str, str | None] = dict.fromkeys((*PACKAGES, *packages))
    for name in versions:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "commit": commit(),
    }


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _warm_up(device: str) -> None:
    """Make torch load what it loads at first use, so that it is no method's cost.

    An optimiser's first step imports 80 MB, in a second.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    parameter = torch.nn.Parameter(torch.ones(2, 2, device=device))
    optimizer = torch.optim.Adam([parameter])
    (parameter @ parameter).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def build(spec: RunSpec, d: int) -> Method:
    """Return a new method on its device; the seed determines all its random numbers."""
    torch.manual_seed(spec.seed)
    kind = plugins.method(spec.method)
    method: Method = kind(d, kind.Config(**spec.config)).to(spec.device)
    if spec.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return method


def load_flow(record: Record, results: Path) -> Flow:
    """Return the flow of a finished run.

    Raises:
        DataError: there is no model, or it can't be read.
        Damaged: it is not the one that the run wrote.
    """
    try:
        content = io.BytesIO(store.read_file(results / record.run, "model.pt"))
        saved = torch.load(content, weights_only=True, map_location="cpu")
        name, d, config, state = (saved[key] for key in ("method", "d", "config", "state"))
    except BenchError:
        raise
    except Exception as error:  # a damaged archive can raise anything
        raise DataError(
            f"The run {record.run} ({record.status}) has no model that can be read: {error}."
        ) from error
    try:
        kind = plugins.method(name)
    except UsageError as error:
        if not record.include:
            raise
        raise UsageError(
            f"{error.problem} It was in {', '.join(record.include)}.",
            "Use --include with that file.",
        ) from error
    try:
        method = kind(d, kind.Config(**config))
        method.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"The model of the run {record.run} does not fit {name} as it is now: "
            f"{' '.join(str(error).split()):.200}.",
            f"Its source has changed from version {record.method.version} to "
            f"{plugins.version(plugins.methods()[name])}: run it again.",
        ) from error
    settings: dict[str, Any] = record.judge
    return reference_flow(method, Judge(**settings))
