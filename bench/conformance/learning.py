"""Checks of a method's class and source, of how it learns, and of whether a run can be repeated."""

from __future__ import annotations

import copy
import inspect
import io
import math
import pickle
import typing
from collections import Counter
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from bench import paths
from bench.api.method import Continuous, ContractBroken, Discrete, Method, Options, evaluations
from bench.api.stream import Stream
from bench.conformance.subject import (
    BATCH,
    DIMENSIONS,
    UPDATES,
    Broken,
    NotTried,
    Subject,
    differing,
    learn,
    named,
    rows,
)
from bench.errors import UsageError
from bench.numerics.ode import SolverFailed
from bench.registry.plugins import look
from bench.registry.sources import reaches
from bench.training.loop import Diverged, Training, blocked, train

Between = Callable[[Training], None]

#: The mini-batches by which every parameter must have moved.
PATIENCE = 60
#: The mini-batches of a run that is stopped after each but the last.
STOPPED = 4


def check_class(subject: Subject) -> str:
    """A `Continuous` or a `Discrete` with nothing left abstract, and a frozen `Config`."""
    kind, name = subject.kind, subject.kind.__name__
    if issubclass(kind, Continuous) == issubclass(kind, Discrete):
        raise Broken("base-class", name=name)
    if inspect.isabstract(kind):
        raise Broken("abstract", name=name, missing=", ".join(sorted(kind.__abstractmethods__)))
    config = getattr(kind, "Config", None)
    if not (isinstance(config, type) and issubclass(config, Options) and is_dataclass(config)):
        raise Broken("config-class", name=name)
    if not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise Broken("config-not-frozen", name=config.__name__)
    try:
        typing.get_type_hints(config)
    except NameError as error:
        raise Broken("config-type", name=config.__name__, error=error) from error
    for option in fields(config):
        where = f"{config.__name__}.{option.name}"
        if not str(option.metadata.get("doc", "")).strip():
            raise Broken("option-undocumented", option=where, field=option.name)
        if option.default is MISSING:
            raise Broken("option-default", option=where, field=option.name)
        if not isinstance(option.default, bool | int | float | str | None):
            raise Broken("option-type", option=where, kind=type(option.default).__name__)
    family = "continuous" if subject.is_continuous else "discrete"
    return f"{family}, {len(fields(config))} hyper-parameters"


def check_source(subject: Subject) -> str:
    """It imports no clock, files, data or metric, and its `LOOK` can be read."""
    try:
        look(subject.name)
    except UsageError as error:
        raise Broken("wrong-look", problem=error.problem, remedy=error.remedy) from error
    if not subject.files:
        raise NotTried("no-source")
    if found := reaches(subject.files):
        raise Broken("forbidden-import", found="; ".join(found))
    return f"{len(subject.files)} files read" if subject.files[1:] else "1 file read"


def check_learns(subject: Subject) -> str:
    """A log with a finite loss for each mini-batch."""
    for d in DIMENSIONS:
        for step, loss in enumerate(subject.learned(d)[1], 1):
            if not math.isfinite(loss):
                raise Broken("loss-not-finite", d=d, loss=loss, step=step)
    if subject.learned(2)[0].size() <= 0:
        raise Broken("nothing-fitted")
    return f"{UPDATES} mini-batches in {' and '.join(map(str, DIMENSIONS))} dimensions"


def check_budget(subject: Subject) -> str:
    """One update for each mini-batch, by the harness's count and by that of the optimisers."""
    method, batches = subject.make(2), subject.stream(2, UPDATES)
    steps = Counter[int]()

    def count(optimizer: Optimizer, *_: Any) -> None:
        steps[id(optimizer)] += 1

    def between(done: Training) -> None:
        most = max(steps.values(), default=0)
        if most > 1:
            raise Broken("several-updates", most=most, step=done.minibatches)
        steps.clear()

    hook = register_optimizer_step_post_hook(count)
    try:
        train(method, batches, lambda m: 0.0, 1, lambda event: None, after_step=between)
    except ContractBroken as error:
        raise Broken("wrong-count", error=error) from error
    finally:
        hook.remove()
    return f"{UPDATES} mini-batches, {UPDATES} updates"


def check_smallest(subject: Subject) -> str:
    """A budget of one mini-batch is one update, and changes the method."""
    if not _moved(subject, 1):
        raise Broken("one-batch-lost")
    return "one mini-batch changes it"


def check_parameters(subject: Subject) -> str:
    """Every trainable parameter moves, and frozen ones do not; without any, the state moves.

    A method that is trained part by part may need more mini-batches to reach all of them.
    """
    parameters = dict(subject.make(2).named_parameters())
    trained = {name for name, parameter in parameters.items() if parameter.requires_grad}
    moved = _moved(subject, UPDATES)
    if trained - moved:
        moved = _moved(subject, PATIENCE)
    if still := sorted(trained - moved):
        raise Broken("parameter-still", total=PATIENCE, names=named(still))
    if pushed := sorted(moved & parameters.keys() - trained):
        raise Broken("frozen-moved", names=named(pushed))
    if not trained and not moved:
        raise Broken("nothing-learned")
    return f"all {len(trained)} move" if trained else "none; the state moves"


def _moved(subject: Subject, total: int) -> set[str]:
    """The names in the state that `total` mini-batches change."""
    method = subject.make(2)
    before = copy.deepcopy(method.state_dict())
    learn(method, subject.stream(2, total))
    return {*differing(before, method.state_dict())}


