"""Velocity networks that several methods share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import Field
from bench.numerics.divergence import collapsed, propagated

Activation = Callable[[Tensor], Tensor]


def _silu_slope(x: Tensor) -> Tensor:
    gate = torch.sigmoid(x)
    return gate * (1 + x * (1 - gate))


#: An activation and its derivative.
ACTIVATIONS: dict[str, tuple[Activation, Activation]] = {
    "tanh": (torch.tanh, lambda x: 1 - torch.tanh(x).square()),
    # linear only where float64 can't tell: torch's own threshold, 20, is off by 2e-9 in the slope
    "softplus": (lambda x: F.softplus(x, threshold=40), torch.sigmoid),
    "softplus20": (
        lambda x: F.softplus(x, beta=20, threshold=40),
        lambda x: torch.sigmoid(20 * x),
    ),
    "silu": (F.silu, _silu_slope),
    "sin": (torch.sin, torch.cos),
}


class ShiftedLinear(nn.Module):
    """A linear layer that a time embedding shifts: W x + U e + b."""

    def __init__(self, inputs: int, times: int, outputs: int) -> None:
        super().__init__()
        self.space = nn.Linear(inputs, outputs)
        self.time = nn.Linear(times, outputs, bias=False)

    def forward(self, e: Tensor, x: Tensor) -> Tensor:
        """The output `(n, outputs)` for e `(times,)` or `(n, times)` and x `(n, inputs)`."""
        shifted: Tensor = self.space(x) + self.time(e)
        return shifted


class FourierMLP(Field):
    """A multilayer perceptron, with time as Fourier features in every layer.

    v(t, x) = L3(e, s(L2(e, s(L1(e, x))))) with layers L(e, x) = W x + U e + b, where e(t) holds
    t and sin, cos of pi k t for k = 1 .. `frequencies`. The divergence is exact: the collapsed
    trace with two hidden layers, else the Jacobian pushed through the layers.

    Args:
        d: the dimension of x.
        width: the width of the hidden layers.
        frequencies: the number of Fourier frequencies of time.
        activation: a key of `ACTIVATIONS`.
        scale: a factor on the first layer's initial weights on x: how fine a structure the
            network sees from the start.
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
        super().__init__()
        self.activation, self.slope = ACTIVATIONS[activation]
        times = 1 + 2 * frequencies
        self.register_buffer("frequencies", math.pi * torch.arange(1, frequencies + 1))
        sizes = [d, *[width] * hidden, d]
        layers = [ShiftedLinear(i, times, o) for i, o in itertools.pairwise(sizes)]
        self.layers = nn.ModuleList(layers)
        with torch.no_grad():
            layers[0].space.weight.mul_(scale)
        for parameter in layers[-1].parameters():
            nn.init.zeros_(parameter)  # v = 0 at the start: the flow is the identity

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`."""
        return self._pre_activations(t, x)[-1]

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity `(n, d)` and its exact divergence `(n,)`."""
        *hidden, velocity = self._pre_activations(t, x)
        weights = [layer.space.weight for layer in self._shifted()]
        slopes = [self.slope(a) for a in hidden]
        if len(hidden) == 2:
            return velocity, collapsed(*weights, *slopes)
        return velocity, propagated(weights, slopes)

    def _pre_activations(self, t: Tensor, x: Tensor) -> list[Tensor]:
        """The pre-activations of the hidden layers and, last, the velocity."""
        e = self._embed(t)
        outputs: list[Tensor] = []
        for layer in self._shifted():
            x = layer(e, self.activation(x) if outputs else x)
            outputs.append(x)
        return outputs

    def _shifted(self) -> Iterator[ShiftedLinear]:
        for layer in self.layers:
            assert isinstance(layer, ShiftedLinear)
            yield layer

    def _embed(self, t: Tensor) -> Tensor:
        """`(1 + 2 frequencies,)` for a scalar time, `(n, 1 + 2 frequencies)` for times `(n,)`."""
        angles = t[..., None] * self.frequencies
        return torch.cat([t[..., None], angles.sin(), angles.cos()], dim=-1)


class SquashedLinear(nn.Module):
    """A linear layer that time gates and shifts: (W x + b) * sigmoid(g t + c) + k t."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.space = nn.Linear(inputs, outputs)
        self.gate = nn.Linear(1, outputs)
        self.shift = nn.Linear(1, outputs, bias=False)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The output `(n, outputs)` for a scalar time or times `(n,)`, and x `(n, inputs)`."""
        t = t[..., None]
        squashed: Tensor = self.space(x) * torch.sigmoid(self.gate(t)) + self.shift(t)
        return squashed

    def weight(self, t: Tensor) -> Tensor:
        """The Jacobian `(outputs, inputs)` at a scalar time."""
        return torch.sigmoid(self.gate(t[..., None]))[:, None] * self.space.weight


class ConcatSquash(Field):
    """FFJORD's field: `SquashedLinear` layers with an activation between them.

    The divergence is exact: the collapsed trace with two hidden layers, else the Jacobian pushed
    through the layers. Source: Grathwohl et al. 2019, the repository's `concatsquash`.

    Args:
        d: the dimension of x.
        width: the width of the hidden layers.
        hidden: the number of hidden layers.
        activation: a key of `ACTIVATIONS`.
    """

    def __init__(self, d: int, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.activation, self.slope = ACTIVATIONS[activation]
        sizes = [d, *[width] * hidden, d]
        self.layers = nn.ModuleList(SquashedLinear(i, o) for i, o in itertools.pairwise(sizes))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`."""
        return self._pre_activations(t, x)[-1]

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity `(n, d)` and its exact divergence `(n,)`."""
        if t.ndim > 0:
            return super().trace(t, x)
        *hidden, velocity = self._pre_activations(t, x)
        weights = [layer.weight(t) for layer in self._squashed()]
        slopes = [self.slope(a) for a in hidden]
        if len(hidden) == 2:
            return velocity, collapsed(*weights, *slopes)
        return velocity, propagated(weights, slopes)

    def _pre_activations(self, t: Tensor, x: Tensor) -> list[Tensor]:
        """The pre-activations of the hidden layers and, last, the velocity."""
        outputs: list[Tensor] = []
        for layer in self._squashed():
            x = layer(t, self.activation(x) if outputs else x)
            outputs.append(x)
        return outputs

    def _squashed(self) -> Iterator[SquashedLinear]:
        for layer in self.layers:
            assert isinstance(layer, SquashedLinear)
            yield layer
