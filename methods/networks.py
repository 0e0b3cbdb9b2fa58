"""Velocity networks shared by several methods: multilayer perceptrons that depend on time."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Field
from bench.numerics.divergence import collapsed, propagated
from bench_methods.activations import ACTIVATIONS


class TimedLinear(nn.Module, ABC):
    """A layer linear in x whose weight and bias depend on features of time."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.space = nn.Linear(inputs, outputs)

    @abstractmethod
    def at(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """The weight `(outputs, inputs)` and the bias `(outputs,)` at features `(times,)`."""

    @abstractmethod
    def forward(self, e: Tensor, x: Tensor) -> Tensor:
        """The output `(n, outputs)` for features `(n, times)` and x `(n, inputs)`."""


class ShiftedLinear(TimedLinear):
    """A linear layer shifted by time features e: W x + U e + b."""

    def __init__(self, inputs: int, times: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.time = nn.Linear(times, outputs, bias=False)

    def at(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """W and U e + b."""
        return self.space.weight, self.space.bias + self.time(e)

    def forward(self, e: Tensor, x: Tensor) -> Tensor:
        """The output `(n, outputs)` for features `(n, times)` and x `(n, inputs)`."""
        weight, shift, bias = self.space.weight.T, self.time.weight.T, self.space.bias
        # A narrow factor's gradient is a fast product only if that factor is contiguous.
        if x.shape[1] < len(bias):
            return torch.addmm(bias, torch.cat([x, e], dim=1), torch.cat([weight, shift]))
        return torch.addmm(torch.addmm(bias, e, shift.contiguous()), x, weight)


class SquashedLinear(TimedLinear):
    """A linear layer gated and shifted by time: (W x + b) * sigmoid(g t + c) + k t."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.gate = nn.Linear(1, outputs)
        self.shift = nn.Linear(1, outputs, bias=False)

    def at(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """The gated W, and the gated and shifted b."""
        gate = torch.sigmoid(self.gate(e))
        return gate[:, None] * self.space.weight, gate * self.space.bias + self.shift(e)

    def forward(self, e: Tensor, x: Tensor) -> Tensor:
        """The output `(n, outputs)` for times `(n, 1)` and x `(n, inputs)`."""
        squashed: Tensor = self.space(x) * torch.sigmoid(self.gate(e)) + self.shift(e)
        return squashed


class TimedMLP(Field):
    """A multilayer perceptron whose layers depend on time.

    The divergence is exact: the collapsed trace for two hidden layers, otherwise the Jacobian
    propagated through the layers.

    Args:
        layers: the layers, from d to d.
        activation: a key of `ACTIVATIONS`.
    """

    def __init__(self, layers: Iterable[TimedLinear], activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.layers = nn.ModuleList(layers)

    def embed(self, t: Tensor) -> Tensor:
        """The features `(..., times)` of times `(...)`: t itself."""
        return t[..., None]

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`."""
        e = self.embed(t)
        for i, layer in enumerate(self._timed()):
            x = self.activation.value(x) if i > 0 else x
            x = layer(e, x) if t.ndim > 0 else F.linear(x, *layer.at(e))
        return x

    def push(self, t: Tensor, x: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity and its derivative along `direction`, both `(n, d)`."""
        if t.ndim > 0:
            return super().push(t, x, direction)
        for i, (weight, bias) in enumerate(self._at(t)):
            if i > 0:
                x, slope = self.activation.with_slope(x)
                direction = slope * direction
            x, direction = F.linear(x, weight, bias), direction @ weight.T
        return x, direction

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity `(n, d)` and its exact divergence `(n,)`."""
        if t.ndim > 0:
            return super().trace(t, x)
        slopes: list[Tensor] = []
        weights: list[Tensor] = []
        for weight, bias in self._at(t):
            if weights:
                x, slope = self.activation.with_slope(x)
                slopes.append(slope)
            x = F.linear(x, weight, bias)
            weights.append(weight)
        return x, collapsed(*weights, *slopes) if len(slopes) == 2 else propagated(weights, slopes)

    def _at(self, t: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The layers' weights and biases at a scalar time."""
        e = self.embed(t)
        return [layer.at(e) for layer in self._timed()]

    def _timed(self) -> list[TimedLinear]:
        return [layer for layer in self.layers if isinstance(layer, TimedLinear)]


class FourierMLP(TimedMLP):
    """A multilayer perceptron with Fourier features of time in every layer.

    v(t, x) = L3(e, s(L2(e, s(L1(e, x))))) with layers L(e, x) = W x + U e + b, where e(t) holds
    t and sin, cos of pi k t for k = 1 .. `frequencies`.

    Args:
        d: the dimension of x.
        width: the width of the hidden layers.
        frequencies: the number of Fourier frequencies of time.
        activation: a key of `ACTIVATIONS`.
        scale: a factor on the first layer's initial weights on x; a larger one resolves finer
            structure from the start.
        hidden: the number of hidden layers.
    """

    frequencies: Tensor

    def __init__(
        self,
        d: int,
        width: int,
        frequencies: int,
        activation: str,
        scale: float = 1.0,
        hidden: int = 2,
    ) -> None:
        times, sizes = 1 + 2 * frequencies, [d, *[width] * hidden, d]
        layers = [ShiftedLinear(i, times, o) for i, o in itertools.pairwise(sizes)]
        super().__init__(layers, activation)
        self.register_buffer("frequencies", math.pi * torch.arange(1, frequencies + 1))
        with torch.no_grad():
            layers[0].space.weight.mul_(scale)
        for parameter in layers[-1].parameters():
            nn.init.zeros_(parameter)  # v = 0 at the start: the flow is the identity

    def embed(self, t: Tensor) -> Tensor:
        """`(1 + 2 frequencies,)` for a scalar time, `(n, 1 + 2 frequencies)` for times `(n,)`."""
        if not len(self.frequencies):
            return t[..., None]
        angles = t[..., None] * self.frequencies
        return torch.cat([t[..., None], angles.sin(), angles.cos()], dim=-1)


class ConcatSquash(TimedMLP):
    """FFJORD's field: `SquashedLinear` layers with an activation between them.

    Source: Grathwohl et al. 2019, the repository's `concatsquash`.

    Args:
        d: the dimension of x.
        width: the width of the hidden layers.
        hidden: the number of hidden layers.
        activation: a key of `ACTIVATIONS`.
    """

    def __init__(self, d: int, width: int, hidden: int, activation: str) -> None:
        sizes = [d, *[width] * hidden, d]
        super().__init__((SquashedLinear(i, o) for i, o in itertools.pairwise(sizes)), activation)
