"""FFJORD: maximum likelihood through an adaptive solver (Grathwohl et al. 2019), and RNODE."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.api import Continuous, Log, Look, Options, Piece, Stream, option
from bench.numerics.divergence import (
    exact_with_norm,
    gaussian_probe,
    hutchinson_with_norm,
    rademacher_probe,
)
from bench.numerics.ode import Derivative, Solver, State, integrate
from bench_methods.bounds import at_least, positive
from bench_methods.networks import ConcatSquash
from bench_methods.optimisation import cosine, update

LOOK = Look(colour="#0072B2", marker="^", paper="FFJORD")


@dataclass(frozen=True)
class FFJORDConfig(Options):
    """Hyper-parameters of FFJORD, and of RNODE: FFJORD with two penalties."""

    flows: int = option(1, "number of flows in the chain, each an ODE with its own parameters")
    hidden: int = option(3, "number of hidden layers of each field")
    width: int = option(64, "width of the hidden layers")
    activation: Literal["tanh", "softplus", "silu"] = option("tanh", "activation")
    divergence: Literal["exact", "gaussian", "rademacher"] = option(
        "gaussian",
        "exact, or Hutchinson's estimate with a Gaussian or Rademacher probe, fixed during a solve",
    )
    lambda_k: float = option(0.0, "RNODE: weight of the kinetic energy, int |f|^2 dt")
    lambda_j: float = option(
        0.0,
        "RNODE: weight of int |df/dx|_F^2 dt; the norm is exact (d products) if the divergence "
        "is, otherwise estimated with the same probe",
    )
    gradient: Literal["adjoint", "backprop"] = option(
        "adjoint", "the adjoint equation, or plain backpropagation through the solver"
    )
    rtol: float = option(1e-5, "relative tolerance of dopri5 in training")
    atol: float = option(1e-5, "absolute tolerance of dopri5 in training")
    max_num_steps: int = option(1_000, "a training solve fails after this many steps")
    end_time: float = option(0.5, "T at the start of training")
    train_end_time: bool = option(True, "whether T = s^2 is trained")
    learning_rate: float = option(1e-3, "Adam's learning rate")
    schedule: Literal["constant", "cosine"] = option(
        "constant", "learning rate: constant, or cosine decay to 0 over the budget"
    )
    weight_decay: float = option(0.0, "Adam's weight decay")

    def __post_init__(self) -> None:
        at_least(1, flows=self.flows, hidden=self.hidden, width=self.width)
        at_least(0, lambda_k=self.lambda_k, lambda_j=self.lambda_j, weight_decay=self.weight_decay)
        positive(end_time=self.end_time, learning_rate=self.learning_rate)
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


@dataclass(frozen=True)
class Estimate:
    """Training's estimates for rows: log-densities and penalties, each `(n,)`.

    The penalties are int |f|^2 dt and int |df/dx|_F^2 dt, summed over the chain; None if their
    weight is 0.
    """

    log_prob: Tensor
    kinetic: Tensor | None
    jacobian: Tensor | None


class FFJORD(Continuous):
    """Free-form continuous flows, trained by maximum likelihood.

        log p(x) = log N(z(T)) + int_0^T tr(df/dz) dt         (eq. 3, written from data to noise)

    with the trace estimated by e'(df/dz)e, one probe e a solve (eq. 7 and 8), dopri5, and
    gradients by the adjoint equation. RNODE adds, integrated in the same solve,

        lambda_k int_0^T |f|^2 dt + lambda_j int_0^T |df/dz|_F^2 dt

    to the loss, with the norm estimated by |e'(df/dz)|^2. All terms are per row, in nats; the
    authors' code halves the kinetic energy, divides by d and measures the NLL in bits.

    References:
        Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud 2019, FFJORD.
        Finlay, Jacobsen, Nurbekyan, Oberman 2020, How to train your neural ODE: the world of
        Jacobian and kinetic regularization.
    """

    Config = FFJORDConfig
    optimizer: torch.optim.Optimizer

    def __init__(self, d: int, config: FFJORDConfig) -> None:
        super().__init__(d, config)
        self.flows = nn.ModuleList(TimedField(d, config) for _ in range(config.flows))
        self.solver = Solver("dopri5", config.rtol, config.atol, config.max_num_steps)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(
            trained, config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def learn(self, batches: Stream) -> Iterator[Log]:
        """Take one gradient step on the penalised NLL for each mini-batch `(n, d)`."""
        for x in batches:
            seen = self.estimate(x)
            log = {"nll": -seen.log_prob.mean()}
            loss = log["nll"]
            if seen.kinetic is not None:
                log["kinetic"] = seen.kinetic.mean()
                loss = loss + self.config.lambda_k * log["kinetic"]
            if seen.jacobian is not None:
                log["jacobian"] = seen.jacobian.mean()
                loss = loss + self.config.lambda_j * log["jacobian"]
            rate = self.config.learning_rate
            if self.config.schedule == "cosine":
                rate *= cosine(batches.spent)
            update(self.optimizer, loss, rate)
            yield {k: v.detach() for k, v in (log | {"loss": loss}).items()}

    def estimate(self, x: Tensor) -> Estimate:
        """Estimate log-densities and penalties of rows `(n, d)` as training does."""
        weights = (self.config.lambda_k, self.config.lambda_j)
        state: State = (x, *(x.new_zeros(len(x)) for _ in range(1 + sum(w > 0 for w in weights))))
        for flow in self._chain():
            adjoint = flow if self.config.gradient == "adjoint" else None
            rates = self._rates(flow.field, x)
            state = integrate(rates, state, 0.0, flow.end_time, self.solver, adjoint)
        z, gain, *integrals = state
        log_prob = gain - 0.5 * z.square().sum(-1) - 0.5 * self.d * math.log(2 * math.pi)
        kinetic, jacobian = (integrals.pop(0) if w > 0 else None for w in weights)
        return Estimate(log_prob, kinetic, jacobian)

    def _rates(self, field: ConcatSquash, x: Tensor) -> Derivative:
        """Return d(x, gain, penalties)/dt with a probe drawn now and kept for the whole solve."""
        terms = self._terms(field, x)

        def rates(t: Tensor, state: State) -> State:
            velocity, gain, *jacobian = terms(t, state[0])
            kinetic = [velocity.square().sum(-1)] if self.config.lambda_k > 0 else []
            return velocity, gain, *kinetic, *jacobian

        return rates

    def _terms(self, field: ConcatSquash, x: Tensor) -> Callable[[Tensor, Tensor], State]:
        """Return a function of (t, x): velocity, divergence, and |J|_F^2 if it has a weight."""
        penalised = self.config.lambda_j > 0
        if self.config.divergence == "exact":
            return _exact_terms(field) if penalised else field.with_divergence
        draw = gaussian_probe if self.config.divergence == "gaussian" else rademacher_probe
        probe = draw(x)
        if penalised:
            return lambda t, x: hutchinson_with_norm(lambda y: field(t, y), x, probe)
        return lambda t, x: field.with_estimate(t, x, probe)

    def pieces(self) -> Sequence[Piece]:
        """The chain from data to noise."""
        return [Piece(flow.field, 0.0, flow.end_time.item()) for flow in self._chain()]

    def _chain(self) -> Iterator[TimedField]:
        for flow in self.flows:
            assert isinstance(flow, TimedField)
            yield flow


def _exact_terms(field: ConcatSquash) -> Callable[[Tensor, Tensor], State]:
    """Return a function of (t, x): velocity, divergence, |J|_F^2, counted as one evaluation."""

    def terms(t: Tensor, x: Tensor) -> State:
        field.evaluations += 1
        return exact_with_norm(lambda y: field.forward(t, y), x)

    return terms
