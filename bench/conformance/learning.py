"""How a method learns: from each mini-batch once, in all its parameters, within its budget."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from bench import paths
from bench.api.method import ContractBroken, evaluations
from bench.conformance.outcome import Broken, NotTried
from bench.conformance.subject import (
    DIMENSIONS,
    UPDATES,
    Subject,
    differing,
    finite,
    learn,
    named,
)
from bench.training.isolation import sealed
from bench.training.loop import Training, train

#: The mini-batches in which every parameter has to move at last.
PATIENCE = 60


def check_learns(subject: Subject) -> str:
    """A log with a finite loss for each mini-batch."""
    for d in DIMENSIONS:
        losses = subject.learned(d)[1]
        if not finite(losses):
            step = next(k for k, loss in enumerate(losses, 1) if not math.isfinite(loss))
            raise Broken(
                f"On rows of a Gaussian, d = {d}, the loss is {losses[step - 1]} at mini-batch "
                f"{step}.",
                "Look at the loss: a logarithm of 0, a division by 0, a learning rate too large.",
            )
    if subject.learned(2)[0].size() <= 0:
        raise Broken("size() says that nothing is fitted.", "Let it count what is fitted.")
    return f"{UPDATES} mini-batches in {' and '.join(map(str, DIMENSIONS))} dimensions"


def check_budget(subject: Subject) -> str:
    """One update for each mini-batch, by the harness's own count and that of the optimisers."""
    method, batches = subject.make(2), subject.stream(2, UPDATES)
    with _counted() as steps:

        def between(done: Training) -> None:
            most = max(steps.values(), default=0)
            if most > 1:
                raise Broken(
                    f"An optimiser made {most} steps for mini-batch {done.minibatches}.",
                    "Look at learn: the budget counts updates, and each mini-batch is worth one.",
                )
            steps.clear()

        try:
            train(method, batches, lambda m: 0.0, 1, lambda event: None, between=between)
        except ContractBroken as error:
            raise Broken(
                f"{error}.", "Look at learn: take a mini-batch, make one update, yield; again."
            ) from error
    return f"{UPDATES} mini-batches, {UPDATES} updates"


def check_evaluations(subject: Subject) -> str:
    """Training evaluates a continuous method's fields, which count it."""
    if not subject.is_continuous:
        raise NotTried("a discrete method has no velocity")
    method = subject.make(2)
    learn(method, subject.stream(2, UPDATES))
    counted = evaluations(method)
    if counted < UPDATES:
        raise Broken(
            f"{UPDATES} mini-batches took {counted} evaluations of its fields, as they count them.",
            "Call field(t, x) in learn, and neither field.forward nor the network inside: what "
            "is not counted is missing in the cost.",
        )
    return f"{counted / UPDATES:.3g} a mini-batch"


@contextmanager
def _counted() -> Iterator[Counter[int]]:
    """The steps that each optimiser makes, whichever it is."""
    steps = Counter[int]()

    def count(optimizer: Optimizer, *_: Any) -> None:
        steps[id(optimizer)] += 1

    hook = register_optimizer_step_post_hook(count)
    try:
        yield steps
    finally:
        hook.remove()


def check_parameters(subject: Subject) -> str:
    """Every trainable parameter moves, and what is frozen stays; without any, the state moves.

    A method that is trained part by part may need more mini-batches to come to all of them.
    """
    for total in (UPDATES, PATIENCE):
        method = subject.make(2)
        before = copy.deepcopy(method.state_dict())
        trained = {name for name, p in method.named_parameters() if p.requires_grad}
        frozen = {name for name, p in method.named_parameters() if not p.requires_grad}
        learn(method, subject.stream(2, total))
        moved = {*differing(before, method.state_dict())}
        if not trained - moved:
            break
    if still := sorted(trained - moved):
        raise Broken(
            f"{PATIENCE} mini-batches did not change {named(still)}: no gradient reaches there.",
            "Look whether the loss uses it, nothing detaches it, and the optimiser has it; else "
            "requires_grad_(False).",
        )
    if pushed := sorted(frozen & moved):
        raise Broken(
            f"Learning changed {named(pushed)}, which asks for no gradient.",
            "Look at what the optimiser is given; make a buffer of what is no parameter.",
        )
    if not trained and not moved:
        raise Broken("Learning changed nothing.", "Look at learn: nothing of the state moves.")
    return f"all {len(trained)} move" if trained else "none; the state moves"


def check_smallest(subject: Subject) -> str:
    """A budget of one mini-batch is one update, and is learned from."""
    method = subject.make(2)
    before = copy.deepcopy(method.state_dict())
    learn(method, subject.stream(2, 1))
    if not differing(before, method.state_dict()):
        raise Broken(
            "A budget of a single mini-batch changes nothing.",
            "Look at schedules and warm-ups: the first update has a learning rate of 0.",
        )
    return "one mini-batch is learned from"


def check_settings(subject: Subject) -> str:
    """What torch is set to for the whole process stays as it was."""
    before = _settings()
    try:
        learn(subject.make(2), subject.stream(2, 2))
        changed = [name for name, value in _settings().items() if value != before[name]]
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(before["default dtype"])
        torch.set_num_threads(before["number of threads"])
    if changed:
        raise Broken(
            f"It changed torch's {named(changed)} for the whole process.",
            "Look for torch.set_...: what is set there holds for the judge too.",
        )
    return "torch is left as it was"


def _settings() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "number of threads": torch.get_num_threads(),
        "gradient mode": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def check_test_split(subject: Subject) -> str:
    """While it learns, it opens no file of the array cache or below the data root."""
    method = subject.make(2)
    shut = sealed(paths.array_cache(), []), sealed(paths.data_root(), [])
    try:
        with shut[0], shut[1]:
            learn(method, subject.stream(2, 2))
    except ContractBroken as error:
        raise Broken(
            f"It reached for the data: {error}.",
            "The test split is the judge's alone: what a method knows comes out of its stream.",
        ) from error
    return "no data file was opened"
