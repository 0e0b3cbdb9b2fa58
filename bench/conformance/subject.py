"""The method that is examined: made, given mini-batches, and kept when it has learned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api.method import Continuous, Method
from bench.api.stream import Stream
from bench.conformance.outcome import Broken
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver

#: The mini-batches of most checks, and the rows of each.
UPDATES, BATCH = 6, 64
#: The dimensions in which a method is examined.
DIMENSIONS = (2, 3)
#: What solves a continuous method's ODEs.
SOLVER = Solver("dopri5", 1e-5, 1e-5)

_MEAN = np.array([0.3, -0.2, 0.1])
_COVARIANCE = np.array([[1.0, 0.6, 0.2], [0.6, 0.8, -0.1], [0.2, -0.1, 0.5]])


@cache
def rows(d: int, n: int = 600, seed: int = 0) -> NDArray[np.float32]:
    """Training rows `(n, d)`, d = 2 or 3: draws of a correlated Gaussian."""
    draws = np.random.default_rng(seed).multivariate_normal(_MEAN[:d], _COVARIANCE[:d, :d], n)
    return draws.astype(np.float32)


def stream(d: int, total: int, device: str = "cpu", dealt: int = 0, pushes: int = 0) -> Stream:
    """`total` mini-batches of these rows, `(64, d)`."""
    return Stream(rows(d), BATCH, total, seed=0, device=device, dealt=dealt, pushes=pushes)


def learn(method: Method, batches: Stream) -> list[float]:
    """Have the method learn from all mini-batches that are left; the losses.

    Raises:
        Broken: it yields more often than it has mini-batches, or something else than a log.
    """
    losses: list[float] = []
    left = batches.total - batches.dealt
    for log in itertools.islice(method.learn(batches), left + 1):
        if not isinstance(log, Mapping) or "loss" not in log:
            raise Broken(
                f"learn yielded {log!r:.60}, which is no log with a loss.",
                'Look at learn: for each mini-batch it has to yield {"loss": loss}.',
            )
        losses.append(float(log["loss"]))
    if len(losses) != left:
        more = "more than " if len(losses) > left else ""
        raise Broken(
            f"learn yielded {more}{min(len(losses), left)} logs for {left} mini-batches.",
            "Look at learn: it has to yield once for each mini-batch, and end with the stream.",
        )
    return losses


@dataclass(frozen=True)
class Subject:
    """A method under examination.

    Attributes:
        name: what it is called.
        kind: its class.
        settings: hyper-parameters that are not to have their defaults.
        files: the source files that are its own: where what is wrong is looked for.
        device: the device that it is on.
    """

    name: str
    kind: type[Method]
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[Path] = ()
    device: str = "cpu"
    _learned: dict[int, tuple[Method, list[float]]] = field(default_factory=dict, repr=False)

    def make(self, d: int, seed: int = 0) -> Method:
        """A fresh method of rows `(n, d)`, as the harness makes it."""
        torch.manual_seed(seed)
        return self.kind(d, self.kind.Config(**self.settings)).to(self.device)

    def stream(self, d: int, total: int, dealt: int = 0, pushes: int = 0) -> Stream:
        """Mini-batches on the method's device."""
        return stream(d, total, self.device, dealt, pushes)

    def learned(self, d: int) -> tuple[Method, list[float]]:
        """The method after a few mini-batches, and its losses; to be looked at, not changed."""
        if d not in self._learned:
            method = self.make(d)
            self._learned[d] = method, learn(method, self.stream(d, UPDATES))
        return self._learned[d]

    def flow(self, d: int, dtype: torch.dtype = torch.float64) -> Flow:
        """The learned method as the judge asks it."""
        return Flow(self.learned(d)[0], SOLVER, dtype, rows_at_once=10_000)

    def x(self, d: int, n: int) -> Tensor:
        """The first `n` training rows `(n, d)`."""
        return torch.from_numpy(rows(d)[:n]).to(self.device)

    @property
    def is_continuous(self) -> bool:
        """Whether it gives velocities, and no density of its own."""
        return issubclass(self.kind, Continuous)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names under which two states differ, be it in one bit."""
    names = sorted(one.keys() ^ other.keys())
    both = (name for name in one if name in other)
    return names + [name for name in both if not _same(one[name], other[name])]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        return bool(((one == other) | (one.isnan() & other.isnan())).all())
    return bool(one == other)


def finite(losses: Sequence[float]) -> bool:
    """Whether all of them are numbers."""
    return all(map(math.isfinite, losses))


def named(names: Sequence[str], most: int = 3) -> str:
    """The first of these names, and how many there are beside them."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
