"""Methods that go wrong, each in its way, after three mini-batches that go well.

This folder is a distribution as pip would install it: with it on PYTHONPATH, `bench` finds them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sick_processes
import torch
from torch import Tensor, nn

from bench.api.method import Discrete, Log, Options
from bench.api.stream import Stream


class Sick(Discrete):
    """A standard normal; what is wrong with it shows in `fail`."""

    Config = Options

    def __init__(self, d: int, config: Options) -> None:
        super().__init__(d, config)
        self.shift = nn.Parameter(torch.zeros(d))

    def learn(self, batches: Stream) -> Iterator[Log]:
        """Three good updates, then trouble."""
        for _ in batches:
            yield {"loss": self.fail() if batches.dealt > 3 else 1.0}

    def fail(self) -> float:
        """Go wrong; or return the loss."""
        raise NotImplementedError

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density `(n,)` of a standard normal."""
        return torch.distributions.Normal(0.0, 1.0).log_prob(x - self.shift).sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """The rows themselves."""
        return z + self.shift


class Raises(Sick):
    """Raises an error of its own."""

    def fail(self) -> float:
        raise ValueError("a matrix that should be orthogonal is not")


class ReturnsNaN(Sick):
    """Has a loss that is no number."""

    def fail(self) -> float:
        return float("nan")


class Hangs(Sick):
    """Never comes back."""

    def fail(self) -> float:
        while True:
            pass


class HangsOn(Sick):
    """Never comes back, and listens to nobody."""

    def fail(self) -> float:
        while True:
            try:
                while True:
                    pass
            except Exception:
                continue


class EatsMemory(Sick):
    """Takes 64 MiB more, and again."""

    def fail(self) -> float:
        eaten = []
        while True:
            eaten.append(torch.ones(2**24))


class Segfaults(Sick):
    """Reads what is not its own."""

    def fail(self) -> float:
        beyond = np.lib.stride_tricks.as_strided(np.zeros(1), (2**20,), (2**40,))
        return float(beyond.sum())


class LeavesProcesses(Sick):
    """Leaves processes behind at its fourth mini-batch, and learns on."""

    left = False

    def fail(self) -> float:
        if not self.left:
            sick_processes.leave_behind()
        self.left = True
        return 1.0


class EatsMemoryElsewhere(Sick):
    """Has processes of its own that take 300 MiB each."""

    def fail(self) -> float:
        sick_processes.eat_memory_elsewhere()
        return 1.0


class WritesJunk(Sick):
    """Writes to its parent."""

    def fail(self) -> float:
        sick_processes.write_junk()
        return 1.0


class Shouts(Sick):
    """Prints 64 MiB for each mini-batch."""

    def fail(self) -> float:
        sick_processes.shout()
        return 1.0
