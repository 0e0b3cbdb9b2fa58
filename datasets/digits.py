"""Handwritten digits, 8x8 pixels, dequantised (d=64); comes with scikit-learn.

The 1,797 digits of the test part of Alpaydin & Kaynak's "Optical Recognition of Handwritten
Digits" (UCI, 1998; CC BY 4.0). A pixel is a count from 0 to 16; uniform noise makes it continuous
(Uria et al., 2013), so a density in R^64 is well defined.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import Dataset, Source, Splits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEED = 0


def read(root: Path) -> Splits:
    """All 1,797 digits: (pixel + U[0,1)) / 17, shuffled, 80/10/10."""
    import numpy as np
    from sklearn.datasets import load_digits

    from bench_datasets.splits import float32, shuffled_tenths

    pixels = load_digits().data
    rows = (pixels + np.random.default_rng([SEED, 1]).random(pixels.shape)) / 17
    return float32(
        *shuffled_tenths(rows, SEED),
        notes={
            "dequantised": f"(pixel + U[0,1)) / 17, seed {SEED}",
            "split": f"shuffled with seed {SEED}, 80/10/10",
            "standardised": "no",
        },
    )


def pictures(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pixels `(n, 8, 8)` of rows `(n, 64)`: ink from 0 to 1."""
    return x.reshape(-1, 8, 8)


DIGITS = Dataset(
    name="digits",
    d=64,
    summary="Handwritten digits, 8x8 pixels, dequantised",
    sources=(Source(read, "whole", "embedded in scikit-learn"),),
    rows=(1439, 179, 179),
    pictures=pictures,
)
