"""The probability-flow ODE of a diffusion whose noise a network predicts."""

from __future__ import annotations

from torch import Tensor

from bench.method import Field
from bench_methods.probability_paths import Diffusion


class ProbabilityFlow(Field):
    """The velocity that a diffusion's score gives, in the path's time t = 1 - s.

    With the score s(t, x) = -n(t, x) / b(t), where the network n predicts the noise in x,

        v = beta (x + s) / 2 = beta (x - n / b) / 2

    and its divergence is beta (d - div n / b) / 2, exact where the network's is.

    Source: Song et al. 2021, equation 13: dx/ds = f - g^2 s / 2, f = -beta x / 2, g^2 = beta.

    Args:
        noise: the network n.
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
