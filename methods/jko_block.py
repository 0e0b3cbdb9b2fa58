"""One block of JKO-iFlow: a neural ODE, its proximal objective, and the steps it is solved in."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.api.method import Options, Piece, option
from bench.numerics.divergence import finite_difference, gaussian_probe, hutchinson
from bench.numerics.ode import Solver, State, integrate
from bench_methods.networks import FourierMLP


@dataclass(frozen=True)
class BlockOptions(Options):
    """The hyper-parameters of a block."""

    width: int = option(128, "width of the hidden layers")
    hidden: int = option(2, "their number")
    frequencies: int = option(0, "Fourier frequencies of time, besides time itself")
    activation: Literal["tanh", "softplus", "softplus20", "silu", "sin"] = option(
        "silu", "activation"
    )
    scale: float = option(1.0, "factor on the first layer's initial weights on x")
    divergence: Literal["exact", "finite-difference", "gaussian"] = option(
        "exact", "exact, or Hutchinson's by finite differences or by differentiation"
    )
    sigma0: float = option(0.02, "the finite difference is taken over sigma0 / sqrt(d)")
    initial: Literal["warm", "fresh"] = option(
        "warm", "a block's first weights: warm are those of the block before, fresh are new"
    )
    gradient: Literal["adjoint", "backprop"] = option(
        "backprop", "the adjoint equation, or plain backpropagation through the steps"
    )
    steps: int = option(3, "S, sub-intervals of a block, an RK4 step each, at its start")
    max_steps: int = option(64, "the most sub-intervals of a block")
    step_error: float = option(0.02, "nats by which S steps may differ from 2 S before S grows")

    def __post_init__(self) -> None:
        if self.width < 1 or self.hidden < 1 or self.frequencies < 0 or self.scale <= 0:
            raise ValueError(
                "width and hidden are at least 1, frequencies 0 or more, scale above 0"
            )
        if not 1 <= self.steps <= self.max_steps:
            raise ValueError(f"steps lies between 1 and max_steps, {self.max_steps}")
        if not (self.sigma0 > 0 and self.step_error > 0):
            raise ValueError("sigma0 and step_error are above 0")


class Block(nn.Module):
    """A field on the times [start, end], the step size h of its penalty, and its S steps.

    Called with rows `(n, d)` it gives where they end, by those steps.
    """

    h: Tensor
    start: Tensor
    end: Tensor
    steps: Tensor
    movement: Tensor

    def __init__(self, d: int, options: BlockOptions, h: float) -> None:
        super().__init__()
        self.d = d
        self.options = options
        self.field = FourierMLP(
            d,
            options.width,
            options.frequencies,
            options.activation,
            options.scale,
            options.hidden,
        )
        numbers = {"h": h, "start": 0.0, "end": 1.0, "movement": 0.0}
        for name, value in numbers.items():
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("steps", torch.tensor(options.steps))

    def forward(self, x: Tensor) -> Tensor:
        """Where rows `(n, d)` end, `(n, d)`."""
        piece = self.piece()
        assert piece.native
        (end,) = integrate(
            lambda t, state: (piece.field(t, state[0]),),
            (x,),
            piece.t_data,
            piece.t_noise,
            piece.native,
        )
        return end

    def objective(self, x: Tensor) -> Tensor:
        """The proximal objective `(n,)` of rows `(n, d)`, as training sees it.

        V(x1) - int div f dt + |x1 - x0|^2 / (2 h), the divergence by the estimator chosen, with a
        probe that stays the same within a sub-interval.
        """
        times = torch.linspace(0, 1, int(self.steps) + 1, device=x.device)
        times = self.start + (self.end - self.start) * times
        adjoint = self if self.options.gradient == "adjoint" else None
        one_step = Solver("rk4-38", steps=1)
        state: State = (x, x.new_zeros(len(x)))
        for t0, t1 in itertools.pairwise(times):
            state = integrate(self._derivative(x), state, t0, t1, one_step, adjoint)
        x1, gain = state
        return 0.5 * x1.square().sum(-1) - gain + 0.5 * (x1 - x).square().sum(-1) / self.h

    def _derivative(self, x: Tensor) -> Callable[[Tensor, State], State]:
        """d(x, gain)/dt, its probe drawn now."""
        if self.options.divergence == "exact":
            return lambda t, state: self.field.with_divergence(t, state[0])
        probe = gaussian_probe(x)
        if self.options.divergence == "gaussian":
            return lambda t, state: hutchinson(lambda y: self.field(t, y), state[0], probe)
        sigma = self.options.sigma0 / math.sqrt(x.shape[1])
        return lambda t, state: finite_difference(
            lambda y: self.field(t, y), state[0], probe, sigma
        )

    def watch(self, x: Tensor) -> None:
        """Take more steps until twice as many give the same NLL of rows `(n, d)`."""
        steps, most = int(self.steps), self.options.max_steps
        with torch.no_grad():
            while steps < most and abs(self._nll(x, steps) - self._nll(x, 2 * steps)) > (
                self.options.step_error
            ):
                steps = min(steps + max(1, steps // 4), most)
        self.steps.fill_(steps)

    def _nll(self, x: Tensor, steps: int) -> float:
        """V - int div f dt, averaged over rows, with the exact divergence and `steps` steps."""
        x, gain = integrate(
            lambda t, state: self.field.with_divergence(t, state[0]),
            (x, x.new_zeros(len(x))),
            self.start,
            self.end,
            Solver("rk4-38", steps=steps),
        )
        return (0.5 * x.square().sum(-1) - gain).mean().item()

    def successor(self, h: float) -> Block:
        """The next block, for the step size h; it starts from these weights or from new ones."""
        block = Block(self.d, self.options, h).to(self.h)
        if self.options.initial == "warm":
            block.field.load_state_dict(self.field.state_dict())
        return block

    def halves(self) -> list[Block]:
        """Two blocks that together do what this one does, each on half its times and half its h."""
        first, second = copy.deepcopy(self), copy.deepcopy(self)
        second.field.evaluations = 0
        middle = 0.5 * (self.start + self.end)
        first.end.copy_(middle)
        second.start.copy_(middle)
        for half in (first, second):
            half.h.mul_(0.5)
        return [first, second]

    def piece(self) -> Piece:
        """The ODE, with data at its start and noise at its end."""
        native = Solver("rk4-38", steps=int(self.steps))
        return Piece(self.field, self.start.item(), self.end.item(), native)
