"""FFJORD: maximum likelihood through an adaptive solver (Grathwohl et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.method import Continuous, Log, Options, Piece, option
from bench.numerics.divergence import gaussian_probe, hutchinson, rademacher_probe
from bench.numerics.ode import Solver, State, integrate
from bench.stream import Stream
from bench_methods.networks import ConcatSquash
from bench_methods.optimisation import update


@dataclass(frozen=True)
class FFJORDConfig(Options):
    """Hyper-parameters of FFJORD."""

    flows: int = option(1, "flows in the chain, each an ODE with parameters of its own")
    hidden: int = option(3, "hidden layers of a field")
    width: int = option(64, "their width")
    activation: Literal["tanh", "softplus", "silu"] = option("tanh", "activation")
    divergence: Literal["exact", "gaussian", "rademacher"] = option(
        "gaussian", "exact, or Hutchinson's with a Gaussian or Rademacher probe, fixed in a solve"
    )
    gradient: Literal["adjoint", "backprop"] = option(
        "adjoint", "the adjoint equation, or plain backpropagation through the solver"
    )
    rtol: float = option(1e-5, "relative tolerance of dopri5 in training")
    atol: float = option(1e-5, "absolute tolerance of dopri5 in training")
    max_num_steps: int = option(1_000, "steps of a training solve after which it has failed")
    end_time: float = option(0.5, "T at the start of training")
    train_end_time: bool = option(True, "whether T = s^2 is trained")
    learning_rate: float = option(1e-3, "Adam's learning rate")
    weight_decay: float = option(0.0, "Adam's weight decay")

    def __post_init__(self) -> None:
        if self.flows < 1 or self.hidden < 1 or self.width < 1:
            raise ValueError("flows, hidden and width are at least 1")
        if self.end_time <= 0 or self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("end_time and learning_rate are above 0, weight_decay is not below")
        Solver("dopri5", self.rtol, self.atol, self.max_num_steps)


class TimedField(nn.Module):
    """One ODE of the chain, with data at time 0 and noise at its end time T = s^2."""

    def __init__(self, d: int, config: FFJORDConfig) -> None:
        super().__init__()
        self.field = ConcatSquash(d, config.width, config.hidden, config.activation)
        s = torch.tensor(math.sqrt(config.end_time))
        self.sqrt_end_time = nn.Parameter(s, requires_grad=config.train_end_time)

    @property
    def end_time(self) -> Tensor:
        """T, a scalar."""
        return self.sqrt_end_time.square()


class FFJORD(Continuous):
    """Free-form continuous flows, trained by maximum likelihood.

        log p(x) = log N(z(T)) + int_0^T tr(df/dz) dt         (eq. 3, written from data to noise)

    with the trace estimated by e'(df/dz)e, one probe e a solve (eq. 7 and 8), dopri5, and
    gradients by the adjoint equation.

    References:
        Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud 2019, FFJORD.
    """

    Config = FFJORDConfig
    optimizer: torch.optim.Optimizer

    def __init__(self, d: int, config: FFJORDConfig) -> None:
        super().__init__(d, config)
        self.flows = nn.ModuleList(TimedField(d, config) for _ in range(config.flows))
        self.solver = Solver("dopri5", config.rtol, config.atol, config.max_num_steps)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(
            trained, config.learning_rate, weight_decay=config.weight_decay
        )

    def learn(self, batches: Stream) -> Iterator[Log]:
        """One step along the gradient of the NLL for each mini-batch `(n, d)`."""
        for x in batches:
            loss = -self.estimate(x).mean()
            update(self.optimizer, loss, self.config.learning_rate)
            yield {"loss": loss.detach()}

    def estimate(self, x: Tensor) -> Tensor:
        """The log-density `(n,)` of rows `(n, d)` as training sees it: tolerance and probe."""
        gain = x.new_zeros(len(x))
        for flow in self._chain():
            adjoint = flow if self.config.gradient == "adjoint" else None
            derivative = self._derivative(flow.field, x)
            x, gain = integrate(derivative, (x, gain), 0.0, flow.end_time, self.solver, adjoint)
        return gain - 0.5 * x.square().sum(-1) - 0.5 * self.d * math.log(2 * math.pi)

    def _derivative(self, field: ConcatSquash, x: Tensor) -> Callable[[Tensor, State], State]:
        """d(x, gain)/dt, its probe drawn now and kept for the whole solve."""
        if self.config.divergence == "exact":
            return lambda t, state: field.with_divergence(t, state[0])
        draw = gaussian_probe if self.config.divergence == "gaussian" else rademacher_probe
        probe = draw(x)
        return lambda t, state: hutchinson(lambda y: field(t, y), state[0], probe)

    def pieces(self) -> Sequence[Piece]:
        """The chain from data to noise."""
        return [Piece(flow.field, 0.0, flow.end_time.item()) for flow in self._chain()]

    def _chain(self) -> Iterator[TimedField]:
        for flow in self.flows:
            assert isinstance(flow, TimedField)
            yield flow
