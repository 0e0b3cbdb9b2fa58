"""Flow matching: regression of the velocity of a probability path (Lipman et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.api.declarations import Look
from bench.api.method import Continuous, Field, Log, Options, Piece, option
from bench.api.stream import Stream
from bench_methods import coupling
from bench_methods.networks import FourierMLP
from bench_methods.optimisation import cosine, update
from bench_methods.probability_flow import PredictedNoise, ProbabilityFlow
from bench_methods.probability_paths import Diffusion, Path, Straight

LOOK = Look(colour="#E69F00", marker="D")

#: Hours that a budget's couplings may take.
PATIENCE = 2.0


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
        "of noise and data rows: independent, or exact optimal transport in a mini-batch",
    )
    width: int = option(256, "width of the two hidden layers")
    frequencies: int = option(8, "Fourier frequencies of time")
    activation: Literal["tanh", "softplus", "silu", "sin"] = option("silu", "activation")
    scale: float = option(1.0, "factor on the first layer's initial weights")
    sigma_min: float = option(0.0, "standard deviation of the straight path at the data end")
    eps: float = option(1e-3, "the diffusion path ends at t = 1 - eps, where data are noised")
    learning_rate: float = option(2e-3, "Adam's learning rate at the start; cosine decay to 0")
    clip: float = option(1.0, "bound on the gradient's norm")

    def __post_init__(self) -> None:
        if self.width < 1 or self.frequencies < 0:
            raise ValueError("width is at least 1 and frequencies at least 0")
        if not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min lies in [0, 1), not at {self.sigma_min}")
        if not 0 < self.eps < 1:
            raise ValueError(f"eps lies in (0, 1), not at {self.eps}")
        if self.learning_rate <= 0 or self.clip <= 0:
            raise ValueError("learning_rate and clip are above 0")
        if self.scale <= 0:
            raise ValueError(f"scale is above 0, not {self.scale}")
        if self.path == "diffusion" and self.sigma_min > 0:
            raise ValueError("sigma_min is the straight path's; eps ends the diffusion path")
        if self.objective == "score" and self.path == "straight":
            raise ValueError(
                "objective=score needs path=diffusion: on the straight path the velocity that a "
                "score gives is unbounded at the noise end"
            )
        if self.objective == "score" and self.coupling == "ot":
            raise ValueError(
                "objective=score needs coupling=independent: noise that is coupled with its data "
                "row does not give the score"
            )

    def check(self, d: int, minibatches: int, batch_size: int) -> None:
        """Refuse optimal-transport couplings that would take hours."""
        hours = minibatches * coupling.seconds(batch_size) / 3600
        if self.coupling == "ot" and hours > PATIENCE:
            raise ValueError(
                f"{minibatches} optimal-transport couplings of {batch_size} rows would take about "
                f"{hours:.1f} hours; take a smaller batch size or coupling=independent"
            )


class FlowMatching(Continuous):
    """Conditional flow matching, with noise x0 at t = 0 and data rows x1 at t = 1.

    On a path x_t = a(t) x1 + b(t) x0 (`probability_paths`), at uniform times,

        min E | v(t, x_t) - (a' x1 + b' x0) |^2               (Lipman et al. 2023, eq. 9)

    x0 ~ N(0, I) is drawn for each row. With `coupling=ot` it is handed to the rows of the
    mini-batch in the order of least transport cost (Tong et al. 2024): the marginals stay, the
    paths get shorter and straighter.

    The diffusion path ends at t = 1 - eps: what is scored is the density of data shrunk and noised
    up to there, x a + b e with e ~ N(0, I). At eps = 1e-3 that is b = 0.0105. With
    `objective=score` the noise n is predicted (`PredictedNoise`) instead of the velocity,

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
        self.optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)

    def learn(self, batches: Stream) -> Iterator[Log]:
        """One regression step for each mini-batch `(n, d)`."""
        for x1 in batches:
            x0, t = torch.randn_like(x1), self.path.draw_times(x1)
            if self.config.coupling == "ot":
                x0 = coupling.optimal(x0, x1)
            loss = self.errors(x0, x1, t).mean()
            rate = self.config.learning_rate * cosine(batches.spent)
            update(self.optimizer, loss, rate, self.config.clip)
            yield {"loss": loss.detach()}

    def errors(self, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        """The squared errors `(n,)` of the network, for pairs `(n, d)` at times `(n,)`."""
        x_t, velocity = self.path.interpolate(x0, x1, t)
        if isinstance(self.field, ProbabilityFlow):
            return (self.field.noise(t, x_t) - x0).square().sum(-1)
        return (self.field(t, x_t) - velocity).square().sum(-1)

    def pieces(self) -> Sequence[Piece]:
        """One ODE, from data at the path's end to noise at t = 0."""
        return [Piece(self.field, t_data=self.path.t_data, t_noise=0.0)]
