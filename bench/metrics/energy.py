r"""The energy distance between samples and real rows.

$$D^2 = 2 E|X - Y| - E|X - X'| - E|Y - Y'|$$

is at least 0, and 0 only if $X$ and $Y$ have the same distribution (Székely & Rizzo 2013, "Energy
statistics", eq. 5). It has no bandwidth to choose; like the V-statistic of the MMD, its estimate
pairs rows with themselves too, so that of two samples of one distribution it is above 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api.declarations import Evaluated

#: At most this many rows of each sample are compared.
MAX_ROWS = 2_500


def energy_distance(given: Evaluated) -> dict[str, float]:
    """The squared energy distance of samples to test rows, and that of held-out rows to them."""
    test, held_out, samples = (
        rows[:MAX_ROWS].double() for rows in (given.test, given.held_out, given.samples)
    )
    within = mean_distance(test, test)
    return {
        "energy": squared_energy(samples, test, within),
        "energy_data": squared_energy(held_out, test, within),
    }


def squared_energy(x: Tensor, y: Tensor, within_y: float) -> float:
    """The squared energy distance of `x` `(n, d)` to `y` `(m, d)`, given E|Y - Y'|."""
    return 2 * mean_distance(x, y) - mean_distance(x, x) - within_y


def mean_distance(x: Tensor, y: Tensor) -> float:
    """The mean Euclidean distance over all pairs of a row of `x` and a row of `y`."""
    distances = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.mean().item()
