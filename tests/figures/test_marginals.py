"""`bench plot marginals`: densities against closed forms, contours, the choice of columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp, norm

from bench.api.dataset import Dataset, Source, Splits
from bench.data.arrays import Loaded
from bench.figures import request
from bench.figures.marginals import CELLS, draw, levels, smooth
from bench.figures.request import Request
from bench.figures.style import centres

from .conftest import Call, Write, overlaps

Keep = Callable[..., None]


def test_a_smoothed_density_is_the_kernel_s() -> None:
    """The kernel estimate of one value repeated is a Gaussian of the bandwidth."""
    values = np.random.default_rng(0).standard_normal(400)
    low, high = np.array([-6.0]), np.array([6.0])
    (x,), density = centres(low, high, CELLS), smooth(values[:, None], low, high)
    bandwidth = 400**-0.2 * values.std()
    expected = norm.pdf(x[:, None], values, bandwidth).mean(1)
    assert density == pytest.approx(expected, abs=0.01)  # its values are binned first
    assert density.sum() * 12 / CELLS == pytest.approx(1, abs=1e-3)


def test_in_two_dimensions_the_first_axis_is_the_first_column() -> None:
    values = np.random.default_rng(0).standard_normal((2_000, 2)) * [1.0, 0.3] + [2.0, -1.0]
    low, high = np.array([-3.0, -3.0]), np.array([7.0, 1.0])
    density = smooth(values, low, high)
    x, y = (a + (b - a) * (np.arange(CELLS) + 0.5) / CELLS for a, b in zip(low, high, strict=True))
    h = 2_000 ** (-1 / 6) * values.std(axis=0)
    i, j = 50, 40
    expected = (norm.pdf(x[j], values[:, 0], h[0]) * norm.pdf(y[i], values[:, 1], h[1])).mean()
    assert density[j, i] == pytest.approx(expected, rel=0.02, abs=1e-3)
    assert (density.sum(1) * x).sum() / density.sum() == pytest.approx(2.0, abs=0.1)


def test_contours_of_a_gaussian_hold_their_share() -> None:
    """Of the standard normal in the plane, exp(-r²/2) is uniform: 90 % lie above 0.1 of the top."""
    x = np.linspace(-5, 5, 401)
    density = np.exp(-0.5 * (x[:, None] ** 2 + x**2))
    density /= 2 * np.pi
    cell = (x[1] - x[0]) ** 2
    assert 2 * np.pi * np.array(levels(density, cell)) == pytest.approx([0.1, 0.5], abs=2e-3)
    # of what lies in half of the plane, and so holds half of the rows, no contour holds 90 %
    assert len(levels(density[:200], cell)) == 0
    assert len(levels(density[:230], cell)) == 1
    spike = np.zeros((4, 4))
    spike[1, 1] = 1.0
    assert levels(spike, 1.0) == [1.0]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    rows = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32)
    source = Source(lambda root: Splits(rows, rows, rows), "whole", "made here")
    loaded = Loaded(rows, rows, rows, revision="0123456789ab", source=source)
    monkeypatch.setattr(request.plugins, "dataset", lambda name: Dataset(name, 6, "", (source,)))
    monkeypatch.setattr(request, "load", lambda dataset, root: loaded)
    return loaded


def test_the_columns_furthest_from_the_data_are_drawn(
    results: Path, write: Write, keep: Keep, table: Loaded
) -> None:
    shift = np.array([0.0, 2.0, 0.05, 0.9, 1.5, 0.7])
    rng = np.random.default_rng(1)
    for method in ("jko", "ffjord"):
        keep(write(method, "table", dataset__d=6), rng.standard_normal((800, 6)) + shift)
    keep(write("jko", "moons"), np.eye(2))
    found = draw(Request(results))
    names = [axes.get_xlabel() for axes in found.figure.axes if axes.get_xlabel()]
    assert names == 2 * [f"column {c}\n(data units)" for c in (1, 3, 4, 5)]
    assert len(found.figure.axes) == 2 * 10
    text = " ".join(" ".join(found.lines).split())
    far = ks_2samp(rng.standard_normal((800, 6)) + shift, table.test).statistic
    assert far.argsort()[-4:].tolist() == [5, 3, 4, 1]
    assert "table: columns 1, 3, 4, 5 of 6, counted from 0, those in which the methods are" in text
    assert "of 800 samples of a method (lines) and of 500 of 500 test rows (grey)" in text
    assert overlaps(found.figure) == []


def test_columns_can_be_named(results: Path, write: Write, keep: Keep, table: Loaded) -> None:
    keep(write("jko", "table", dataset__d=6), np.random.default_rng(1).standard_normal((50, 6)))
    found = draw(Request(results, columns=(5, 0)))
    names = [axes.get_xlabel() for axes in found.figure.axes if axes.get_xlabel()]
    assert names == ["column 5\n(data units)", "column 0\n(data units)"]
    single = draw(Request(results, columns=(2,)))
    (axes,) = single.figure.axes
    assert axes.get_ylabel() == "density\n(1/unit)"


def test_samples_without_spread_are_drawn(
    results: Path, write: Write, keep: Keep, table: Loaded
) -> None:
    keep(write("jko", "table", dataset__d=6), np.zeros((50, 6)))
    found = draw(Request(results))
    found.figure.draw_without_rendering()


def test_nothing_to_draw(call: Call, write: Write) -> None:
    write("jko", "table", dataset__d=6)
    done = call("marginals")
    assert done.exit_code == 3
    assert "keeps samples that can be drawn" in done.stderr
