"""The 2-D sets: their densities against integrals, their samples and other formulas."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from bench.api.dataset import Dataset
from bench.data import arrays
from bench.registry import plugins

NAMES = (
    *("moons", "8gaussians", "pinwheel", "circles", "rings", "swissroll", "checkerboard"),
    *("2spirals", "rose", "tree"),
)
#: The side of a grid's cells: at most the smallest std, roughly.
STEP = {
    "moons": 0.12,
    "8gaussians": 0.2,
    "pinwheel": 0.05,
    "circles": 0.15,
    "rings": 0.06,
    "swissroll": 0.12,
    "checkerboard": 0.125,
    "2spirals": 0.08,
    "rose": 0.08,
    "tree": 0.025,
}


@pytest.fixture(params=NAMES)
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return plugins.dataset(request.param)


def log_density(dataset: Dataset, x: np.ndarray) -> np.ndarray:
    assert dataset.log_density is not None
    return dataset.log_density(x)


def grid(step: float, reach: float = 5.0) -> np.ndarray:
    """The centres of cells that cover [-reach, reach]^2."""
    axis = np.arange(-reach, reach, step) + step / 2
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def test_density_integrates_to_one_and_entropy_is_its_mean(dataset: Dataset) -> None:
    step = STEP[dataset.name]
    reach = 4.3 if dataset.name in ("tree", "2spirals", "rings") else 5.0
    log_p = log_density(dataset, grid(step, reach))
    p = np.exp(log_p)
    assert p.sum() * step**2 == pytest.approx(1, abs=2e-5)
    inside = p > 0
    assert -(p[inside] * log_p[inside]).sum() * step**2 == pytest.approx(dataset.entropy, abs=1e-4)


def test_entropy_against_the_rows(dataset: Dataset) -> None:
    test = arrays.load(dataset, Path("no data")).test[:3_000].astype(np.float64)
    nll = -log_density(dataset, test)
    error = nll.std() / np.sqrt(len(nll))
    assert nll.mean() == pytest.approx(dataset.entropy, abs=4.5 * error + 1e-9)


def test_rows_fall_where_the_density_says(dataset: Dataset) -> None:
    """Chi-square over cells of the plane, on 100,000 rows."""
    step = {"rings": 0.04, "tree": 0.05}.get(dataset.name, 0.1)
    reach, cells = 4.0, 16
    train = arrays.load(dataset, Path("no data")).train[:100_000]
    edges = np.linspace(-reach, reach, cells + 1)
    seen, _, _ = np.histogram2d(train[:, 0], train[:, 1], bins=[edges, edges])
    fine = 2 * reach / cells / np.ceil(2 * reach / cells / step)
    x = grid(fine, reach)
    mass, _, _ = np.histogram2d(
        x[:, 0], x[:, 1], bins=[edges, edges], weights=np.exp(log_density(dataset, x)) * fine**2
    )
    expected = mass * len(train)
    enough = expected > 20
    assert expected[enough].sum() > 0.99 * len(train)
    chi_square = ((seen - expected)[enough] ** 2 / expected[enough]).sum()
    assert stats.chi2.sf(chi_square, enough.sum()) > 1e-5


def test_far_away_the_density_falls_and_stays_finite(dataset: Dataset) -> None:
    if dataset.name == "checkerboard":
        assert np.isneginf(log_density(dataset, np.array([[4.01, 0.0], [1.0, 3.0]]))).all()
        return
    x = np.array([[8.0, 5.0], [16.0, 10.0], [-50.0, 70.0]])
    log_p = log_density(dataset, x)
    assert np.isfinite(log_p).all()
    assert (np.diff(log_p) < 0).all()


@pytest.mark.parametrize("x", [(0.3, 0.4), (-1.0, -0.2), (2.4, 1.1), (0.0, 0.0)])
def test_moons_by_adaptive_quadrature(x: tuple[float, float]) -> None:
    def integrand(t: float) -> float:
        upper = (2 * np.cos(t) - 1, 2 * np.sin(t) - 0.2)
        lower = (2 * (1 - np.cos(t)) - 1, 2 * (0.5 - np.sin(t)) - 0.2)
        kernels = [stats.multivariate_normal(mean, 0.04).pdf(x) for mean in (upper, lower)]
        return float(sum(kernels)) / (2 * np.pi)

    expected, _ = integrate.quad(integrand, 0, np.pi, epsrel=1e-9)
    got = log_density(plugins.dataset("moons"), np.array([x]))[0]
    assert got == pytest.approx(np.log(expected), abs=1e-6)


@pytest.mark.parametrize("x", [(0.3, 0.4), (-1.0, -0.2), (2.4, 1.1), (0.0, -3.0)])
def test_swissroll_and_rose_by_adaptive_quadrature(x: tuple[float, float]) -> None:
    def density(curve: object, low: float, high: float, std: float) -> float:
        def integrand(t: float) -> float:
            r = curve(t)  # type: ignore[operator]
            squares = (x[0] - r * np.cos(t)) ** 2 + (x[1] - r * np.sin(t)) ** 2
            return float(np.exp(-squares / (2 * std**2)) / (2 * np.pi * std**2))

        pieces = np.linspace(low, high, 40)
        parts = [integrate.quad(integrand, a, b)[0] for a, b in pairwise(pieces)]
        return sum(parts) / (high - low)

    roll = density(lambda t: t / 5, 1.5 * np.pi, 4.5 * np.pi, 0.2)
    rose = density(lambda t: 3.4 * np.cos(5 * t), 0, 2 * np.pi, 0.1)
    for name, expected in (("swissroll", roll), ("rose", rose)):
        if expected > 1e-200:
            got = log_density(plugins.dataset(name), np.array([x]))[0]
            assert got == pytest.approx(np.log(expected), abs=1e-6)


@pytest.mark.parametrize("x", [(2.1, 2.1), (0.0, 0.0), (-1.5, 0.3)])
def test_circles_by_adaptive_quadrature(x: tuple[float, float]) -> None:
    for name, radii, std in (("circles", (3, 1.5), 0.24), ("rings", (3, 2.25, 1.5, 0.75), 0.08)):
        angle = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
        kernels = [
            np.exp(
                -((x[0] - r * np.cos(angle)) ** 2 + (x[1] - r * np.sin(angle)) ** 2) / 2 / std**2
            )
            for r in radii
        ]
        expected = np.log(np.mean(kernels) / (2 * np.pi * std**2))
        got = log_density(plugins.dataset(name), np.array([x]))[0]
        assert got == pytest.approx(expected, abs=1e-6)


def test_eight_gaussians_by_scipy() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 2)) * 2
    diagonal = 1 / np.sqrt(2)
    centres = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    centres += [(a * diagonal, b * diagonal) for a in (1, -1) for b in (1, -1)]
    density = sum(
        stats.multivariate_normal(np.array(c) * 4 / 1.414, (0.5 / 1.414) ** 2).pdf(rows)
        for c in centres
    )
    got = log_density(plugins.dataset("8gaussians"), rows)
    assert got == pytest.approx(np.log(density / 8), abs=1e-9)


@pytest.mark.parametrize("name", ["2spirals", "pinwheel", "tree"])
def test_densities_by_smoothing_many_draws(name: str) -> None:
    """Against the frequency of 1,000,000 other draws in small discs."""
    from bench_datasets.toy_samplers import SAMPLERS

    rng = np.random.default_rng(12345)
    draws = SAMPLERS[name](1_000_000, rng)
    radius = 0.04
    dataset = plugins.dataset(name)
    disc = grid(radius / 8, radius)
    disc = disc[np.hypot(*disc.T) < radius]
    for x in draws[:8]:
        near = draws[np.abs(draws - x).max(axis=1) < radius]
        count = (np.hypot(*(near - x).T) < radius).sum() - 1
        mass = np.exp(log_density(dataset, x + disc)).mean() * np.pi * radius**2
        expected = mass * (len(draws) - 1)
        assert abs(count - expected) < 5 * np.sqrt(expected) + 3


def test_all_rows_of_the_checkerboard_are_on_it() -> None:
    dataset = plugins.dataset("checkerboard")
    loaded = arrays.load(dataset, Path("no data"))
    for rows in (loaded.train, loaded.validation, loaded.test):
        assert (log_density(dataset, rows) == -np.log(32)).all()
    assert dataset.entropy == np.log(32)
