"""Coupling the noise of a mini-batch with its data rows by exact optimal transport."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

#: Temperature, in mean costs, and sweeps of the Sinkhorn iteration that guesses the prices.
TEMPERATURE, SWEEPS = 0.02, 50


def seconds(n: int) -> float:
    """What one `optimal` coupling of n rows takes, measured at n = 256 to 4,096.

    On one core of an AMD EPYC, noise against 2-D sets (in d = 6 and 63 a third of it).
    """
    return 1.3 * math.pow(n / 2048, 2.7)


def optimal(x0: Tensor, x1: Tensor) -> Tensor:
    """The noise rows x0 `(n, d)` in the order that minimises sum |x0 - x1|^2 over permutations.

    The assignment is exact. Source: Tong et al. 2024 (OT-CFM), who draw from the plan with
    replacement; here each row is used once.
    """
    cost = -(x1.double() @ x0.double().T).cpu().numpy()
    cost -= cost.min(1, keepdims=True)
    cost -= cost.min(0)
    order = linear_sum_assignment(cost - _prices(cost))[1]
    return x0[torch.from_numpy(order).to(x0.device)]


def _prices(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dual prices `(n,)` of the columns, near the optimal ones, by Sinkhorn's iteration.

    What is taken off a whole column changes no assignment's rank. Taking off these makes SciPy's
    search five times faster at n = 1,000, and faster than POT's `emd` (2-D, d = 8 and d = 63).
    """
    temperature = TEMPERATURE * cost.mean() or 1.0
    kernel = np.exp(-np.minimum(cost / temperature, 200))
    prices = np.ones(len(cost))
    for _ in range(SWEEPS):
        prices = 1 / ((1 / (kernel @ prices)) @ kernel)
    return temperature * np.log(prices)
