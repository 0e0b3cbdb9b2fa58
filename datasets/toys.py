"""Ten 2-D distributions with known density, generated.

Eight are the usual ones, with the parameters of the FFJORD code (Grathwohl et al., 2019), which
differ from those of other code under the same names. `rose` and `tree` are ours, defined by a
formula. Every row is an independent draw; where others fix how many rows each part of a mixture
gets, here that is random too, so the density is exact.

The samplers are in `toy_samplers`, the densities in `toy_densities`. The entropies were computed
by a sum over a fine grid to six decimals (`tests/datasets/test_toys.py` does it again); that of
`checkerboard` is ln 32.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import Dataset, Source, Splits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: train, validation, test
ROWS = (500_000, 20_000, 20_000)


def _toy(name: str, summary: str, entropy: float) -> Dataset:
    def read(root: Path) -> Splits:
        from bench_datasets.toy_samplers import splits

        return splits(name, ROWS)

    def log_density(x: NDArray[np.float64]) -> NDArray[np.float64]:
        import numpy as np

        from bench_datasets.toy_densities import DENSITIES

        return DENSITIES[name](np.asarray(x, dtype=np.float64))

    source = Source(read, "generated", "drawn with a fixed seed")
    return Dataset(name, 2, summary, (source,), ROWS, log_density, entropy)


MOONS = _toy("moons", "Two interleaved half circles, std 0.2", 2.393879)
EIGHT_GAUSSIANS = _toy(
    "8gaussians", "Eight Gaussians on a circle, std 0.354, radius 2.83", 2.831880
)
PINWHEEL = _toy("pinwheel", "Five spiralling arms", 2.317788)
CIRCLES = _toy("circles", "Two concentric circles, radii 3 and 1.5, std 0.24", 3.268136)
RINGS = _toy("rings", "Four concentric circles, radii 0.75 to 3, std 0.08", 2.623183)
SWISSROLL = _toy("swissroll", "A spiral of one and a half turns, std 0.2", 2.669646)
CHECKERBOARD = _toy("checkerboard", "Eight squares of a checkerboard of side 8", math.log(32))
TWO_SPIRALS = _toy("2spirals", "Two intertwined spirals, box and Gaussian noise", 2.645450)
ROSE = _toy("rose", "A rose of five petals, std 0.1", 2.467526)
TREE = _toy("tree", "A fractal tree of 127 branches that get shorter and thinner", 1.966655)
