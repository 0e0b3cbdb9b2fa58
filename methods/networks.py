"""Velocity networks that several methods share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.method import Field
from bench.numerics.divergence import collapsed, exact

Activation = Callable[[Tensor], Tensor]


def _silu_slope(x: Tensor) -> Tensor:
    gate = torch.sigmoid(x)
    return gate * (1 + x * (1 - gate))


#: An activation and its derivative.
ACTIVATIONS: dict[str, tuple[Activation, Activation]] = {
    "tanh": (torch.tanh, lambda x: 1 - torch.tanh(x).square()),
    "softplus": (F.softplus, torch.sigmoid),
    "silu": (F.silu, _silu_slope),
}


class FourierMLP(Field):
    """Two hidden layers, with time as Fourier features in both.

    v(t, x) = W3 s(W2 s(W1 x + U1 e(t) + b1) + U2 e(t) + b2) + U3 e(t) + b3, where e(t) holds
    t and sin, cos of pi k t for k = 1 .. `frequencies`. The divergence is exact, by the collapsed
    trace.

    Args:
        d: the dimension of x.
        width: the width of both hidden layers.
        frequencies: the number of Fourier frequencies of time.
        activation: a key of `ACTIVATIONS`.
    """

    def __init__(self, d: int, width: int, frequencies: int, activation: str) -> None:
        super().__init__()
        self.activation, self.slope = ACTIVATIONS[activation]
        times = 1 + 2 * frequencies
        self.register_buffer("frequencies", math.pi * torch.arange(1, frequencies + 1))
        self.space = nn.ModuleList(
            nn.Linear(i, o) for i, o in ((d, width), (width, width), (width, d))
        )
        self.time = nn.ModuleList(nn.Linear(times, o, bias=False) for o in (width, width, d))
        # v = 0 at the start: the flow is the identity
        for last in (self.space[2], self.time[2]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`."""
        return self._layers(t, x)[0]

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity `(n, d)` and its exact divergence `(n,)`."""
        velocity, a1, a2 = self._layers(t, x)
        w1, w2, w3 = (layer.weight for layer in self.space)
        return velocity, collapsed(w1, w2, w3, self.slope(a1), self.slope(a2))

    def _layers(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The velocity and both pre-activations."""
        e = self._embed(t)
        a1 = self.space[0](x) + self.time[0](e)
        a2 = self.space[1](self.activation(a1)) + self.time[1](e)
        return self.space[2](self.activation(a2)) + self.time[2](e), a1, a2

    def _embed(self, t: Tensor) -> Tensor:
        """`(1 + 2 frequencies,)` for a scalar time, `(n, 1 + 2 frequencies)` for times `(n,)`."""
        angles = t[..., None] * self.frequencies
        return torch.cat([t[..., None], angles.sin(), angles.cos()], dim=-1)


class ConcatSquash(Field):
    """FFJORD's field: layers whose output is gated and shifted by time.

    Layer i is h -> (W h + b) * sigmoid(g t + c) + k t, with an activation between the layers
    (Grathwohl et al. 2019, the repository's `concatsquash`). With two hidden layers the divergence
    is exact by the collapsed trace; else by d Jacobian-vector products.

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
        self.space = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(sizes))
        self.gate = nn.ModuleList(nn.Linear(1, o) for o in sizes[1:])
        self.shift = nn.ModuleList(nn.Linear(1, o, bias=False) for o in sizes[1:])

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`."""
        return self._layers(t, x)[0]

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity `(n, d)` and its exact divergence `(n,)`; t a scalar."""
        if len(self.space) != 3:
            return exact(lambda y: self.forward(t, y), x)
        velocity, (a1, a2) = self._layers(t, x)
        w1, w2, w3 = (
            torch.sigmoid(gate(t[..., None]))[:, None] * layer.weight
            for gate, layer in zip(self.gate, self.space, strict=True)
        )
        return velocity, collapsed(w1, w2, w3, self.slope(a1), self.slope(a2))

    def _layers(self, t: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The velocity and the pre-activations of the hidden layers."""
        t = t[..., None]
        pre_activations: list[Tensor] = []
        for layer, gate, shift in zip(self.space, self.gate, self.shift, strict=True):
            if pre_activations:
                x = self.activation(x)
            x = layer(x) * torch.sigmoid(gate(t)) + shift(t)
            pre_activations.append(x)
        return pre_activations.pop(), pre_activations
