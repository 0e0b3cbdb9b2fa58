"""How far a flow moves points, and how straight their paths are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Transport:
    """Transport of a flow, in squared units of the data, averaged over paths.

    Attributes:
        cost: W2 movement, E|x1 - x0|^2; an upper bound of the squared Wasserstein-2 distance
            between the distributions of x0 and x1.
        straightness: E of the integral over unit time of |v - (x1 - x0)|^2; 0 if and only if all
            paths are straight and of constant speed. The measure S(Z) of Liu et al. 2022, "Flow
            straight and fast".
    """

    cost: float
    straightness: float


def transport(x0: Tensor, x1: Tensor, kinetic: Tensor, duration: float = 1.0) -> Transport:
    r"""Measure transport from the ends of paths, in either direction, and their kinetic integral.

    With time rescaled to unit length the velocity is $T v$, and as
    $\int_0^1 T v \, ds = x_1 - x_0$ the mixed term of the square drops out:
    straightness $= E[T \int_0^T |v|^2 dt] - E|x_1 - x_0|^2$. The difference is not clamped: a value
    below 0 shows the error of the solver.

    A path of length 5, straight and of even speed, costs its square:

    >>> transport(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), kinetic=torch.tensor([25.0]))
    Transport(cost=25.0, straightness=0.0)

    Args:
        x0: where the paths start, `(n, d)`.
        x1: where they end, `(n, d)`.
        kinetic: integral of |v|^2 over the path's own time, `(n,)`.
        duration: T, the length of that time.

    Raises:
        ValueError: shapes that do not fit, no path, values that are not finite, or a duration
            that is not positive.
    """
    if x0.ndim != 2 or x0.shape != x1.shape or kinetic.shape != x0.shape[:1] or not len(x0):
        raise ValueError(
            "Transport needs ends (n, d), (n, d) and integrals (n,); their shapes are "
            f"{tuple(x0.shape)}, {tuple(x1.shape)}, {tuple(kinetic.shape)}."
        )
    if not duration > 0:
        raise ValueError(f"The duration of the paths must be positive, not {duration}.")
    moved = (x1.double() - x0.double()).square().sum(1)
    action = duration * kinetic.double()
    broken = int((~torch.isfinite(moved + action)).sum())
    if broken:
        raise ValueError(f"{broken} of {len(x0)} paths are not finite.")
    return Transport(float(moved.mean()), float((action - moved).mean()))
