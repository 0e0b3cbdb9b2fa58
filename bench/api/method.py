"""The contract of a method: a model that learns from mini-batches.

A method is a plug-in: an entry point in the group `bench.methods` that names a subclass of
`Continuous` or `Discrete`. It knows its equations and nothing of files, seeds, devices or clocks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar, Literal, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import jvp

from bench.api.stream import Stream
from bench.numerics.divergence import exact
from bench.numerics.ode import Solver

Log = Mapping[str, "float | Tensor"]

#: What a log may not hold: names that the harness gives to numbers of its own.
RESERVED = frozenset(
    {
        *("event", "total", "minibatch", "seconds", "validation_nll"),
        *("step_cpu_seconds", "yardstick_cpu_seconds"),
    }
)

#: The kinds of `Affine`.
AffineKind = Literal["none", "diagonal", "full"]

#: Rows whose moments are summed together.
ROWS_AT_ONCE = 2**16


class ContractBroken(RuntimeError):
    """A method violated its contract."""


def option(default: Any, doc: str) -> Any:
    """Declare a hyper-parameter: a field of a method's `Config`, with its documentation."""
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, kw_only=True)
class Options:
    """The hyper-parameters of every method; a method's `Config` derives from it, frozen too.

    Each is an `option`. `__post_init__` raises ValueError for a value that is impossible in itself.
    """

    affine: AffineKind = option(
        "none", "a fitted first layer: none, diagonal (z-score), full (whitening)"
    )

    def check(self, d: int, minibatches: int, batch_size: int) -> None:
        """Raise ValueError if these hyper-parameters do not fit the data or the budget.

        Called before anything runs.
        """

    def first_candidate(self, minibatches: int) -> int:
        """The first mini-batch whose state may be selected by its validation NLL.

        Later than 1 if earlier states are other models, such as the flow before a reflow.
        """
        return 1


class Affine(nn.Module):
    """z = A (x - m), the first layer of a flow; its log-determinant is part of the density.

    `none` is the identity. With the mean m and the covariance C of the training split, `diagonal`
    has A = diag(C)^(-1/2), and `full` has A = C^(-1/2), symmetric: the optimal transport map of
    the fitted Gaussian to the standard normal (Dowson & Landau 1982). A method sees only z.
    """

    shift: Tensor
    matrix: Tensor

    def __init__(self, d: int, kind: AffineKind) -> None:
        super().__init__()
        self.kind = kind
        if kind != "none":
            self.register_buffer("shift", torch.zeros(d))
            self.register_buffer("matrix", torch.eye(d))

    def forward(self, x: Tensor) -> Tensor:
        """Map rows x `(n, d)` to z `(n, d)`."""
        return x if self.kind == "none" else (x - self.shift) @ self.matrix

    def inverse(self, z: Tensor) -> Tensor:
        """Map z `(n, d)` to rows x `(n, d)`."""
        if self.kind == "none":
            return z
        rows: Tensor = torch.linalg.solve(self.matrix, z, left=False) + self.shift
        return rows

    def pull(self, gradient: Tensor) -> Tensor:
        """Turn gradients `(n, d)` with respect to z into gradients with respect to x."""
        return gradient if self.kind == "none" else gradient @ self.matrix.T

    def log_det(self) -> float | Tensor:
        """log |det A|, in nats."""
        if self.kind == "none":
            return 0.0
        log_det: Tensor = torch.linalg.slogdet(self.matrix)[1]
        return log_det

    def size(self) -> int:
        """The number of fitted values."""
        if self.kind == "none":
            return 0
        d = len(self.shift)
        return 2 * d if self.kind == "diagonal" else d + d * (d + 1) // 2

    def fit(self, rows: NDArray[np.float32]) -> None:
        """Fit the layer to the training split `(n, d)`, in float64.

        Raises:
            ValueError: the rows do not vary in some direction.
        """
        if self.kind == "none":
            return
        mean, covariance = _moments(rows)
        if self.kind == "diagonal":
            covariance = np.diag(np.diag(covariance))
        variances, directions = np.linalg.eigh(covariance)
        if variances[0] <= 1e-10 * variances[-1]:
            raise ValueError(
                f"affine={self.kind} divides by the spread of the training rows, whose variance is "
                f"{variances[0]:.3g} in one direction and {variances[-1]:.3g} in another; drop "
                "columns that depend on others, or use affine=none"
            )
        matrix = (directions / np.sqrt(variances)) @ directions.T
        self.shift.copy_(torch.from_numpy(mean))
        self.matrix.copy_(torch.from_numpy(matrix))


