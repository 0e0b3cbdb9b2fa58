"""Which rows are judged: by the judge's seed alone, the same for every method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pick(rows: NDArray[np.float32], n: int, seed: int) -> NDArray[np.float32]:
    """`n` rows without replacement, by the seed alone; all of them where there are no more."""
    if n >= len(rows):
        return np.asarray(rows)
    index = np.random.default_rng(seed).choice(len(rows), n, replace=False)
    chosen: NDArray[np.float32] = rows[np.sort(index)]
    return chosen
