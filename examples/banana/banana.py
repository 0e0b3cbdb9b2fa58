"""A Gaussian bent along a parabola (Haario et al. 1999), with its density in closed form."""

import math

from bench.api import Dataset, Source, Splits

BEND = 0.5


def read(root):
    import numpy as np

    rng = np.random.default_rng(0)

    def draw(n):
        z = rng.standard_normal((n, 2))
        bent = z + BEND * (np.square(z[:, [0]]) - 1) * [0.0, 1.0]
        return bent.astype(np.float32)

    return Splits(draw(20_000), draw(2_000), draw(2_000), {"drawn": "seed 0"})


def log_density(x):
    """The density of z: the map (x, y) = (z1, z2 + BEND (z1^2 - 1)) preserves areas."""
    straight = x[:, 1] - BEND * (x[:, 0] ** 2 - 1)
    return -0.5 * (x[:, 0] ** 2 + straight**2) - math.log(2 * math.pi)


BANANA = Dataset(
    name="banana",
    d=2,
    summary="A Gaussian bent along a parabola",
    sources=(Source(read, "generated", "drawn with a fixed seed"),),
    rows=(20_000, 2_000, 2_000),
    log_density=log_density,
    entropy=1 + math.log(2 * math.pi),
)