def _moments(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean `(d,)` and the covariance `(d, d)`, in two passes."""
    parts = [rows[i : i + ROWS_AT_ONCE] for i in range(0, len(rows), ROWS_AT_ONCE)]
    mean = sum(np.asarray(part, dtype=np.float64).sum(0) for part in parts) / len(rows)
    scatter = np.zeros((rows.shape[1], rows.shape[1]))
    for part in parts:
        centred = part - mean
        scatter += centred.T @ centred
    return mean, scatter / len(rows)


Function = Callable[..., Any]
F = TypeVar("F", bound=Function)

#: What compiles functions now, if anything does: see `compiling`.
_compile: Callable[[Function], Function] | None = None


@contextmanager
def compiling(compile: Callable[[Function], Function] | None) -> Iterator[None]:
    """Compile fields and `compiled` functions inside; for the harness, while a method learns."""
    global _compile
    before, _compile = _compile, compile
    try:
        yield
    finally:
        _compile = before


def compiled(function: F) -> F:
    """Decorate a function that `bench run --compile` is to compile while a method learns.

    That is for what is not a `Field`. It takes tensors, and modules that hold some; every other
    value that changes has it compiled again.
    """

    @wraps(function)
    def call(*given: Any) -> Any:
        return (_compile(function) if _compile else function)(*given)

    return cast(F, call)


class Method(nn.Module, ABC):
    """A model of rows `(n, d)`, and how it learns.

    Rows are outputs of the `affine` layer, unless that is the identity. The harness fits the layer
    to the training split and adds its log-determinant; the method does neither.

    All progress is in the state of the module and of the optimiser: a method restored from both
    after any step continues with the same bits.
    """

    Config: ClassVar[type[Options]]
    #: Whether `bench run --compile` finds anything to compile: `Field`s, or `compiled` functions.
    compiles: ClassVar[bool] = False
    #: The optimiser that `learn` uses, if any.
    optimizer: torch.optim.Optimizer | None = None

    def __init__(self, d: int, config: Any) -> None:
        super().__init__()
        self.d = d
        self.config = config
        self.affine = Affine(d, config.affine)

    @abstractmethod
    def learn(self, batches: Stream) -> Iterator[Log]:
        """Take mini-batches `(batch_size, d)`, make one optimiser update for each, yield a log.

        The log has at least the `loss`, and none of the names in `RESERVED`. The harness drives
        this generator: it may stop after any step, and call `learn` again later with a stream that
        continues there.
        (`train` already has another meaning in torch.)
        """

    def size(self) -> int:
        """The number of fitted values: the trained parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def progress(self) -> dict[str, Any]:
        """What a checkpoint needs in addition to the module's state."""
        return {"optimizer": self.optimizer.state_dict()} if self.optimizer else {}

    def resume(self, progress: Mapping[str, Any]) -> None:
        """Restore what `progress` returned; the module's state is already loaded."""
        if self.optimizer:
            self.optimizer.load_state_dict(progress["optimizer"])


class Field(nn.Module, ABC):
    """A velocity field v(t, x) whose evaluations are counted; `--compile` compiles them.

    Call it as `field(t, x)` with rows `(n, d)` and a time that is a scalar or `(n,)`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.evaluations = 0

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`; counts one evaluation."""
        velocity: Tensor = self.evaluate("forward", t, x)
        return velocity

    def evaluate(self, name: str, *given: Any) -> Any:
        """What the method of that name returns; counts one evaluation."""
        if torch.compiler.is_compiling():  # a part of another field, whose call is counted
            return getattr(self, name)(*given)
        self.evaluations += 1
        if _compile:  # the function, not the bound method: it is compiled once for all fields
            return _compile(getattr(type(self), name))(self, *given)
        return super().__call__(*given) if name == "forward" else getattr(self, name)(*given)

    @abstractmethod
    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`."""

    def with_divergence(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity `(n, d)` and its exact divergence `(n,)`; counts one evaluation."""
        velocity, divergence = self.evaluate("trace", t, x)
        return velocity, divergence

    def with_estimate(self, t: Tensor, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity and Hutchinson's estimate of its divergence; counts one evaluation."""
        velocity, pushed = self.evaluate("push", t, x, probe)
        return velocity, (probe * pushed).sum(-1)

    def push(self, t: Tensor, x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity and its derivative along `direction`, both `(n, d)`, uncounted.

        Override it if there is something faster than automatic differentiation.
        """
        velocity, pushed = jvp(lambda y: self.forward(t, y), (x,), (direction,))  # type: ignore[misc]
        return velocity, pushed

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity and divergence, uncounted; override it if there is a closed form.

        A closed form is checked against automatic differentiation before it is used.
        """
        return exact(lambda y: self.forward(t, y), x)


@dataclass(frozen=True)
class Piece:
    """One ODE of a flow: dx/dt = field(t, x) with data at `t_data` and noise at `t_noise`.

    `native` is the method's own discretisation, if any. The flow is then scored by it as well as by
    the reference solver; the difference is its discretisation error.
    """

    field: Field
    t_data: float
    t_noise: float
    native: Solver | None = None


class Continuous(Method):
    """A method that learns velocity fields; the harness samples and scores with one solver."""

    compiles = True

    @abstractmethod
    def pieces(self) -> Sequence[Piece]:
        """The ODEs in order from data to noise; the last one ends at a standard normal."""


class Discrete(Method):
    """A method that computes its log-density and its inverse itself."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density `(n,)` of rows `(n, d)`, in nats."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """Map standard normal draws `(n, d)` to rows `(n, d)`."""


def evaluations(method: Method) -> int:
    """The number of evaluations of all fields of a method so far."""
    return sum(m.evaluations for m in method.modules() if isinstance(m, Field))
