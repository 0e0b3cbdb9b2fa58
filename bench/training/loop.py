"""The training loop: drives a method's generator, counts, times, validates and stops it.

`blocked` keeps files from the method meanwhile: the test split is for the evaluation alone.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api.method import RESERVED, ContractBroken, Log, Method, compiling, evaluations
from bench.api.stream import RowsNotFinite, Stream
from bench.evaluation.flow import Flow, Report
from bench.numerics.ode import Solver, SolverFailed
from bench.records.spec import Judge
from bench.training.compiling import Compiler


class Diverged(ArithmeticError):
    """Training failed: a loss that is not finite, or a field that can no longer be solved."""


class Interrupted(Exception):
    """The run was asked to stop, and can resume from its checkpoint."""


class TimedOut(TimeoutError):
    """The run exceeded its time limit."""


@dataclass
class Training:
    """The outcome of training so far: counts, seconds, the state with the best validation NLL."""

    minibatches: int = 0
    samples_seen: int = 0
    train_seconds: float = 0.0
    train_cpu_seconds: float = 0.0
    compile_seconds: float = 0.0
    validation_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    nfe_train: int = 0
    last_loss: float = math.nan
    best_step: int = 0
    best_validation_nll: float = math.inf
    best_state: dict[str, Any] = field(default_factory=dict)


def validator(rows: Tensor, judge: Judge) -> Callable[[Method], float]:
    """Return a function that gives a method's NLL on validation rows, in nats per row.

    The reference solver integrates at the validation tolerance. The NLL of a model that can't be
    solved is infinite.
    """
    solver = Solver(judge.solver, judge.validation_tol, judge.validation_tol, judge.max_num_steps)

    def validate(method: Method) -> float:
        try:
            log_prob = Flow(method, solver, torch.float32, judge.rows_at_once).log_prob(rows)
        except SolverFailed:
            return math.inf
        nll = -log_prob.double().mean().item()
        return nll if math.isfinite(nll) else math.inf

    return validate


def train(
    method: Method,
    stream: Stream,
    validate: Callable[[Method], float],
    validations: int,
    report: Report,
    deadline: float = math.inf,
    done: Training | None = None,
    after_step: Callable[[Training], None] = lambda done: None,
    compiler: Compiler | None = None,
) -> Training:
    """Train `method` until the stream ends, then load the state that was best on validation.

    States before the method's first candidate are validated, for the curve, but not chosen. The
    seconds of training are those in the method's generator, the device synchronised at both ends;
    the CPU seconds those of all threads of this process meanwhile. Compiling is not part of them.

    Args:
        method: a method on its device.
        stream: its mini-batches; the first is the first one that it has not seen.
        validate: returns the validation NLL.
        validations: how many validations to make, evenly spaced, the last after the last step.
        report: gets an event for every step.
        deadline: the `time.monotonic()` at which to stop.
        done: updated in place, so that the caller has it when training fails; of a run that
            resumes, as it was after the last mini-batch before `stream`.
        after_step: is called after every step, and may raise.
        compiler: what compiles the method's functions, if they are compiled.

    Raises:
        Diverged: a loss that is not finite, a failed solve, or no state that can be scored.
        TimedOut: the deadline passed.
        ContractBroken: the method did not make one update per mini-batch.
    """
    done = done or Training()
    done.minibatches = stream.dealt
    due = {math.ceil(stream.total * (k + 1) / validations) for k in range(validations)}
    first = method.config.first_candidate(stream.total)
    restored = stream.restored
    restored.count = functools.partial(evaluations, method)
    generator = method.learn(stream)
    counted = evaluations(method)
    while True:
        if compiler:
            compiler.step()
        step, (start, cpu_start, compiled) = done.minibatches + 1, _clocks(stream, compiler)
        with compiling(compiler):
            log = _advance(generator, step)
        end, cpu_end, compiled_end = _clocks(stream, compiler)
        done.train_seconds += end - start
        done.train_cpu_seconds += cpu_end - cpu_start
        done.compile_seconds += compiled_end - compiled
        before, counted = counted, evaluations(method) - restored.evaluations
        done.nfe_train += counted - before
        if log is None:
            break
        if stream.dealt != step:
            raise ContractBroken(
                f"{type(method).__name__} took {stream.dealt} mini-batches for {step} updates; "
                "it must yield once per update"
            )
        if "loss" not in log:
            raise ContractBroken(f"{type(method).__name__} yielded a log without a loss")
        if taken := RESERVED.intersection(log):
            raise ContractBroken(
                f"{type(method).__name__} logged {min(taken)!r}, a name that the harness uses"
            )
        done.minibatches, done.samples_seen = step, step * stream.batch_size
        values = {name: float(value) for name, value in log.items()}
        done.last_loss = values["loss"]
        if not math.isfinite(done.last_loss):
            raise Diverged(f"the loss is {done.last_loss} at mini-batch {step}")
        entry = {"minibatch": step, "seconds": done.train_seconds, **values}
        if step in due:
            start = time.perf_counter()
            nll = entry["validation_nll"] = validate(method)
            done.validation_seconds += time.perf_counter() - start
            if step >= first and nll < done.best_validation_nll:
                done.best_validation_nll, done.best_step = nll, step
                done.best_state = copy.deepcopy(method.state_dict())
        report({"event": "step", "total": stream.total, **entry})
        after_step(done)
        if time.monotonic() > deadline:
            raise TimedOut(f"exceeded the time limit at mini-batch {step} of {stream.total}")
    if done.minibatches != stream.total:
        raise ContractBroken(
            f"{type(method).__name__} stopped after {done.minibatches} of {stream.total} "
            "mini-batches; it must use its whole budget"
        )
    if not done.best_state:
        raise Diverged("no validated state has a density that can be solved for")
    method.load_state_dict(done.best_state)
    return done


def _advance(generator: Iterator[Log], step: int) -> Log | None:
    """Return the log of the next update, None at the end; failed solves become `Diverged`."""
    try:
        return next(generator, None)
    except (SolverFailed, RowsNotFinite) as error:
        raise Diverged(f"at mini-batch {step}: {error}") from error


def _clocks(stream: Stream, compiler: Compiler | None) -> tuple[float, float, float]:
    """The seconds and the CPU seconds of training, and the seconds of compiling, from any zero."""
    if stream.device.type == "cuda":
        torch.cuda.synchronize(stream.device)
    wall = time.perf_counter() - stream.restored.seconds
    cpu = time.process_time() - stream.restored.cpu_seconds
    if compiler is None:
        return wall, cpu, 0.0
    return wall - compiler.seconds, cpu - compiler.cpu_seconds, compiler.seconds


#: What is blocked now: files, and folders with a separator at their ends.
_closed: tuple[str, ...] = ()
#: Blocked paths that something tried to open within the innermost `blocked`.
_tried: list[str] = []
_hooked = False


@contextmanager
def blocked(folder: Path, files: Sequence[Path]) -> Iterator[None]:
    """Block `files` and all files below `folder`: opening one raises, from any Python code.

    Rows that were mapped before stay readable, as mini-batches open no file. An audit hook can't be
    removed, so there is one per process, idle while nothing is blocked.

    Raises:
        ContractBroken: a file was opened, at once; again at the end, if that was caught.
    """
    global _closed, _hooked
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked = True
    before = _closed
    _closed = (
        *before,
        os.path.join(os.path.realpath(folder), ""),
        *(os.path.realpath(file) for file in files),
    )
    _tried.clear()
    try:
        yield
    finally:
        _closed = before
    if _tried:
        raise ContractBroken(_message(_tried[0]))


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _closed or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = os.path.realpath(os.fsdecode(arguments[0]))
    if any(path == each or (each.endswith(os.sep) and path.startswith(each)) for each in _closed):
        _tried.append(path)
        raise ContractBroken(_message(path))


def _message(path: str) -> str:
    return f"the method opened {path} while training; it must learn from its mini-batches alone"
