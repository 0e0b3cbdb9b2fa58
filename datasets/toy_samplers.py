"""Samplers of the 2-D distributions, and their constants.

Each sampler draws `n` independent rows `(n, 2)` with the generator given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bench.api import Splits

Array = NDArray[np.float64]

MOONS_STD = 0.2

GAUSSIANS_STD = 0.5 / 1.414
GAUSSIANS_CENTRES = (4 / 1.414) * np.array(
    [(np.cos(angle), np.sin(angle)) for angle in np.arange(8) * np.pi / 4]
)

PINWHEEL_ARMS, PINWHEEL_RATE = 5, 0.25
PINWHEEL_RADIAL_STD, PINWHEEL_TANGENTIAL_STD = 0.3, 0.1

CIRCLES_RADII, CIRCLES_STD = np.array([3.0, 1.5]), 0.24
RINGS_RADII, RINGS_STD = np.array([3.0, 2.25, 1.5, 0.75]), 0.08

SWISSROLL_START, SWISSROLL_END, SWISSROLL_STD = 1.5 * np.pi, 4.5 * np.pi, 0.2

SPIRALS_END, SPIRALS_BOX, SPIRALS_STD = 3 * np.pi, 1 / 6, 0.1

ROSE_PETALS, ROSE_RADIUS, ROSE_STD = 5, 3.4, 0.1


class Branches(NamedTuple):
    """Thick segments: `start` and `direction` (unit) `(k, 2)`; `length`, `std`, `weight` `(k,)`."""

    start: Array
    direction: Array
    length: Array
    std: Array
    weight: Array


def tree_branches(generations: int = 7) -> Branches:
    """The branches of the tree: each bears two, turned by +30 and -25 degrees, 0.73 times as long.

    A branch's share of the rows is proportional to its length.
    """
    start, angle = np.array([[0.0, -3.4]]), np.array([np.pi / 2])
    length, std = 2.1, 0.09
    starts, angles, lengths, stds = [], [], [], []
    for _ in range(generations):
        starts.append(start)
        angles.append(angle)
        lengths.append(np.full(len(angle), length))
        stds.append(np.full(len(angle), std))
        tip = start + length * _unit(angle)
        start = np.concatenate([tip, tip])
        angle = np.concatenate([angle + np.radians(30), angle - np.radians(25)])
        length, std = 0.73 * length, 0.8 * std
    all_lengths = np.concatenate(lengths)
    return Branches(
        np.concatenate(starts),
        _unit(np.concatenate(angles)),
        all_lengths,
        np.concatenate(stds),
        all_lengths / all_lengths.sum(),
    )


def moons_curve(t: Array) -> tuple[Array, Array]:
    """The upper and the lower half circle at angles `t` in [0, pi]."""
    upper = np.stack([2 * np.cos(t) - 1, 2 * np.sin(t) - 0.2], axis=-1)
    lower = np.stack([1 - 2 * np.cos(t), 0.8 - 2 * np.sin(t)], axis=-1)
    return upper, lower


def swissroll_curve(t: Array) -> Array:
    """The spiral at angles `t` in [SWISSROLL_START, SWISSROLL_END]."""
    return (t / 5)[..., None] * _unit(t)


def spiral_curve(t: Array) -> Array:
    """One of the two spirals at angles `t` in [0, SPIRALS_END]; the other is its negative."""
    direction: Array = np.stack([-np.cos(t), np.sin(t)], axis=-1)
    return (t / 3)[..., None] * direction


def rose_curve(t: Array) -> Array:
    """The rose r = R cos(k t) at angles `t`; for an odd number k of petals, its period is pi."""
    radius: Array = ROSE_RADIUS * np.cos(ROSE_PETALS * t)
    return radius[..., None] * _unit(t)


def moons(n: int, rng: Generator) -> Array:
    """scikit-learn's `make_moons` with noise 0.1, times 2, shifted by (-1, -0.2)."""
    upper, lower = moons_curve(np.pi * rng.random(n))
    return np.where(rng.random((n, 1)) < 0.5, upper, lower) + _noise(n, MOONS_STD, rng)


