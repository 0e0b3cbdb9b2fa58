"""The training loop: drives a method's generator, counts, times, validates and stops it."""

from __future__ import annotations

import copy
import functools
import math
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.api.method import ContractBroken, Log, Method, evaluations
from bench.api.stream import RowsNotFinite, Stream
from bench.evaluation.flow import Flow, Report
from bench.numerics.ode import Solver, SolverFailed, failure
from bench.records.spec import Judge


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
) -> Training:
    """Train `method` until the stream ends, then load the state that was best on validation.

    States before the method's first candidate are validated, for the curve, but not chosen. The
    seconds of training are those in the method's generator, the device synchronised at both ends.

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

    Raises:
        Diverged: a loss that is not finite, a failed solve, or no state that can be scored.
        TimedOut: the deadline passed.
        ContractBroken: the method did not make one update per mini-batch.
    """
    done = done if done is not None else Training()
    done.minibatches = stream.dealt
    due = {math.ceil(stream.total * (k + 1) / validations) for k in range(validations)}
    first = method.config.first_candidate(stream.total)
    restored = stream.restored
    restored.count = functools.partial(evaluations, method)
    generator = method.learn(stream)
    counted = evaluations(method)
    while True:
        step, start = done.minibatches + 1, _now(stream) - restored.seconds
        log = _advance(generator, step)
        done.train_seconds += _now(stream) - restored.seconds - start
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
        done.minibatches, done.samples_seen = step, step * stream.batch_size
        values = {name: float(value) for name, value in log.items()}
        done.last_loss = values["loss"]
        if not math.isfinite(done.last_loss):
            raise Diverged(f"the loss is {done.last_loss} at mini-batch {step}")
        entry = {"minibatch": step, "seconds": done.train_seconds, **values}
        if step in due:
            entry["validation_nll"] = _validate(method, validate, done, step >= first)
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
    except AssertionError as error:
        # torchdiffeq asserts inside backward() of the adjoint, out of the solver's reach
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if "torchdiffeq" not in frame.f_globals.get("__name__", ""):
            raise
        raise Diverged(f"at mini-batch {step}, backward: {failure(error)}") from error


def _validate(
    method: Method, validate: Callable[[Method], float], done: Training, candidate: bool
) -> float:
    start = time.perf_counter()
    nll = validate(method)
    done.validation_seconds += time.perf_counter() - start
    if candidate and nll < done.best_validation_nll:
        done.best_validation_nll, done.best_step = nll, done.minibatches
        done.best_state = copy.deepcopy(method.state_dict())
    return nll


def _now(stream: Stream) -> float:
    if stream.device.type == "cuda":
        torch.cuda.synchronize(stream.device)
    return time.perf_counter()
