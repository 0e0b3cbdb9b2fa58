"""Flow matching: regression of the velocity of a probability path (Lipman et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.api import Continuous, Field, Log, Look, Options, Piece, Stream, option
from bench_methods import coupling
from bench_methods.bounds import at_least, positive
from bench_methods.networks import FourierMLP
from bench_methods.optimisation import cosine, update
from bench_methods.probability_flow import PredictedNoise, ProbabilityFlow
from bench_methods.probability_paths import Diffusion, Path, Straight

LOOK = Look(colour="#E69F00", marker="D")

#: The most hours that a run's optimal-transport couplings may take.
MOST_HOURS = 2.0


@dataclass(frozen=True)
class FlowMatchingConfig(Options):
    """Hyper-parameters of flow matching."""

    path: Literal["straight", "diffusion"] = option(
        "straight", "the path from noise to data: straight, or a variance-preserving diffusion"
    )
    objective: Literal["velocity", "score"] = option(
        "velocity", "what is regressed; score: denoising score matching on the diffusion path"
    )
    coupling: Literal["independent", "ot"] = option(
        "independent",
        "how noise is paired with data rows: independently, or by exact optimal transport within a "
        "mini-batch",
    )
    width: int = option(256, "width of the two hidden layers")
    frequencies: int = option(8, "Fourier frequencies of time")
    activation: Literal["tanh", "softplus", "silu", "sin"] = option("silu", "activation")
    scale: float = option(1.0, "factor on the first layer's initial weights")
    sigma_min: float = option(0.0, "standard deviation of the straight path at its data end")
    eps: float = option(
        1e-3, "the diffusion path ends at t = 1 - eps, where data are still slightly noisy"
    )
    learning_rate: float = option(2e-3, "Adam's initial learning rate; cosine decay to 0")
    clip: float = option(1.0, "bound on the gradient's norm")

    def __post_init__(self) -> None:
        at_least(1, width=self.width)
        at_least(0, frequencies=self.frequencies)
        positive(learning_rate=self.learning_rate, clip=self.clip, scale=self.scale)
        if not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min must be in [0, 1), got {self.sigma_min}")
        if not 0 < self.eps < 1:
            raise ValueError(f"eps must be in (0, 1), got {self.eps}")
        if self.path == "diffusion" and self.sigma_min > 0:
            raise ValueError(
                f"sigma_min applies to path=straight only, got {self.sigma_min} with "
                "path=diffusion; use eps"
            )
        if self.objective == "score" and self.path == "straight":
            raise ValueError(
                "objective=score needs path=diffusion: on the straight path, the velocity derived "
                "from a score is unbounded at the noise end"
            )
        if self.objective == "score" and self.coupling == "ot":
            raise ValueError(
                "objective=score needs coupling=independent: noise coupled with its data row does "
                "not give the score"
            )

    def check(self, d: int, minibatches: int, batch_size: int) -> None:
        """Raise ValueError if the optimal-transport couplings would take hours."""
        hours = minibatches * coupling.seconds(batch_size) / 3600
        if self.coupling == "ot" and hours > MOST_HOURS:
            raise ValueError(
                f"{minibatches} optimal-transport couplings of {batch_size} rows would take about "
                f"{hours:.1f} hours; use a smaller batch size or coupling=independent"
            )


class FlowMatching(Continuous):
    """Conditional flow matching, with noise x0 at t = 0 and data rows x1 at t = 1.

    On a path x_t = a(t) x1 + b(t) x0 (`probability_paths`), at uniform times,

        min E | v(t, x_t) - (a' x1 + b' x0) |^2               (Lipman et al. 2023, eq. 9)

    x0 ~ N(0, I) is drawn for each row. With `coupling=ot` the noise rows of a mini-batch are
    assigned to its data rows at least transport cost (Tong et al. 2024): the marginals are
    unchanged, the paths become shorter and straighter.

    The diffusion path ends at t = 1 - eps, so the density is that of slightly shrunk and noisy
    data, a x + b e with e ~ N(0, I); at eps = 1e-3, b = 0.0105. With `objective=score` the noise
    n is predicted (`PredictedNoise`) instead of the velocity,

        min E | n(t, x_t) - x0 |^2,  score = -n / b           (Song et al. 2021, eq. 7)

    which is denoising score matching with weight b^2; the flow is the probability-flow ODE.

    References:
        Lipman, Chen, Ben-Hamu, Nickel, Le 2023, Flow Matching for Generative Modeling.
        Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole 2021, Score-Based Generative Modeling
        through Stochastic Differential Equations.
        Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf, Bengio 2024, Improving and
        Generalizing Flow-Based Generative Models with Minibatch Optimal Transport.
    """

    Config = FlowMatchingConfig
    optimizer: torch.optim.Optimizer

    def __init__(self, d: int, config: FlowMatchingConfig) -> None:
        super().__init__(d, config)
        network = FourierMLP(d, config.width, config.frequencies, config.activation, config.scale)
        self.path: Path = Straight(config.sigma_min)
        self.field: Field = network
        if config.path == "diffusion":
            self.path = Diffusion(config.eps)
            if config.objective == "score":
                self.field = ProbabilityFlow(PredictedNoise(network, self.path), self.path)
        self.optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, fused=True)

    def learn(self, batches: Stream) -> Iterator[Log]:
        """Take one regression step for each mini-batch `(n, d)`."""
        for x1 in batches:
            x0, t = torch.randn_like(x1), self.path.draw_times(x1)
            if self.config.coupling == "ot":
                x0 = coupling.optimal(x0, x1)
            loss = self.error(x0, x1, t)
            rate = self.config.learning_rate * cosine(batches.spent)
            update(self.optimizer, loss, rate, self.config.clip)
            yield {"loss": loss.detach()}

    def error(self, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        """The network's squared error, averaged over pairs `(n, d)` at times `(n,)`."""
        x_t, velocity = self.path.interpolate(x0, x1, t)
        if isinstance(self.field, ProbabilityFlow):
            return self.d * F.mse_loss(self.field.noise(t, x_t), x0)
        return self.d * F.mse_loss(self.field(t, x_t), velocity)

    def pieces(self) -> Sequence[Piece]:
        """One ODE, from data at the end of the path to noise at t = 0."""
        return [Piece(self.field, t_data=self.path.t_data, t_noise=0.0)]
