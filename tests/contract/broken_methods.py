"""Two small methods that keep the contract, and others that each break it in one way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.api.method import Continuous, Discrete, Field, Log, Options, Piece, option
from bench.api.stream import Stream


class Sound(Discrete):
    """A Gaussian with independent columns, x = m + exp(s) z, fitted by Adam."""

    Config = Options
    optimizer: torch.optim.Optimizer

    def __init__(self, d: int, config: Options) -> None:
        super().__init__(d, config)
        self.m = nn.Parameter(0.1 * torch.randn(d))
        self.s = nn.Parameter(torch.zeros(d))
        self.optimizer = torch.optim.Adam(self.parameters(), 1e-2)

    def learn(self, batches: Stream) -> Iterator[Log]:
        """One step of maximum likelihood for each mini-batch `(n, d)`."""
        for x in batches:
            loss = self.loss(x)
            self.step(loss)
            yield {"loss": loss.detach()}

    def loss(self, x: Tensor) -> Tensor:
        """The NLL of a mini-batch."""
        return -self.log_prob(x).mean()

    def step(self, loss: Tensor) -> None:
        """One update."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density `(n,)` of rows `(n, d)`."""
        z = (x - self.m) * torch.exp(-self.s)
        return -0.5 * z.square().sum(-1) - self.s.sum() - 0.5 * self.d * math.log(2 * math.pi)

    def inverse(self, z: Tensor) -> Tensor:
        """The rows `(n, d)` of standard normal draws."""
        return self.m + torch.exp(self.s) * z


class WrongShape(Sound):
    """Its log-densities are a column."""

    def log_prob(self, x: Tensor) -> Tensor:
        return super().log_prob(x)[:, None]


class SinglePrecision(Sound):
    """It answers in float32, whatever it is asked in."""

    def inverse(self, z: Tensor) -> Tensor:
        return super().inverse(z).float()


class DeafParameter(Sound):
    """A parameter of it is detached from the loss."""

    def log_prob(self, x: Tensor) -> Tensor:
        z = (x - self.m) * torch.exp(-self.s.detach())
        return -0.5 * z.square().sum(-1) - self.s.detach().sum() - math.log(2 * math.pi)


class Unnormalised(Sound):
    """Its density integrates to 2."""

    def log_prob(self, x: Tensor) -> Tensor:
        return super().log_prob(x) + math.log(2)


class OtherSamples(Sound):
    """Its samples are spread a tenth wider than its density."""

    def inverse(self, z: Tensor) -> Tensor:
        return super().inverse(1.1 * z)


class NotInverse(Sound):
    """Its inverse has the wrong sign in the exponent."""

    def inverse(self, z: Tensor) -> Tensor:
        return self.m + torch.exp(-self.s) * z

    def loss(self, x: Tensor) -> Tensor:
        return super().loss(3 * x)


class Greedy(Sound):
    """It makes two updates of each mini-batch."""

    def step(self, loss: Tensor) -> None:
        super().step(loss)
        self.optimizer.step()


class Overruns(Sound):
    """It goes on with the last mini-batch when its budget is spent."""

    def learn(self, batches: Stream) -> Iterator[Log]:
        x = torch.zeros(1, self.d)
        while True:
            x = next(batches, x)
            loss = self.loss(x)
            self.step(loss)
            yield {"loss": loss.detach()}


class Forgetful(Sound):
    """Its learning rate falls with a count that no checkpoint keeps."""

    count = 0

    def step(self, loss: Tensor) -> None:
        self.count += 1
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-2 / self.count
        super().step(loss)


class Unseeded(Sound):
    """It adds noise of numpy's."""

    def loss(self, x: Tensor) -> Tensor:
        noise = torch.from_numpy(np.random.normal(size=x.shape)).to(x)  # noqa: NPY002
        return super().loss(x + 0.1 * noise)


class SeedsItself(Sound):
    """It gives all seeds the same draws."""

    def __init__(self, d: int, config: Options) -> None:
        torch.manual_seed(7)
        super().__init__(d, config)


class HidesNaN(Sound):
    """A loss that is NaN is shown as 0."""

    def loss(self, x: Tensor) -> Tensor:
        return torch.nan_to_num(super().loss(x))


