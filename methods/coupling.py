"""Exact optimal-transport coupling of a mini-batch's noise with its data rows."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

#: The Sinkhorn iteration that estimates the prices: temperature in mean costs, and sweeps.
TEMPERATURE, SWEEPS = 0.02, 50


def seconds(n: int) -> float:
    """Estimate the seconds that one `optimal` coupling of n rows takes.

    Measured for n = 256 to 4,096 on one core of an AMD EPYC, with noise against 2-D sets; d = 6
    and d = 63 take a third of it.
    """
    return 1.3 * math.pow(n / 2048, 2.7)


def optimal(x0: Tensor, x1: Tensor) -> Tensor:
    """Permute the noise rows x0 `(n, d)` to minimise sum |x0 - x1|^2 against x1 `(n, d)`.

    The assignment is exact. Source: Tong et al. 2024 (OT-CFM), who sample from the plan with
    replacement; here each row is used once.
    """
    cost = -(x1.double() @ x0.double().T).cpu().numpy()
    cost -= cost.min(1, keepdims=True)
    cost -= cost.min(0)
    order = linear_sum_assignment(cost - _prices(cost))[1]
    return x0[torch.from_numpy(order).to(x0.device)]


def _prices(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """Approximate the optimal dual prices `(n,)` of the columns by Sinkhorn's iteration.

    Subtracting a constant from a column does not change which assignment is best. Subtracting
    these prices makes SciPy's search five times faster at n = 1,000, and faster than POT's `emd`
    (2-D, d = 8 and d = 63).
    """
    temperature = TEMPERATURE * cost.mean() or 1.0
    kernel = np.exp(-np.minimum(cost / temperature, 200))
    prices = np.ones(len(cost))
    for _ in range(SWEEPS):
        prices = 1 / ((1 / (kernel @ prices)) @ kernel)
    return temperature * np.log(prices)
