"""One run: load, learn, judge, record. `bench.worker` makes it, in a process of its own."""

from __future__ import annotations

import datetime
import json
import os
import pickle
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import environment, paths, plugins, record
from bench.data import arrays
from bench.data.arrays import Loaded
from bench.errors import BenchError, DataError, UsageError
from bench.flow import Flow
from bench.judging import judge_method, pick, reference_solver
from bench.method import Method
from bench.numerics.ode import SolverFailed
from bench.reach import reaches
from bench.seal import sealed
from bench.spec import Judge, RunSpec
from bench.stream import Stream
from bench.training import ContractBroken, Diverged, Report, TimedOut, Training, train, validator


def execute(spec: RunSpec, results: Path, report: Report) -> record.Record:
    """Run `spec` and publish its record below `results`, however it ends."""
    folder = record.part(results, spec.run)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    content = outline(spec)
    try:
        _fill(content, spec, folder, report)
        content["status"] = "ok"
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
    content["finished"] = _utc()
    record.publish(results, spec.run, content)
    return content


def outline(spec: RunSpec) -> record.Record:
    """The record of a run that has not begun: what was asked for."""
    return {
        "format": record.FORMAT,
        "run": spec.run,
        "key": spec.key,
        "status": "error",
        "reason": None,
        "method": {
            "name": spec.method,
            "version": spec.version,
            "preset": spec.preset,
            "settings": dict(spec.settings),
            "config": dict(spec.config),
        },
        "dataset": {"name": spec.label, "revision": spec.revision},
        "budget": {
            "name": spec.budget,
            "minibatches": spec.minibatches,
            "batch_size": spec.batch_size,
        },
        "seed": spec.seed,
        "judge": asdict(spec.judge),
        "training": {},
        "metrics": {},
        "cost": {},
        "environment": {"device": spec.device},
        "started": _utc(),
    }


def _fill(content: record.Record, spec: RunSpec, folder: Path, report: Report) -> None:
    """Run, and put what came out into the record as it comes."""
    deadline = time.monotonic() + spec.timeout if spec.timeout else float("inf")
    if plugins.version(plugins.methods()[spec.method]) != spec.version:
        raise UsageError(f"The source of {spec.method} changed since this run was planned.")
    if found := reaches(plugins.sources(plugins.methods()[spec.method])):
        raise ContractBroken(f"the source of {spec.method} reaches too far: {'; '.join(found)}")
    dataset = plugins.dataset(spec.dataset)
    data = arrays.load(dataset, Path(spec.data_root))
    if data.revision != spec.revision:
        raise DataError(f"The rows of {spec.label} changed since this run was planned.")
    content["environment"] = environment.describe(spec.device)
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
    _learn(content, method, data, spec, folder / "curve.jsonl", report, deadline)
    if spec.device == "cuda":
        content["cost"] |= {
            "peak_gpu_bytes": torch.cuda.max_memory_allocated(),
            "peak_gpu_reserved_bytes": torch.cuda.max_memory_reserved(),
        }
    _save_model(folder / "model.pt", spec, method)
    verdict = judge_method(method, data, spec.judge, report)
    content["metrics"], content["cost"] = verdict.metrics, content["cost"] | verdict.cost
    arrays_of: dict[str, Any] = verdict.arrays()
    _save(folder / "samples.npz", lambda file: np.savez(file, **arrays_of))


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


def _learn(
    content: record.Record,
    method: Method,
    data: Loaded,
    spec: RunSpec,
    curve: Path,
    report: Report,
    deadline: float,
) -> None:
    """Train; what came of it goes into the record, also where it fails half-way."""
    judge, done = spec.judge, Training()
    start = time.perf_counter()
    method.affine.fit(data.train)
    done.train_seconds += time.perf_counter() - start
    stream = Stream(
        data.train,
        spec.batch_size,
        spec.minibatches,
        spec.seed,
        spec.device,
        first=method.affine,
    )
    rows = torch.from_numpy(np.array(pick(data.validation, judge.validation_rows, judge.seed)))
    with open(curve, "w", encoding="utf-8") as file:

        def keep(event: dict[str, Any]) -> None:
            entry = {k: v for k, v in event.items() if k not in ("event", "total")}
            file.write(json.dumps(record.finite(entry)) + "\n")
            report(event)

        try:
            with sealed(paths.array_cache(), _files(spec)):
                train(
                    method, stream, validator(rows, judge), judge.validations, keep, deadline, done
                )
        finally:
            content["method"]["params"] = method.size() + method.affine.size()
            content["training"] = {
                "minibatches": done.minibatches,
                "samples_seen": done.samples_seen,
                "best_step": done.best_step,
                "best_validation_nll": done.best_validation_nll,
                "last_loss": done.last_loss,
            }
            content["cost"] |= {
                "train_seconds": done.train_seconds,
                "validation_seconds": done.validation_seconds,
                "nfe_train": done.nfe_train,
                "peak_rss_bytes": environment.peak_rss_bytes(),
            }


def _files(spec: RunSpec) -> list[Path]:
    """The files that the data set can be read from."""
    sources = plugins.dataset(spec.dataset).sources
    return [Path(spec.data_root) / name for source in sources for name in source.files]


def _save_model(path: Path, spec: RunSpec, method: Method) -> None:
    """What `bench.load` needs; plain tensors and numbers, so that it loads with weights_only."""
    content = {
        "method": spec.method,
        "config": dict(spec.config),
        "d": method.d,
        "state": method.state_dict(),
    }
    _save(path, lambda file: torch.save(content, file))


def load_flow(content: record.Record, results: Path) -> Flow:
    """The flow that a finished run has learned.

    Raises:
        DataError: there is no model, or it can't be read.
    """
    path = results / content["run"] / "model.pt"
    try:
        saved = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise DataError(
            f"The run {content['run']} ({content['status']}) has no model that can be read: "
            f"{path}: {error}."
        ) from error
    kind = plugins.method(saved["method"])
    method = kind(saved["d"], kind.Config(**saved["config"]))
    method.load_state_dict(saved["state"])
    judge = Judge(**content["judge"])
    return Flow(method, reference_solver(judge), getattr(torch, judge.dtype), judge.rows_at_once)


def _save(path: Path, write: Callable[[Any], None]) -> None:
    with open(path, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _failed(content: record.Record, status: str, reason: str) -> None:
    content["status"], content["reason"] = status, reason


def _utc() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