class SwallowsNaN(Sound):
    """Mini-batches that are not finite are left out without a word."""

    def learn(self, batches: Stream) -> Iterator[Log]:
        while batches.dealt < batches.total:
            try:
                x = next(batches)
            except ArithmeticError:
                yield {"loss": 0.0}
                continue
            loss = self.loss(x)
            self.step(loss)
            yield {"loss": loss.detach()}


class LogsSeconds(Sound):
    """Its log has a name that the harness uses."""

    def learn(self, batches: Stream) -> Iterator[Log]:
        for log in super().learn(batches):
            yield {**log, "seconds": 1.0}


class DependsOnTheOthers(Sound):
    """It centres the rows that it is asked for."""

    def log_prob(self, x: Tensor) -> Tensor:
        return super().log_prob(x - x.mean(0))


class Raises(Sound):
    """Its inverse is not written yet."""

    def inverse(self, z: Tensor) -> Tensor:
        raise NotImplementedError("to be done")


class Hangs(Sound):
    """It never comes back, and catches what it can."""

    def loss(self, x: Tensor) -> Tensor:
        while True:
            try:
                x = x + 1
            except Exception:
                continue


class ChangesTorch(Sound):
    """It has torch make float64 for everyone."""

    def loss(self, x: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        return super().loss(x)


@dataclass(frozen=True)
class UndocumentedConfig(Options):
    """A hyper-parameter without a meaning."""

    width: int = 8


class Undocumented(Sound):
    """One of its hyper-parameters says nothing of itself."""

    Config = UndocumentedConfig


class Unfinished(Discrete):
    """It has no inverse."""

    Config = Options

    def learn(self, batches: Stream) -> Iterator[Log]:
        """Nothing."""
        yield from ({"loss": 0.0} for _ in batches)

    def log_prob(self, x: Tensor) -> Tensor:
        """A standard normal's."""
        return -0.5 * x.square().sum(-1)


@dataclass(frozen=True)
class FlowConfig(Options):
    """Hyper-parameters of `SoundFlow`."""

    width: int = option(16, "width of the hidden layer")


class Velocity(Field):
    """v(t, x) = w2 tanh(w1 x + t u + b), with its divergence by hand."""

    def __init__(self, d: int, width: int) -> None:
        super().__init__()
        self.first, self.time = nn.Linear(d, width), nn.Parameter(torch.zeros(width))
        self.second = nn.Linear(width, d)

    def hidden(self, t: Tensor, x: Tensor) -> Tensor:
        """The hidden layer `(n, width)`."""
        return torch.tanh(self.first(x) + t[..., None] * self.time)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`."""
        return self.second(self.hidden(t, x))

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity, and sum_j (1 - h_j^2) (w1 w2)_jj."""
        h = self.hidden(t, x)
        weights = (self.first.weight @ self.second.weight).diagonal()
        return self.second(h), (1 - h.square()) @ weights


class WrongVelocity(Velocity):
    """Its divergence has the wrong sign."""

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        velocity, divergence = super().trace(t, x)
        return velocity, -divergence


class SoundFlow(Continuous):
    """Flow matching on the straight path, with noise at t = 0 and data at t = 1."""

    Config = FlowConfig
    optimizer: torch.optim.Optimizer
    velocity: type[Velocity] = Velocity

    def __init__(self, d: int, config: FlowConfig) -> None:
        super().__init__(d, config)
        self.field = self.velocity(d, config.width)
        self.optimizer = torch.optim.Adam(self.parameters(), 1e-2)

    def learn(self, batches: Stream) -> Iterator[Log]:
        """One regression step for each mini-batch `(n, d)`."""
        for x1 in batches:
            x0, t = torch.randn_like(x1), torch.rand(len(x1)).to(x1)
            x_t = t[:, None] * x1 + (1 - t[:, None]) * x0
            loss = (self.v(t, x_t) - (x1 - x0)).square().sum(-1).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield {"loss": loss.detach()}

    def v(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)` that is trained."""
        return self.field(t, x)

    def pieces(self) -> Sequence[Piece]:
        """One ODE."""
        return [Piece(self.field, t_data=1.0, t_noise=0.0)]


class WrongTrace(SoundFlow):
    """The divergence that is written by hand is wrong."""

    velocity = WrongVelocity


class Uncounted(SoundFlow):
    """It trains its network behind the back of whoever counts."""

    def v(self, t: Tensor, x: Tensor) -> Tensor:
        return self.field.forward(t, x)
