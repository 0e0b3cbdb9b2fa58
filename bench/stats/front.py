"""The Pareto front: what nothing else beats in both of two things."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pareto_front(cost: NDArray[np.float64], loss: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the points `(n,)`, `(n,)` are on the front; less is better in both.

    A point is on it where no other is at most as large in both and smaller in one. Points with a
    NaN are not.
    """
    known = np.isfinite(cost) & np.isfinite(loss)
    no_worse = (cost[:, None] <= cost) & (loss[:, None] <= loss)
    better = (cost[:, None] < cost) | (loss[:, None] < loss)
    beaten = (no_worse & better & known[:, None]).any(axis=0)
    front: NDArray[np.bool_] = known & ~beaten
    return front
