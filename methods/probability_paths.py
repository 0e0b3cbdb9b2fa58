"""Probability paths from noise at t = 0 to data near t = 1, and their conditional velocities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor


class Weights(NamedTuple):
    """The coefficients of a data row x1 and noise x0 in `data * x1 + noise * x0`."""

    data: Tensor | float
    noise: Tensor | float


class Path(ABC):
    """Points x_t = a(t) x1 + b(t) x0 between noise x0 ~ N(0, I) and a data row x1."""

    @property
    @abstractmethod
    def t_data(self) -> float:
        """The last time, where x_t is the data row with noise of weight b(t_data)."""

    @abstractmethod
    def position(self, t: Tensor) -> Weights:
        """a and b at times of any shape."""

    @abstractmethod
    def velocity(self, t: Tensor) -> Weights:
        """da/dt and db/dt at times of any shape."""

    def interpolate(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Points x_t and velocities, `(n, d)` each, at times `(n,)` between fixed x0 and x1."""
        t = t[:, None]
        at, towards = self.position(t), self.velocity(t)
        return at.data * x1 + at.noise * x0, towards.data * x1 + towards.noise * x0

    def draw_times(self, x: Tensor) -> Tensor:
        """Draw a time for each of n rows, `(n,)`, uniform between 0 and `t_data`."""
        return torch.rand(len(x), dtype=x.dtype, device=x.device) * self.t_data


@dataclass(frozen=True)
class Straight(Path):
    """The optimal-transport path x_t = t x1 + (1 - (1 - sigma_min) t) x0.

    Source: Lipman et al. 2023, equations 20 to 23.
    """

    sigma_min: float = 0.0

    @property
    def t_data(self) -> float:
        """1."""
        return 1.0

    def position(self, t: Tensor) -> Weights:
        """t and 1 - (1 - sigma_min) t."""
        return Weights(t, 1 - (1 - self.sigma_min) * t)

    def velocity(self, t: Tensor) -> Weights:
        """1 and sigma_min - 1."""
        return Weights(1.0, self.sigma_min - 1)


@dataclass(frozen=True)
class Diffusion(Path):
    """The variance-preserving diffusion run backwards: x_t = a x1 + sqrt(1 - a^2) x0.

    The diffusion dx = -beta(s) x / 2 ds + sqrt(beta(s)) dw has s = 1 - t, beta rising linearly
    from `BETA[0]` to `BETA[1]`, and a = exp(-B / 2) with B the integral of beta from 0 to s. The
    velocity is unbounded near s = 0, so the path ends at t = 1 - eps; beyond that, where adaptive
    solvers may evaluate it, the coefficients are those of the end. At t = 0, a = 0.0066: almost
    pure noise.

    Source: Song et al. 2021, equations 32 and 33; Lipman et al. 2023, equations 18 and 19.
    """

    eps: float
    BETA: ClassVar = (0.1, 20.0)

    @property
    def t_data(self) -> float:
        """1 - eps."""
        return 1 - self.eps

    def rate(self, t: Tensor) -> Tensor:
        """beta at s = 1 - t."""
        low, high = self.BETA
        return low + (high - low) * self._s(t)

    def position(self, t: Tensor) -> Weights:
        """a and sqrt(1 - a^2)."""
        s, (low, high) = self._s(t), self.BETA
        integral = s * (low + 0.5 * (high - low) * s)
        return Weights(torch.exp(-0.5 * integral), (-torch.expm1(-integral)).sqrt())

    def velocity(self, t: Tensor) -> Weights:
        """beta a / 2 and -beta a^2 / (2 sqrt(1 - a^2))."""
        (a, b), half = self.position(t), 0.5 * self.rate(t)
        return Weights(half * a, -half * a * a / b)

    def _s(self, t: Tensor) -> Tensor:
        return (1 - t).clamp(min=self.eps)
