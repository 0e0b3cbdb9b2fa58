"""The method under test, and how a check of it ends."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api.method import RESERVED, Continuous, Method
from bench.api.stream import Stream
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver

#: Code of a failure or a skipped check -> what is said, and where to look.
CODES: dict[str, dict[str, str]] = tomllib.loads(
    (Path(__file__).parent / "codes.toml").read_text(encoding="utf-8")
)
#: The mini-batches of most checks, and the rows of each.
UPDATES, BATCH = 6, 64
#: The dimensions in which a method is tested.
DIMENSIONS = (2, 3)
#: What solves a continuous method's ODEs.
SOLVER = Solver("dopri5", 1e-5, 1e-5)


@dataclass(frozen=True)
class CheckResult:
    """How a check ended: `code` is `ok`, or that of the reason in `codes.toml`.

    `says` is what was measured, what is wrong, or why the check was skipped; `look` is where to
    look for what is wrong.
    """

    check: str
    outcome: Literal["ok", "failed", "skipped"]
    code: str
    says: str
    look: str = ""


class CheckEnded(Exception):
    """A check does not pass: its code, with what `codes.toml` says of it."""

    def __init__(self, code: str, **values: Any) -> None:
        self.code = code
        self.says = CODES[code]["says"].format(**values)
        self.look = CODES[code].get("look", "").format(**values)
        super().__init__(self.says)


class Broken(CheckEnded):
    """The contract is broken."""


class NotTried(CheckEnded):
    """The check does not apply, or can't be made here."""


@dataclass(frozen=True)
class Subject:
    """A method under test.

    Attributes:
        name: its name.
        kind: its class.
        settings: hyper-parameters that differ from their defaults.
        files: its own source files, in which an error is located.
        device: the device that it is on.
    """

    name: str
    kind: type[Method]
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[Path] = ()
    device: str = "cpu"
    _learned: dict[int, tuple[Method, list[float]]] = field(default_factory=dict, repr=False)

    @property
    def is_continuous(self) -> bool:
        """Whether it gives velocities, and no density of its own."""
        return issubclass(self.kind, Continuous)

    def make(self, d: int, seed: int = 0) -> Method:
        """Return a fresh method for rows `(n, d)`, made as the harness makes it."""
        torch.manual_seed(seed)
        return self.kind(d, self.kind.Config(**self.settings)).to(self.device)

    def stream(self, d: int, total: int, dealt: int = 0, pushes: int = 0) -> Stream:
        """Return `total` mini-batches `(64, d)` of the training rows, on the method's device."""
        return Stream(rows(d), BATCH, total, seed=0, device=self.device, dealt=dealt, pushes=pushes)

    def learned(self, d: int) -> tuple[Method, list[float]]:
        """Return the method after a few mini-batches, and its losses; not to be changed."""
        if d not in self._learned:
            method = self.make(d)
            self._learned[d] = method, learn(method, self.stream(d, UPDATES))
        return self._learned[d]

    def flow(self, d: int, dtype: torch.dtype = torch.float64) -> Flow:
        """Return the learned method as it is evaluated."""
        return Flow(self.learned(d)[0], SOLVER, dtype, rows_at_once=10_000)

    def x(self, d: int, n: int) -> Tensor:
        """Return the first `n` training rows `(n, d)`."""
        return torch.from_numpy(rows(d)[:n]).to(self.device)


@cache
def rows(d: int, n: int = 600, seed: int = 0) -> NDArray[np.float32]:
    """Return training rows `(n, d)`, d = 2 or 3: draws of a correlated Gaussian."""
    mean = np.array([0.3, -0.2, 0.1])[:d]
    covariance = np.array([[1.0, 0.6, 0.2], [0.6, 0.8, -0.1], [0.2, -0.1, 0.5]])[:d, :d]
    draws = np.random.default_rng(seed).multivariate_normal(mean, covariance, n)
    return draws.astype(np.float32)


def learn(method: Method, batches: Stream) -> list[float]:
    """Have the method learn from all remaining mini-batches, and return the losses.

    Raises:
        Broken: it does not yield a log for each mini-batch.
    """
    losses: list[float] = []
    left = batches.total - batches.dealt
    for log in itertools.islice(method.learn(batches), left + 1):
        if not isinstance(log, Mapping) or "loss" not in log:
            raise Broken("no-loss", log=repr(log))
        if taken := RESERVED.intersection(log):
            raise Broken("reserved-name", name=min(taken))
        losses.append(float(log["loss"]))
    if len(losses) != left:
        count = f"more than {left}" if len(losses) > left else str(len(losses))
        raise Broken("log-count", count=count, left=left)
    return losses


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names under which two states differ in any bit."""

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if a.shape != b.shape or a.dtype != b.dtype:
                return False
            return bool(((a == b) | (a.isnan() & b.isnan())).all())
        return bool(a == b)

    both = (name for name in one if name in other)
    unequal = [name for name in both if not same(one[name], other[name])]
    return sorted(one.keys() ^ other.keys()) + unequal


def named(names: Sequence[str], most: int = 3) -> str:
    """Return the first of these names, and the number of the others."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
