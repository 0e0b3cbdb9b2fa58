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

from bench.api.affine import Affine, Kind
from bench.api.stream import Stream
from bench.numerics.divergence import exact
from bench.numerics.ode import Solver

Log = Mapping[str, "float | Tensor"]


class ContractBroken(RuntimeError):
    """A method did what the contract forbids."""


def option(default: Any, doc: str) -> Any:
    """A hyper-parameter: a field of a method's frozen dataclass, with its meaning."""
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, kw_only=True)
class Options:
    """The hyper-parameters that every method has; a method's `Config` adds its own, frozen too.

    Each is an `option`. `__post_init__` raises ValueError where a value makes no sense in itself.
    """

    affine: Kind = option(
        "none", "a fitted first layer: none, diagonal (z-score), full (whitening)"
    )

    def check(self, d: int, minibatches: int, batch_size: int) -> None:
        """Raise ValueError where these hyper-parameters do not fit the data or the budget.

        It is asked before anything is run.
        """

    def first_candidate(self, minibatches: int) -> int:
        """The mini-batch from which on a state may be the run's result, by its validation NLL.

        Later than the first where the states before are of another model, as a reflow's are.
        """
        return 1


class Method(nn.Module, ABC):
    """A model of rows `(n, d)` and the way it learns.

    Where its `affine` layer is not the identity, the rows are the layer's output: the harness fits
    it to the training split and counts its log-determinant; the method does neither.

    Everything that learning needs in order to go on lies in the module's state and in the
    optimiser's: a method that is rebuilt from both after any step continues with the same bits.
    """

    Config: ClassVar[type[Options]]
    #: What `learn` updates with; None for a method that needs none.
    optimizer: torch.optim.Optimizer | None = None

    def __init__(self, d: int, config: Any) -> None:
        super().__init__()
        self.d = d
        self.config = config
        self.affine = Affine(d, config.affine)

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
    """One ODE of a flow: dx/dt = field(t, x) with data at `t_data` and noise at `t_noise`.

    `native` is the method's own discretisation, where it has one: it is scored by that as well as
    by the reference solver, and the difference is what the method's own steps hide.
    """

    field: Field
    t_data: float
    t_noise: float
    native: Solver | None = None


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
