"""Activations and their derivatives, which exact divergences need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """An elementwise function: its value alone, and its value with its derivative (slope)."""

    value: Callable[[Tensor], Tensor]
    with_slope: Callable[[Tensor], tuple[Tensor, Tensor]]


def _tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    value = torch.tanh(x)
    return value, 1 - value.square()


def _silu(x: Tensor) -> tuple[Tensor, Tensor]:
    gate = torch.sigmoid(x)
    value = x * gate
    return value, torch.addcmul(value, gate, 1 - value)


def _softplus(beta: float) -> Activation:
    def value(x: Tensor) -> Tensor:
        # Linear only where float64 cannot tell; torch's threshold is off by 2e-9 in the slope.
        return F.softplus(x, beta=beta, threshold=40)

    return Activation(value, lambda x: (value(x), torch.sigmoid(beta * x)))


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(torch.tanh, _tanh),
    "softplus": _softplus(1.0),
    "softplus20": _softplus(20.0),
    "silu": Activation(F.silu, _silu),
    "sin": Activation(torch.sin, lambda x: (torch.sin(x), torch.cos(x))),
}
