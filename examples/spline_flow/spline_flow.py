"""Neural spline flow (Durkan et al. 2019), by zuko."""

from dataclasses import dataclass

import torch
from zuko.flows import NSF

from bench.api import Discrete, Look, Options, Stream, option

LOOK = Look(colour="#8AB564", marker="h", family="baseline")


@dataclass(frozen=True)
class SplineFlowConfig(Options):
    transforms: int = option(3, "autoregressive transforms")
    width: int = option(64, "width of the two hidden layers of each")
    learning_rate: float = option(1e-3, "Adam's learning rate")


class SplineFlow(Discrete):
    Config = SplineFlowConfig

    def __init__(self, d: int, config: SplineFlowConfig) -> None:
        super().__init__(d, config)
        self.flow = NSF(d, transforms=config.transforms, hidden_features=[config.width] * 2)
        self.optimizer = torch.optim.Adam(self.flow.parameters(), config.learning_rate)

    def learn(self, batches: Stream):
        for x in batches:
            loss = -self.flow().log_prob(x).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield {"loss": loss.detach()}

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return self.flow().log_prob(x)

    def inverse(self, z: torch.Tensor) -> torch.Tensor:
        return self.flow().transform.inv(z)
