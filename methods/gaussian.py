"""The floor: one Gaussian with full covariance; a model that does worse has failed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Discrete, Log, Look, Options, Stream, option
from bench_methods.bounds import at_least

LOOK = Look(colour="#222222", marker="*", family="floor")


@dataclass(frozen=True)
class GaussianConfig(Options):
    """Hyper-parameters of the Gaussian floor."""

    ridge: float = option(1e-6, "added to every variance, as a share of the mean variance")

    def __post_init__(self) -> None:
        at_least(0, ridge=self.ridge)


class Gaussian(Discrete):
    """A Gaussian fitted to the mini-batches by maximum likelihood.

    There is no optimiser: each update adds a mini-batch to the running mean and scatter matrix,
    so the model is always the fit to all rows seen so far. Both are kept in float64 and updated by
    Chan's formula, because plain sums of squares lose digits.

    References:
        Chan, Golub, LeVeque 1983, Algorithms for computing the sample variance, eq. 2.1.
    """

    Config = GaussianConfig
    rows: Tensor
    mean: Tensor
    scatter: Tensor

    def __init__(self, d: int, config: GaussianConfig) -> None:
        super().__init__(d, config)
        self.register_buffer("rows", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(d, dtype=torch.float64))
        self.register_buffer("scatter", torch.zeros(d, d, dtype=torch.float64))

    def learn(self, batches: Stream) -> Iterator[Log]:
        """Add each mini-batch `(n, d)` to the moments; the loss is its NLL before the update."""
        for x in batches:
            x = x.to(self.mean)
            ready = self.rows > self.d
            loss = -self.log_prob(x).mean() if ready else x.new_zeros(())
            self._add(x)
            yield {"loss": loss}

    def size(self) -> int:
        """The number of means and covariances."""
        return self.d * (self.d + 3) // 2

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density `(n,)` of rows `(n, d)`, in nats."""
        factor = self._factor().to(x)
        z = torch.linalg.solve_triangular(factor, (x - self.mean.to(x)).T, upper=False)
        log_det = factor.diagonal().log().sum()
        log_prob: Tensor = -0.5 * z.square().sum(0) - log_det - 0.5 * self.d * math.log(2 * math.pi)
        return log_prob

    def inverse(self, z: Tensor) -> Tensor:
        """The rows `(n, d)` of standard normal draws `(n, d)`."""
        return self.mean.to(z) + z @ self._factor().to(z).T

    def _factor(self) -> Tensor:
        """The Cholesky factor of the covariance."""
        covariance = self.scatter.double() / self.rows
        scale = covariance.diagonal().mean()
        ridge = self.config.ridge * torch.where(
            scale > 0, scale, 1.0
        )  # a single row has no variance
        eye = torch.eye(self.d, dtype=torch.float64, device=covariance.device)
        factor: Tensor = torch.linalg.cholesky(covariance + ridge * eye)
        return factor

    def _add(self, x: Tensor) -> None:
        n = len(x)
        total = self.rows + n
        centre = x.mean(0)
        centred, shift = x - centre, centre - self.mean
        self.scatter += centred.T @ centred + torch.outer(shift, shift) * (self.rows * n / total)
        self.mean += shift * (n / total)
        self.rows.copy_(total)
