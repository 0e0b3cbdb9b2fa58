"""Which rows are judged: by the judge's seed alone, the same for every method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def choose(total: int, n: int, seed: int) -> NDArray[np.int64]:
    """The indices, in order, of `n` of `total` rows, none twice; all where there are no more."""
    if n >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, n, replace=False))


def pick(rows: NDArray[np.float32], n: int, seed: int) -> NDArray[np.float32]:
    """The rows that `choose` chooses."""
    return np.asarray(rows) if n >= len(rows) else rows[choose(len(rows), n, seed)]