def check_evaluations(subject: Subject) -> str:
    """Training evaluates a continuous method's fields through their counter."""
    if not subject.is_continuous:
        raise NotTried("discrete")
    method = subject.make(2)
    learn(method, subject.stream(2, UPDATES))
    counted = evaluations(method)
    if counted < UPDATES:
        raise Broken("not-counted", counted=counted, total=UPDATES)
    return f"{counted / UPDATES:.3g} per mini-batch"


def check_settings(subject: Subject) -> str:
    """The process-wide settings of torch stay as they were."""
    settings: dict[str, Callable[[], Any]] = {
        "default dtype": torch.get_default_dtype,
        "number of threads": torch.get_num_threads,
        "gradient mode": torch.is_grad_enabled,
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    }
    before = {name: setting() for name, setting in settings.items()}
    try:
        learn(subject.make(2), subject.stream(2, 2))
        changed = [name for name, setting in settings.items() if setting() != before[name]]
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(before["default dtype"])
        torch.set_num_threads(before["number of threads"])
    if changed:
        raise Broken("global-setting", names=named(changed))
    return "torch's settings are unchanged"


def check_test_split(subject: Subject) -> str:
    """While it learns, it opens no file of the array cache or below the data root."""
    method = subject.make(2)
    try:
        with blocked(paths.array_cache(), []), blocked(paths.data_root(), []):
            learn(method, subject.stream(2, 2))
    except ContractBroken as error:
        raise Broken("opened-data", error=error) from error
    return "no data file was opened"


def check_seed(subject: Subject) -> str:
    """The same seed gives the same bits: parameters, losses, what was learned."""
    for d in DIMENSIONS:
        learned, losses = subject.learned(d)
        made, again = subject.make(d), subject.make(d)
        if names := differing(made.state_dict(), again.state_dict()):
            raise Broken("made-differently", d=d, names=named(names))
        same_losses = learn(again, subject.stream(d, UPDATES)) == losses
        names = differing(learned.state_dict(), again.state_dict())
        if names or not same_losses:
            raise Broken("not-seeded", d=d, names=named(names) if names else "their losses")
    return "the same seed gives the same bits"


def check_other_seed(subject: Subject) -> str:
    """Another seed gives another run, where the method draws anything at all."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = subject.make(2, seed=0)
    one_losses = learn(one, subject.stream(2, UPDATES))
    drew = not torch.equal(before, torch.get_rng_state())
    other = subject.make(2, seed=1)
    other_losses = learn(other, subject.stream(2, UPDATES))
    if one_losses != other_losses or differing(one.state_dict(), other.state_dict()):
        return "another seed gives another run"
    if not drew:
        raise NotTried("deterministic")
    raise Broken("seed-ignored")


def check_resume(subject: Subject) -> str:
    """Stopped after any step and resumed from a file, it ends with the same bits."""
    method, batches = subject.make(2), subject.stream(2, STOPPED)
    checkpoints = []
    for _ in method.learn(batches):
        content: dict[str, Any] = {"state": method.state_dict(), "progress": method.progress()}
        content |= {"random": torch.get_rng_state(), "stream": (batches.dealt, batches.pushes)}
        torch.save(content, file := io.BytesIO())
        checkpoints.append(io.BytesIO(file.getvalue()))
    for step, checkpoint in enumerate(checkpoints[:-1], 1):
        other = subject.make(2, seed=99)
        try:
            kept = torch.load(checkpoint, weights_only=True, map_location="cpu")
            other.load_state_dict(kept["state"])
            other.resume(kept["progress"])
        except pickle.UnpicklingError as error:
            said = str(error).partition(".")[0].splitlines()[0]
            raise Broken("checkpoint-unsafe", error=said) from error
        except (RuntimeError, KeyError, ValueError) as error:
            said = " ".join(str(error).split())
            raise Broken("resume-failed", step=step, error=said) from error
        torch.set_rng_state(kept["random"])
        learn(other, subject.stream(2, STOPPED, *kept["stream"]))
        if names := differing(method.state_dict(), other.state_dict()):
            raise Broken("resumed-differs", step=step, total=STOPPED, names=named(names))
    return f"stopped after each of {STOPPED - 1} mini-batches, the same bits"


def check_nan(subject: Subject) -> str:
    """NaN in a mini-batch, or in the parameters, ends the run as diverged."""
    broken = rows(2).copy()
    broken[:, 1] = math.nan
    ended = _end(subject.make(2), Stream(broken, BATCH, UPDATES, 0, subject.device))
    if ended is None:
        raise Broken("nan-rows-swallowed")
    method = subject.make(2)
    if not any(p.requires_grad for p in method.parameters()):
        return f"rows of NaN: {ended}; it has no parameters"

    def poison(done: Training) -> None:
        for parameter in method.parameters() if done.minibatches == 2 else ():
            if parameter.requires_grad:
                torch.nn.init.constant_(parameter, math.nan)

    ended = _end(method, subject.stream(2, UPDATES), poison)
    if ended is None:
        raise Broken("nan-hidden")
    return f"parameters of NaN: {ended}"


def _end(method: Method, batches: Stream, between: Between = lambda done: None) -> str | None:
    """How training ends; None where it goes on as if nothing had happened."""
    try:
        with np.errstate(all="ignore"):
            train(method, batches, lambda m: 0.0, 1, lambda event: None, after_step=between)
    except (Diverged, SolverFailed) as error:
        return str(error)
    except ContractBroken:
        return None
    except Exception as error:  # not hidden, whatever its class
        return f"an error, {type(error).__name__}"
    return None
