"""`bench plot density`: the grid, the densities on it, and when there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bench.data.arrays import Loaded
from bench.figures.density import CELLS, draw, grid
from bench.figures.request import Request
from bench.registry import plugins

from .conftest import Call, Write, overlaps

KeepModel = Callable[..., None]

#: The state of a fitted Gaussian that is the standard normal.
STANDARD = {"rows": np.float64(1.0), "mean": np.zeros(2), "scatter": np.eye(2)}


def test_the_grid_is_of_the_middles_of_cells() -> None:
    points = grid(np.array([0.0, -1.0]), np.array([6.4, 1.0])).reshape(CELLS, CELLS, 2)
    assert points[0, :2].tolist() == [
        [0.05, pytest.approx(-1 + 1 / CELLS)],
        [pytest.approx(0.15), pytest.approx(-1 + 1 / CELLS)],
    ]
    assert points[1, 0] == pytest.approx([0.05, -1 + 3 / CELLS])
    assert points[-1, -1] == pytest.approx([6.35, 1 - 1 / CELLS])


def test_the_true_density_and_a_model_s_on_one_scale(
    results: Path, write: Write, keep_model: KeepModel, moons: Loaded
) -> None:
    run = write("gaussian", "moons", dataset__revision=moons.revision, nll=3.25)
    keep_model(run, "gaussian", 2, {"affine": "none"}, **STANDARD)
    found = draw(Request(results))
    truth, model, bar = found.figure.axes
    assert truth.get_title() == "true density\nentropy 2.394"
    assert model.get_title() == "gaussian\nNLL 3.25"
    assert bar.get_ylabel() == "density (1/unit²)"
    left, right, low, high = model.images[0].get_extent()
    points = grid(np.array([left, low]), np.array([right, high]))
    values = np.asarray(model.images[0].get_array())
    assert values.ravel() == pytest.approx(
        multivariate_normal(np.zeros(2)).pdf(points), rel=1e-4, abs=1e-9
    )
    log_density = plugins.dataset("moons").log_density
    assert log_density
    known = np.asarray(truth.images[0].get_array())
    assert known.ravel() == pytest.approx(np.exp(log_density(points)), rel=1e-9)
    assert truth.images[0].get_clim() == model.images[0].get_clim()
    area = (right - left) * (high - low) / CELLS**2
    assert known.sum() * area == pytest.approx(1, abs=5e-3)
    text = " ".join(" ".join(found.lines).split())
    assert f"true density {known.sum() * area:.3f}, gaussian {values.sum() * area:.3f}" in text
    assert "dopri5, float64, rtol 1e-05, atol 1e-05" in text
    assert overlaps(found.figure) == []


def test_what_can_not_be_asked_is_named(
    results: Path, write: Write, keep_model: KeepModel, moons: Loaded
) -> None:
    given = {"dataset__revision": moons.revision}
    keep_model(write("gaussian", "moons", **given), "gaussian", 2, {}, **STANDARD)
    write("jko", "moons", **given)
    other = write("ffjord", "moons", **given)
    keep_model(other, "gaussian", 3, {}, mean=np.zeros(2))
    write("ffjord", "digits", dataset__d=64)
    found = draw(Request(results))
    assert [axes.get_title().partition("\n")[0] for axes in found.figure.axes] == [
        *("true density", "gaussian", "")
    ]
    text = " ".join(" ".join(found.lines).split())
    assert "Not shown on moons: jko. The run jko-moons-s0" in text
    assert f"ffjord. The model of the run {other} does not fit gaussian as it is now" in text
    assert "Not two-dimensional, and not shown: digits." in text


def test_other_dimensions_are_nothing_to_draw(call: Call, write: Write) -> None:
    write("jko", "digits", dataset__d=64)
    done = call("density")
    assert done.exit_code == 3
    assert "digits" in done.stderr


def test_no_model_is_nothing_to_draw(call: Call, write: Write, moons: Loaded) -> None:
    write("jko", "moons", dataset__revision=moons.revision)
    done = call("density")
    assert done.exit_code == 3
    assert "has no model that can be read" in done.stderr
    assert call("density", "--columns", "0,1").exit_code == 2
    assert call("density", "--metric", "nlll").exit_code == 2
