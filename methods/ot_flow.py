"""OT-Flow: a flow down a potential, regularised by optimal transport (Onken et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.api import Continuous, Field, Log, Look, Options, Piece, Stream, option
from bench.numerics.ode import Solver, State, integrate
from bench_methods.bounds import at_least, positive
from bench_methods.optimisation import cosine, update
from bench_methods.potential import Potential

LOOK = Look(colour="#009E73", marker="s", paper="OT-Flow")


@dataclass(frozen=True)
class OTFlowConfig(Options):
    """Hyper-parameters of OT-Flow."""

    width: int = option(64, "width m of the potential's network")
    layers: int = option(2, "layers of the potential's network, n_Th in the paper")
    rank: int = option(10, "rank of the potential's quadratic part, at most d + 1")
    initial: float = option(
        1.0, "initial value of w's entries; 1 in the paper, less for a wide network"
    )
    alpha_c: float = option(100.0, "weight of C, the negative log-likelihood (alpha_1)")
    alpha_r: float = option(15.0, "weight of R, the HJB residual (alpha_2)")
    steps: int = option(8, "RK4 steps in training")
    test_steps: int = option(16, "RK4 steps after training: the method's own discretisation")
    learning_rate: float = option(0.02, "Adam's initial learning rate; cosine decay to 0")
    clamp: float | None = option(
        None, "bound on the absolute value of every parameter, applied before each update"
    )

    def __post_init__(self) -> None:
        at_least(1, width=self.width, layers=self.layers, rank=self.rank)
        at_least(1, steps=self.steps, test_steps=self.test_steps)
        at_least(0, alpha_r=self.alpha_r)
        positive(initial=self.initial, alpha_c=self.alpha_c, learning_rate=self.learning_rate)
        if self.clamp is not None:
            positive(clamp=self.clamp)


class Descent(Field):
    """v(t, x) = -grad_x Phi(x, t), with its divergence in closed form."""

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`."""
        velocity: Tensor = -self.potential.derivatives().gradient(with_time(t, x))[:, :-1]
        return velocity

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity `(n, d)` and its divergence `(n,)`, minus the Laplacian of Phi."""
        gradient, laplacian = self.potential.derivatives().with_laplacian(with_time(t, x))
        return -gradient[:, :-1], -laplacian


class OTFlow(Continuous):
    """A continuous flow down the gradient of a potential, with data at t = 0 and noise at t = 1.

        v = -grad Phi
        min E[alpha_c C + L + alpha_r R]
        C = |z(1)|^2 / 2 - l(1) + d ln(2 pi) / 2,   dl/dt = div v
        L = int_0^1 |v|^2 / 2 dt,   R = int_0^1 |dPhi/dt - |grad Phi|^2 / 2| dt

    C is the negative log-likelihood. L is the transport cost; where it is least, Phi solves the
    Hamilton-Jacobi-Bellman equation, whose residual R penalises. All are integrated in one sweep
    of RK4 with few steps, and differentiated as they are discretised.

    The paper divides the learning rate by ten when validation stalls; here it falls as a cosine
    of the budget spent, since a method sees no validation rows.

    References:
        Onken, Wu Fung, Li, Ruthotto 2021, OT-Flow: Fast and Accurate Continuous Normalizing
        Flows via Optimal Transport.
    """

    Config = OTFlowConfig
    optimizer: torch.optim.Optimizer

    def __init__(self, d: int, config: OTFlowConfig) -> None:
        super().__init__(d, config)
        self.field = Descent(Potential(d, config.width, config.layers, config.rank))
        nn.init.constant_(self.field.potential.w, config.initial)
        self.solver = Solver("rk4", steps=config.steps)
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, config.learning_rate, fused=True)

    def learn(self, batches: Stream) -> Iterator[Log]:
        """Take one gradient step on the loss for each mini-batch `(n, d)`."""
        for x in batches:
            self._clamp()
            nll, transport, residual = self.costs(x)
            loss = self.config.alpha_c * nll + transport + self.config.alpha_r * residual
            update(self.optimizer, loss, self.config.learning_rate * cosine(batches.spent))
            terms = {"loss": loss, "C": nll, "L": transport, "R": residual}
            yield {name: term.detach() for name, term in terms.items()}

    def costs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """C, L and R, each averaged over rows `(n, d)`, with the solver steps of training."""
        phi, seen = self.field.potential.derivatives(), list[tuple[Tensor, Tensor]]()
        clock = with_time(x.new_ones(()), x.new_zeros(1, self.d))
        turn = clock - 1

        def derivative(t: Tensor, state: State) -> State:
            """d(x, t)/dt = (-grad_x Phi, 1)."""
            self.field.evaluations += 1
            seen.append(phi.with_total_laplacian(*state))
            return (torch.addcmul(clock, seen[-1][0], turn),)

        start = (with_time(x.new_zeros(()), x),)
        (end,) = integrate(derivative, start, 0.0, 1.0, self.solver)
        gradients, laplacians = (torch.stack(each) for each in zip(*seen, strict=True))
        energies = 0.5 * gradients[..., :-1].square().sum(-1)
        residuals = (gradients[..., -1] - energies).abs()
        gain, transport, residual = (
            x.new_tensor(self.solver.shares()) @ each
            for each in (-laplacians / len(x), energies.mean(1), residuals.mean(1))
        )
        half_norm = 0.5 * end[:, :-1].square().sum(-1).mean()
        return half_norm - gain + 0.5 * self.d * math.log(2 * math.pi), transport, residual

    def pieces(self) -> Sequence[Piece]:
        """One ODE, from data at t = 0 to noise at t = 1."""
        return [Piece(self.field, 0.0, 1.0, native=Solver("rk4", steps=self.config.test_steps))]

    @torch.no_grad()
    def _clamp(self) -> None:
        if self.config.clamp is not None:
            for parameter in self.parameters():
                parameter.clamp_(-self.config.clamp, self.config.clamp)


def with_time(t: Tensor, x: Tensor) -> Tensor:
    """Concatenate rows `(n, d)` and a time, a scalar or `(n,)`, to s = (x, t) `(n, d + 1)`."""
    return torch.cat([x, t.expand(len(x))[:, None]], dim=1)
