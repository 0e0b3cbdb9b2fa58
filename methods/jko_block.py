"""One block of JKO-iFlow: a neural ODE, its proximal objective and its solver steps."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench.api import Options, Piece, option
from bench.numerics.divergence import finite_difference, gaussian_probe
from bench.numerics.ode import Solver, State, integrate
from bench_methods.bounds import at_least, positive
from bench_methods.networks import FourierMLP


@dataclass(frozen=True)
class BlockOptions(Options):
    """Hyper-parameters of a block."""

    width: int = option(128, "width of the hidden layers")
    hidden: int = option(2, "number of hidden layers")
    frequencies: int = option(0, "Fourier frequencies of time, in addition to time itself")
    activation: Literal["tanh", "softplus", "softplus20", "silu", "sin"] = option(
        "silu", "activation"
    )
    scale: float = option(1.0, "factor on the first layer's initial weights on x")
    divergence: Literal["exact", "finite-difference", "gaussian"] = option(
        "exact", "exact, or Hutchinson's estimate by finite differences or by differentiation"
    )
    sigma0: float = option(0.02, "finite differences use a step of sigma0 / sqrt(d)")
    initial: Literal["warm", "fresh"] = option(
        "warm", "a block's initial weights: warm (from the block before) or fresh (new)"
    )
    gradient: Literal["adjoint", "backprop"] = option(
        "backprop", "the adjoint equation, or plain backpropagation through the steps"
    )
    steps: int = option(3, "S, RK4 steps per block at the start of its training")
    max_steps: int = option(64, "maximum number of RK4 steps per block")
    step_error: float = option(0.02, "S grows when the NLL of S and 2 S steps differ by more nats")

    def __post_init__(self) -> None:
        at_least(1, width=self.width, hidden=self.hidden, steps=self.steps)
        at_least(0, frequencies=self.frequencies)
        positive(scale=self.scale, sigma0=self.sigma0, step_error=self.step_error)
        if self.steps > self.max_steps:
            raise ValueError(
                f"steps must be at most max_steps ({self.max_steps}), got {self.steps}"
            )


class Block(nn.Module):
    """A velocity field on the times [start, end], its step size h, and its S solver steps.

    Calling it maps rows `(n, d)` to their end points, using those steps.
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
        """Map rows `(n, d)` to their end points `(n, d)`."""
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
        """The proximal objective `(n,)` of rows `(n, d)`, as used in training.

        V(x1) - int div f dt + |x1 - x0|^2 / (2 h), with the divergence by the chosen estimator and
        one probe per solver step.
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
        """Return d(x, gain)/dt, with a probe drawn now."""
        if self.options.divergence == "exact":
            return lambda t, state: self.field.with_divergence(t, state[0])
        probe = gaussian_probe(x)
        if self.options.divergence == "gaussian":
            return lambda t, state: self.field.with_estimate(t, state[0], probe)
        sigma = self.options.sigma0 / math.sqrt(x.shape[1])
        return lambda t, state: finite_difference(
            lambda y: self.field(t, y), state[0], probe, sigma
        )

    def refine_steps(self, x: Tensor) -> None:
        """Increase the steps until doubling them no longer changes the NLL of rows `(n, d)`."""
        steps, most = int(self.steps), self.options.max_steps
        with torch.no_grad():
            while steps < most and abs(self._nll(x, steps) - self._nll(x, 2 * steps)) > (
                self.options.step_error
            ):
                steps = min(steps + max(1, steps // 4), most)
        self.steps.fill_(steps)

    def _nll(self, x: Tensor, steps: int) -> float:
        """The mean of V - int div f dt over rows, with the exact divergence and `steps` steps."""
        x, gain = integrate(
            lambda t, state: self.field.with_divergence(t, state[0]),
            (x, x.new_zeros(len(x))),
            self.start,
            self.end,
            Solver("rk4-38", steps=steps),
        )
        return (0.5 * x.square().sum(-1) - gain).mean().item()

    def successor(self, h: float) -> Block:
        """Return the next block, with step size h and these weights (warm) or new ones (fresh)."""
        block = Block(self.d, self.options, h).to(self.h)
        if self.options.initial == "warm":
            block.field.load_state_dict(self.field.state_dict())
        return block

    def halves(self) -> list[Block]:
        """Split into two blocks, each with half the time interval and half the step size h."""
        first, second = copy.deepcopy(self), copy.deepcopy(self)
        second.field.evaluations = 0
        middle = 0.5 * (self.start + self.end)
        first.end.copy_(middle)
        second.start.copy_(middle)
        for half in (first, second):
            half.h.mul_(0.5)
        return [first, second]

    def piece(self) -> Piece:
        """The ODE, with data at `start` and noise at `end`."""
        native = Solver("rk4-38", steps=int(self.steps))
        return Piece(self.field, self.start.item(), self.end.item(), native)