def eight_gaussians(n: int, rng: Generator) -> Array:
    """Eight Gaussians with std 0.5 on a circle of radius 4, all divided by 1.414."""
    return GAUSSIANS_CENTRES[rng.integers(8, size=n)] + _noise(n, GAUSSIANS_STD, rng)


def pinwheel(n: int, rng: Generator) -> Array:
    """Gaussians at (1, 0), each turned by its arm's angle plus 0.25 exp(u), times 2."""
    u = 1 + PINWHEEL_RADIAL_STD * rng.standard_normal(n)
    v = PINWHEEL_TANGENTIAL_STD * rng.standard_normal(n)
    angle = rng.integers(PINWHEEL_ARMS, size=n) * (2 * np.pi / PINWHEEL_ARMS)
    angle += PINWHEEL_RATE * np.exp(u)
    cos, sin = np.cos(angle), np.sin(angle)
    return 2 * np.stack([u * cos + v * sin, v * cos - u * sin], axis=1)


def circles(n: int, rng: Generator) -> Array:
    """scikit-learn's `make_circles` with factor 0.5 and noise 0.08, times 3."""
    return _on_circles(CIRCLES_RADII, n, rng) + _noise(n, CIRCLES_STD, rng)


def rings(n: int, rng: Generator) -> Array:
    """Four circles with noise 0.08."""
    return _on_circles(RINGS_RADII, n, rng) + _noise(n, RINGS_STD, rng)


def swissroll(n: int, rng: Generator) -> Array:
    """scikit-learn's `make_swiss_roll` with noise 1, axes 0 and 2, divided by 5."""
    t = rng.uniform(SWISSROLL_START, SWISSROLL_END, n)
    return swissroll_curve(t) + _noise(n, SWISSROLL_STD, rng)


def checkerboard(n: int, rng: Generator) -> Array:
    """Uniform on the squares of side 2 whose column and row are both even or both odd."""
    x = rng.uniform(-2, 2, n)
    y = rng.random(n) - 2 * rng.integers(2, size=n) + np.floor(x) % 2
    return 2 * np.stack([x, y], axis=1)


def two_spirals(n: int, rng: Generator) -> Array:
    """Radius sqrt(U) pi on two spirals, box noise of side 1/6 and Gaussian noise 0.1."""
    t = SPIRALS_END * np.sqrt(rng.random(n))
    curve = spiral_curve(t) + SPIRALS_BOX * rng.random((n, 2))
    return np.where(rng.random((n, 1)) < 0.5, curve, -curve) + _noise(n, SPIRALS_STD, rng)


def rose(n: int, rng: Generator) -> Array:
    """A uniform angle on the rose, with noise 0.1."""
    return rose_curve(np.pi * rng.random(n)) + _noise(n, ROSE_STD, rng)


def tree(n: int, rng: Generator) -> Array:
    """A uniform point on the tree, with the noise of its branch."""
    branches = tree_branches()
    k = rng.choice(len(branches.weight), size=n, p=branches.weight)
    along = (branches.length[k] * rng.random(n))[:, None] * branches.direction[k]
    return branches.start[k] + along + branches.std[k, None] * rng.standard_normal((n, 2))


SAMPLERS: dict[str, Callable[[int, Generator], Array]] = {
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


def splits(name: str, sizes: tuple[int, int, int]) -> Splits:
    """Train, validation and test of the distribution, by a seed that is made of its name."""
    seed = list(name.encode())
    rows = SAMPLERS[name](sum(sizes), np.random.default_rng(seed)).astype(np.float32)
    train, validation, test = np.split(rows, np.cumsum(sizes[:2]))
    return Splits(train, validation, test, {"seed": seed, "standardised": "no"})


def _unit(angle: Array) -> Array:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _noise(n: int, std: float, rng: Generator) -> Array:
    return std * rng.standard_normal((n, 2))


def _on_circles(radii: Array, n: int, rng: Generator) -> Array:
    return rng.choice(radii, n)[:, None] * _unit(2 * np.pi * rng.random(n))
