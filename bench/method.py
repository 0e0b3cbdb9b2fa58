"""The contract of a method: what learns from mini-batches and can then be asked.

A method is a plug-in: an entry point in the group `bench.methods` that names a subclass of
`Continuous` or `Discrete`. It knows its equations and nothing of files, seeds, devices or clocks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.numerics.divergence import exact
from bench.stream import Stream

Log = Mapping[str, "float | Tensor"]


def option(default: Any, doc: str) -> Any:
    """A hyper-parameter: a field of a method's frozen dataclass, with its meaning."""
    return field(default=default, metadata={"doc": doc})


class Method(nn.Module, ABC):
    """A model of rows `(n, d)` and the way it learns.

    `Config` is a frozen dataclass of hyper-parameters, each an `option`. It raises ValueError, in
    its `__post_init__`, where a value makes no sense.

    Everything that learning needs in order to go on lies in the module's state and in the
    optimiser's: a method that is rebuilt from both after any step continues with the same bits.
    """

    Config: ClassVar[type]
    #: What `learn` updates with; None for a method that needs none.
    optimizer: torch.optim.Optimizer | None = None

    def __init__(self, d: int, config: Any) -> None:
        super().__init__()
        self.d = d
        self.config = config

    @abstractmethod
    def learn(self, batches: Stream) -> Iterator[Log]:
        """Take mini-batches `(batch_size, d)`, make one optimiser update for each, yield a log.

        The log holds the `loss` at least. The harness drives this generator: it may stop after
        any step, and start again later with a stream that goes on where it stopped.
        (`train` is torch's own name for another thing.)
        """

    def size(self) -> int:
        """How many numbers are fitted to the data: the parameters that are trained."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the module's state."""
        return {"optimizer": self.optimizer.state_dict()} if self.optimizer else {}

    def resume(self, progress: Mapping[str, Any]) -> None:
        """Take up what `progress` gave; the module's state is loaded already."""
        if self.optimizer:
            self.optimizer.load_state_dict(progress["optimizer"])


class Field(nn.Module, ABC):
    """A velocity field v(t, x), whose evaluations the harness counts.

    Call it as `field(t, x)` with rows `(n, d)` and a time that is a scalar or `(n,)`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.evaluations = 0

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`, and one evaluation more."""
        self.evaluations += 1
        velocity: Tensor = super().__call__(t, x)
        return velocity

    @abstractmethod
    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`."""

    def with_divergence(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity `(n, d)` and its exact divergence `(n,)`: one evaluation."""
        self.evaluations += 1
        return self.trace(t, x)

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `with_divergence` returns; a field with a closed form gives it here.

        The judge holds a closed form against differentiation before it believes it.
        """
        return exact(lambda y: self.forward(t, y), x)


@dataclass(frozen=True)
class Piece:
    """One ODE of a flow: dx/dt = field(t, x) with data at `t_data` and noise at `t_noise`."""

    field: Field
    t_data: float
    t_noise: float


class Continuous(Method):
    """A method that learns velocity fields; the harness samples and scores it by one solver."""

    @abstractmethod
    def pieces(self) -> Sequence[Piece]:
        """The ODEs from data to noise, in that order; a standard normal lies at their end."""


class Discrete(Method):
    """A method that gives its density and its inverse itself."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density `(n,)` of rows `(n, d)`, in nats."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """The rows `(n, d)` that standard normal draws `(n, d)` are mapped to."""


def evaluations(method: Method) -> int:
    """The evaluations of all fields of a method so far."""
    return sum(m.evaluations for m in method.modules() if isinstance(m, Field))
