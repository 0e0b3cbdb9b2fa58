"""Log-densities of the 2-D distributions, in nats.

Each takes rows `(n, 2)` and returns `(n,)`. They are exact: closed forms, or integrals along the
curve with more nodes than double precision needs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0e, log_ndtr

from bench_datasets import toy_samplers as toy

Array = NDArray[np.float64]

#: rows x nodes held at a time
_CHUNK = 2**17


def moons(x: Array) -> Array:
    """Half circles with Gaussian noise, integrated along the curve."""
    t, weight = _gauss_legendre(0, np.pi, 200)
    nodes = np.concatenate(toy.moons_curve(t))
    return _gaussians(x, nodes, toy.MOONS_STD, np.concatenate([weight, weight]) / 2)


def eight_gaussians(x: Array) -> Array:
    """A mixture of eight Gaussians."""
    return _gaussians(x, toy.GAUSSIANS_CENTRES, toy.GAUSSIANS_STD, np.full(8, 1 / 8))


def pinwheel(x: Array) -> Array:
    """Change of variables from the Gaussian (u, v) of each arm.

    With y = x / 2 in polar form (r, phi), an arm at angle b has u = r cos(phi + b + c e^u) and
    v = r sin(phi + b + c e^u): an equation for u alone. Each root counts with 1 / |1 + c e^u v|,
    the Jacobian of the map. All but 1e-7 of the rows have one root of any weight an arm.
    """
    return _in_chunks(_pinwheel, x, toy.PINWHEEL_ARMS * _PINWHEEL_CELLS)


def circles(x: Array) -> Array:
    """Circles with Gaussian noise: the integral is a Bessel function."""
    return _circles(x, toy.CIRCLES_RADII, toy.CIRCLES_STD)


def rings(x: Array) -> Array:
    """As `circles`."""
    return _circles(x, toy.RINGS_RADII, toy.RINGS_STD)


def swissroll(x: Array) -> Array:
    """A spiral with Gaussian noise, integrated along the curve."""
    t, weight = _gauss_legendre(toy.SWISSROLL_START, toy.SWISSROLL_END, 400)
    return _gaussians(x, toy.swissroll_curve(t), toy.SWISSROLL_STD, weight)


def checkerboard(x: Array) -> Array:
    """1/32 on the eight closed squares, elsewhere 0.

    Closed, because rounding to float32 can put a row on an edge.
    """
    low, high = np.floor(x / 2), np.ceil(x / 2) - 1
    on = np.zeros(len(x), dtype=bool)
    for column in (low[:, 0], high[:, 0]):
        for row in (low[:, 1], high[:, 1]):
            on |= (column + row) % 2 == 0
    return np.where(on & (np.abs(x) <= 4).all(axis=1), -np.log(32), -np.inf)


def two_spirals(x: Array) -> Array:
    """Spirals with box and Gaussian noise, integrated along the curve."""
    t, weight = _gauss_legendre(0, toy.SPIRALS_END, 320)
    nodes = toy.spiral_curve(t)
    log_weight = np.log(weight * 2 * t / toy.SPIRALS_END)  # t = SPIRALS_END sqrt(U)

    def one(x: Array) -> Array:
        low = (x[:, None] - nodes - toy.SPIRALS_BOX) / toy.SPIRALS_STD
        boxes = _log_interval(low, low + toy.SPIRALS_BOX / toy.SPIRALS_STD).sum(axis=-1)
        return _logsumexp(boxes - 2 * np.log(toy.SPIRALS_BOX) + log_weight)

    both = np.stack([_in_chunks(one, x, 2 * len(t)), _in_chunks(one, -x, 2 * len(t))], axis=1)
    return _logsumexp(both - np.log(2))


def rose(x: Array) -> Array:
    """A closed curve with Gaussian noise: the trapezoidal rule converges exponentially."""
    t: Array = np.linspace(0, np.pi, 1000, endpoint=False)
    return _gaussians(x, toy.rose_curve(t), toy.ROSE_STD, np.full(1000, 1 / 1000))


def tree(x: Array) -> Array:
    """A mixture of segments with Gaussian noise: normal along and across each, in closed form."""
    branches = toy.tree_branches()
    scale = np.log(branches.weight / branches.length) - 0.5 * np.log(2 * np.pi * branches.std**2)

    def some(x: Array) -> Array:
        offset = x[:, None] - branches.start
        along = (offset * branches.direction).sum(axis=-1)
        across = (
            offset[..., 0] * branches.direction[:, 1] - offset[..., 1] * branches.direction[:, 0]
        )
        inside = _log_interval((along - branches.length) / branches.std, along / branches.std)
        return _logsumexp(inside - 0.5 * (across / branches.std) ** 2 + scale)

    return _in_chunks(some, x, 2 * len(scale))


DENSITIES: dict[str, Callable[[Array], Array]] = {
    "moons": moons,
    "8gaussians": eight_gaussians,
    "pinwheel": pinwheel,
    "circles": circles,
    "rings": rings,
    "swissroll": swissroll,
    "checkerboard": checkerboard,
    "2spirals": two_spirals,
    "rose": rose,
    "tree": tree,
}

#: Roots u are sought up to here, 11.7 standard deviations out, in this many cells.
_PINWHEEL_LIMIT, _PINWHEEL_CELLS = 4.5, 256


def _pinwheel(x: Array) -> Array:
    r, phi = np.hypot(x[:, 0], x[:, 1]) / 2, np.arctan2(x[:, 1], x[:, 0])
    arm = phi[:, None] + np.arange(toy.PINWHEEL_ARMS) * (2 * np.pi / toy.PINWHEEL_ARMS)

    def excess(u: Array, r: Array, arm: Array) -> Array:
        return u - r * np.cos(arm + toy.PINWHEEL_RATE * np.exp(u))

    # -r <= u <= r, and the excess is not positive at -r and not negative at r
    reach = 1.001 * np.minimum(r, _PINWHEEL_LIMIT) + 1e-9
    edges = reach[:, None] * np.linspace(-1, 1, _PINWHEEL_CELLS + 1)
    positive = excess(edges[:, None], r[:, None, None], arm[..., None]) > 0
    row, k, cell = np.nonzero(positive[..., 1:] != positive[..., :-1])
    low, high, rising = edges[row, cell], edges[row, cell + 1], positive[row, k, cell + 1]
    r, arm = r[row], arm[row, k]
    for _ in range(50):  # bisection: double precision
        middle = (low + high) / 2
        above = (excess(middle, r, arm) > 0) == rising
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    u = (low + high) / 2
    v = r * np.sin(arm + toy.PINWHEEL_RATE * np.exp(u))
    log_p = (
        -0.5 * ((u - 1) / toy.PINWHEEL_RADIAL_STD) ** 2
        - 0.5 * (v / toy.PINWHEEL_TANGENTIAL_STD) ** 2
        - np.log(np.abs(1 + toy.PINWHEEL_RATE * np.exp(u) * v))
    )
    total = np.full(len(x), -np.inf)
    np.logaddexp.at(total, row, log_p)
    # 2 pi and the stds of the Gaussian, 4 = |dx / dy|
    volume = 8 * np.pi * toy.PINWHEEL_RADIAL_STD * toy.PINWHEEL_TANGENTIAL_STD
    return total - float(np.log(toy.PINWHEEL_ARMS * volume))


def _circles(x: Array, radii: Array, std: float) -> Array:
    r = np.hypot(x[:, 0], x[:, 1])[:, None]
    log_p: Array = np.log(i0e(r * radii / std**2)) - (r - radii) ** 2 / (2 * std**2)
    return _logsumexp(log_p - np.log(2 * np.pi * std**2 * len(radii)))


def _gaussians(x: Array, centres: Array, std: float, weight: Array) -> Array:
    """A mixture of isotropic Gaussians of equal std."""
    constant = np.log(weight) - np.log(2 * np.pi * std**2)

    def some(x: Array) -> Array:
        squares = (x**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * x @ centres.T
        return _logsumexp(constant - squares / (2 * std**2))

    return _in_chunks(some, x, len(weight))


@cache
def _gauss_legendre(low: float, high: float, n: int) -> tuple[Array, Array]:
    """Nodes in [low, high] and weights that sum to one."""
    node, weight = np.polynomial.legendre.leggauss(n)
    return low + (high - low) * (node + 1) / 2, weight / 2


def _log_interval(low: Array, high: Array) -> Array:
    """The log-probability of the interval [low, high] under the standard normal, tails included."""
    middle, half = -np.abs(low + high) / 2, (high - low) / 2  # in the left tail nothing cancels
    log_high: Array = log_ndtr(middle + half)
    log_low: Array = log_ndtr(middle - half)
    return log_high + np.log1p(-np.exp(log_low - log_high))


def _logsumexp(terms: Array) -> Array:
    """The log of the sum of exponentials in each row; `terms` are overwritten."""
    largest: Array = terms.max(axis=1)
    terms -= largest[:, None]
    total: Array = np.exp(terms, out=terms).sum(axis=1)
    return largest + np.log(total)


def _in_chunks(density: Callable[[Array], Array], x: Array, width: int) -> Array:
    """Apply to a few rows at a time: `width` is the number of terms of a row."""
    step = max(1, _CHUNK // width)
    chunks = [density(x[start : start + step]) for start in range(0, len(x), step)]
    return np.concatenate(chunks) if chunks else np.zeros(0)
