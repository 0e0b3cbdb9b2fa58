"""The probability-flow ODE of a diffusion, and the noise prediction that defines it."""

from __future__ import annotations

from torch import Tensor

from bench.api import Field
from bench_methods.probability_paths import Diffusion


class PredictedNoise(Field):
    """The noise in x_t = a x1 + b x0, predicted with a network F: n(t, x) = b x + a F(t, x).

    If the data are N(0, I), the expected noise is b x; so F = 0 gives the identity flow. Near the
    noise end, where the data's weight is a = 0.0066 and the velocity would magnify a prediction
    error ten times, the weight of F vanishes too. F learns Salimans & Ho's v (2022, section 4),
    since n - x0 = a (F - (a x0 - b x1)).

    Args:
        network: F.
        path: the diffusion.
    """

    def __init__(self, network: Field, path: Diffusion) -> None:
        super().__init__()
        self.network = network
        self.path = path

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The noise `(n, d)`."""
        a, b = self.path.position(t[..., None])
        return b * x + a * self.network.forward(t, x)

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The noise `(n, d)` and its exact divergence `(n,)`."""
        prediction, divergence = self.network.trace(t, x)
        (a, b), each = self.path.position(t), self.path.position(t[..., None])
        noise = each.noise * x + each.data * prediction
        return noise, b * x.shape[1] + a * divergence


class ProbabilityFlow(Field):
    """The velocity that follows from a diffusion's score, in the path's time t = 1 - s.

    With the score s(t, x) = -n(t, x) / b(t), where n predicts the noise in x,

        v = beta (x + s) / 2 = beta (x - n / b) / 2

    and its divergence is beta (d - div n / b) / 2, exact if the divergence of n is.

    Source: Song et al. 2021, equation 13: dx/ds = f - g^2 s / 2, f = -beta x / 2, g^2 = beta.

    Args:
        noise: n.
        path: the diffusion, with its rate beta and its noise b.
    """

    def __init__(self, noise: Field, path: Diffusion) -> None:
        super().__init__()
        self.noise = noise
        self.path = path

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """The velocity `(n, d)`."""
        half, b = self._coefficients(t[..., None])
        return half * (x - self.noise.forward(t, x) / b)

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity `(n, d)` and its exact divergence `(n,)`."""
        noise, divergence = self.noise.trace(t, x)
        half, b = self._coefficients(t[..., None])
        velocity = half * (x - noise / b)
        return velocity, half[..., 0] * (x.shape[1] - divergence / b[..., 0])

    def _coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """beta / 2 and b, shaped like t."""
        b = self.path.position(t).noise
        assert isinstance(b, Tensor)
        return 0.5 * self.path.rate(t), b
