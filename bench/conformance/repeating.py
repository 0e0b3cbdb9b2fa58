"""Whether a run can be made again: the same seed, a stop half-way, a number that is none."""

from __future__ import annotations

import io
import math
import pickle

import numpy as np
import torch

from bench.api.method import ContractBroken, Method
from bench.api.stream import Stream
from bench.conformance.outcome import Broken, NotTried
from bench.conformance.subject import (
    BATCH,
    DIMENSIONS,
    UPDATES,
    Subject,
    differing,
    learn,
    named,
    rows,
)
from bench.numerics.ode import SolverFailed
from bench.training.loop import Diverged, Training, train

#: The mini-batches of a run that is stopped after each but the last.
STOPPED = 4


def check_seed(subject: Subject) -> str:
    """The same seed gives the same bits: parameters, losses, what was learned."""
    remedy = "Draw from torch's global generator alone; numpy's and Python's are not seeded."
    for d in DIMENSIONS:
        learned, losses = subject.learned(d)
        made, again = subject.make(d), subject.make(d)
        if names := differing(made.state_dict(), again.state_dict()):
            raise Broken(f"Made twice with seed 0, d = {d}, it differs in {named(names)}.", remedy)
        same_losses = learn(again, subject.stream(d, UPDATES)) == losses
        names = differing(learned.state_dict(), again.state_dict())
        if names or not same_losses:
            what = named(names) if names else "their losses"
            raise Broken(f"Two runs with seed 0, d = {d}, differ in {what}.", remedy)
    return "the same seed gives the same bits"


def check_other_seed(subject: Subject) -> str:
    """Another seed is another run, where the method draws anything at all."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = subject.make(2, seed=0)
    one_losses = learn(one, subject.stream(2, UPDATES))
    drew = not torch.equal(before, torch.get_rng_state())
    other = subject.make(2, seed=1)
    other_losses = learn(other, subject.stream(2, UPDATES))
    if one_losses != other_losses or differing(one.state_dict(), other.state_dict()):
        return "another seed is another run"
    if not drew:
        raise NotTried("it draws no random number")
    raise Broken(
        "Seeds 0 and 1 give the same run, although it draws random numbers.",
        "Look for torch.manual_seed or a generator of its own: the seed is the harness's.",
    )


def check_resume(subject: Subject) -> str:
    """Stopped after any step and continued from a file, it ends with the same bits."""
    method, batches = subject.make(2), subject.stream(2, STOPPED)
    checkpoints = [_checkpoint(method, batches) for _ in method.learn(batches)]
    for k, checkpoint in enumerate(checkpoints[:-1], 1):
        other = subject.make(2, seed=99)
        _continue(subject, other, checkpoint, k)
        if names := differing(method.state_dict(), other.state_dict()):
            raise Broken(
                f"Stopped after mini-batch {k} of {STOPPED} and continued, it ends otherwise: "
                f"{named(names)} differ.",
                "Look for what learning needs and neither state_dict nor progress() holds: an "
                "attribute, a local variable of learn, an optimiser that is not self.optimizer.",
            )
    return f"stopped after each of {STOPPED - 1} mini-batches, the same bits"


def _checkpoint(method: Method, batches: Stream) -> bytes:
    """What the harness keeps of a run under way."""
    content = {
        "state": method.state_dict(),
        "progress": method.progress(),
        "random": torch.get_rng_state(),
        "dealt": batches.dealt,
        "pushes": batches.pushes,
    }
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _continue(subject: Subject, method: Method, checkpoint: bytes, k: int) -> None:
    """Have a fresh method learn the rest."""
    try:
        kept = torch.load(io.BytesIO(checkpoint), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise Broken(
            "A checkpoint of it can't be read safely: "
            f"{str(error).partition('.')[0].splitlines()[0]}.",
            "Let progress() hold tensors, numbers, text, lists and dicts and nothing else.",
        ) from error
    try:
        method.load_state_dict(kept["state"])
        method.resume(kept["progress"])
    except (RuntimeError, KeyError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise Broken(
            f"A fresh method can't take up the state after mini-batch {k}: {problem:.200}.",
            "Look at progress and resume: what grows while it learns has to be made anew there.",
        ) from error
    torch.set_rng_state(kept["random"])
    learn(method, subject.stream(2, STOPPED, kept["dealt"], kept["pushes"]))


def check_nan(subject: Subject) -> str:
    """NaN in a mini-batch, or in the parameters, ends the run as diverged."""
    broken = rows(2).copy()
    broken[:, 1] = math.nan
    ended = _train(subject, Stream(broken, BATCH, UPDATES, 0, subject.device), poison=False)
    if ended is None:
        raise Broken(
            "Mini-batches that are NaN did not end the run.",
            "Look for an except around the stream: what it raises is the harness's to catch.",
        )
    if not any(p.requires_grad for p in subject.make(2).parameters()):
        return f"rows that are NaN: {ended}; it has no parameters"
    ended = _train(subject, subject.stream(2, UPDATES), poison=True)
    if ended is None:
        raise Broken(
            "It hides a NaN: its parameters were set to NaN after mini-batch 2, and its losses "
            "went on as numbers.",
            "Yield the loss as it is: no nan_to_num, no update that is left out without a word.",
        )
    return f"parameters that are NaN: {ended}"


def _train(subject: Subject, batches: Stream, poison: bool) -> str | None:
    """How such a run ends; None where it goes on as if nothing were."""
    method = subject.make(2)

    def between(done: Training) -> None:
        if poison and done.minibatches == 2:
            with torch.no_grad():
                for parameter in method.parameters():
                    if parameter.requires_grad:
                        parameter.fill_(math.nan)

    try:
        with np.errstate(all="ignore"):
            train(method, batches, lambda m: 0.0, 1, lambda event: None, between=between)
    except (Diverged, SolverFailed) as error:
        return str(error)
    except ContractBroken:
        return None
    except Exception as error:  # it is seen, if not by its name
        return f"an error, {type(error).__name__}"
    return None
