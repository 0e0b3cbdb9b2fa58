"""Flow matching: regression of the velocity of a straight probability path (Lipman et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.method import Continuous, Log, Options, Piece, option
from bench.stream import Stream
from bench_methods.networks import FourierMLP
from bench_methods.optimisation import cosine, update


@dataclass(frozen=True)
class FlowMatchingConfig(Options):
    """Hyper-parameters of flow matching."""

    width: int = option(256, "width of the two hidden layers")
    frequencies: int = option(8, "Fourier frequencies of time")
    activation: Literal["tanh", "softplus", "silu", "sin"] = option("silu", "activation")
    scale: float = option(1.0, "factor on the first layer's initial weights")
    sigma_min: float = option(0.0, "standard deviation of the path at the data end")
    learning_rate: float = option(2e-3, "Adam's learning rate at the start; cosine decay to 0")
    clip: float = option(1.0, "bound on the gradient's norm")

    def __post_init__(self) -> None:
        if self.width < 1 or self.frequencies < 0:
            raise ValueError("width is at least 1 and frequencies at least 0")
        if not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min lies in [0, 1), not at {self.sigma_min}")
        if self.learning_rate <= 0 or self.clip <= 0:
            raise ValueError("learning_rate and clip are above 0")
        if self.scale <= 0:
            raise ValueError(f"scale is above 0, not {self.scale}")


class FlowMatching(Continuous):
    """Conditional flow matching with independent coupling on the straight (OT) path.

    With x0 ~ N(0, I) and x1 a data row, t ~ U[0, 1]:

        x_t = (1 - (1 - sigma_min) t) x0 + t x1               (Lipman et al. 2023, eq. 22)
        u   = x1 - (1 - sigma_min) x0                         (eq. 23)
        min E | v(t, x_t) - u |^2                             (eq. 14)

    Noise lies at t = 0, data at t = 1.

    References:
        Lipman, Chen, Ben-Hamu, Nickel, Le 2023, Flow Matching for Generative Modeling.
    """

    Config = FlowMatchingConfig
    optimizer: torch.optim.Optimizer

    def __init__(self, d: int, config: FlowMatchingConfig) -> None:
        super().__init__(d, config)
        self.field = FourierMLP(
            d, config.width, config.frequencies, config.activation, config.scale
        )
        self.optimizer = torch.optim.Adam(self.field.parameters(), config.learning_rate)

    def learn(self, batches: Stream) -> Iterator[Log]:
        """One regression step for each mini-batch `(n, d)`."""
        for x1 in batches:
            x0, t = torch.randn_like(x1), torch.rand(len(x1), device=x1.device)
            x_t, target = self.interpolate(x0, x1, t)
            loss = (self.field(t, x_t) - target).square().sum(-1).mean()
            rate = self.config.learning_rate * cosine(batches.spent)
            update(self.optimizer, loss, rate, self.config.clip)
            yield {"loss": loss.detach()}

    def interpolate(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The point `(n, d)` of the path at times `(n,)` and its conditional velocity `(n, d)`."""
        slope = 1 - self.config.sigma_min
        t = t[:, None]
        return (1 - slope * t) * x0 + t * x1, x1 - slope * x0

    def pieces(self) -> Sequence[Piece]:
        """One ODE, from data at t = 1 to noise at t = 0."""
        return [Piece(self.field, t_data=1.0, t_noise=0.0)]
