"""The contract of data sets: sets that keep it, and sets that break it in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api.dataset import Dataset, Source, Splits
from bench.conformance import DATASET_CHECKS, DatasetSubject, examine
from bench.data.arrays import Loaded

#: The entropy of a normal distribution with standard deviations 1 and 2.
ENTROPY = float(np.log(2 * np.pi * np.e) + np.log(2))


def log_density(x: np.ndarray) -> Any:
    return -0.5 * (x[:, 0] ** 2 + (x[:, 1] / 2) ** 2) - np.log(2 * np.pi) - np.log(2)


def draws(n: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, 2)) * [1, 2]).astype(np.float32)


def no_rows(root: Path) -> Splits:
    raise AssertionError


NORMAL = Dataset(
    name="normal",
    d=2,
    summary="A normal distribution",
    sources=(Source(no_rows, "generated", "for a test"),),
    log_density=log_density,
    entropy=ENTROPY,
)
ROWS = Loaded(
    *(draws(n, seed) for seed, n in enumerate((20_000, 500, 500))),
    revision="0" * 12,
    source=NORMAL.sources[0],
)


def codes(dataset: Dataset, loaded: Loaded = ROWS) -> dict[str, str]:
    return {r.check: r.code for r in examine(DatasetSubject(dataset, loaded))}


def test_a_data_set_that_keeps_it() -> None:
    assert codes(NORMAL) == {check.name: "ok" for check in DATASET_CHECKS}


@pytest.mark.parametrize("off", [0.05, -0.05])
def test_a_wrong_entropy_fails(off: float) -> None:
    found = codes(replace(NORMAL, entropy=ENTROPY + off))
    assert found["entropy"] == "entropy-rows"
    assert found["integral"] == "entropy-grid"
    assert found["rows"] == "ok"


def test_the_sum_over_a_grid_finds_what_the_rows_can_not() -> None:
    found = codes(replace(NORMAL, entropy=ENTROPY + 0.015))
    assert found["entropy"] == "ok"
    assert found["integral"] == "entropy-grid"


@pytest.mark.parametrize(
    ("density", "check", "code"),
    [
        (lambda x: log_density(x) + 0.1, "integral", "density-mass"),
        (lambda x: log_density(x)[:, None], "integral", "density-shape"),
        (lambda x: np.full(len(x), np.nan), "entropy", "density-shape"),
        (lambda x: log_density(x - 1.0), "entropy", "entropy-rows"),
        (
            lambda x: np.where(x[:, 0] > 0, log_density(x) + np.log(2), -np.inf),
            "entropy",
            "impossible-row",
        ),
        (None, "integral", "no-density"),
        (None, "entropy", "no-density"),
    ],
)
def test_a_wrong_density(density: Callable[..., Any] | None, check: str, code: str) -> None:
    assert codes(replace(NORMAL, log_density=density))[check] == code


def test_rows_that_are_no_rows_fail() -> None:
    bad = draws(500, 3)
    bad[7, 1] = np.nan
    assert codes(NORMAL, replace(ROWS, test=bad))["rows"] == "row-not-finite"
    assert codes(NORMAL, replace(ROWS, test=draws(500, 3)[:, :1]))["rows"] == "row-shape"
    assert (
        codes(NORMAL, replace(ROWS, test=np.ones((5, 2), np.float32)))["rows"] == "constant-column"
    )
    found = codes(NORMAL, replace(ROWS, train=np.zeros((0, 2), np.float32)))
    assert found["rows"] == "row-shape"
    assert {code for check, code in found.items() if check != "rows"} == {"earlier-failure"}


def test_elsewhere_than_in_the_plane_only_the_rows_are_used() -> None:
    rows = np.random.default_rng(0).standard_normal((20_000, 3)).astype(np.float32)
    entropy = 1.5 * np.log(2 * np.pi * np.e)

    def density(x: np.ndarray) -> Any:
        return -0.5 * (x**2).sum(1) - 1.5 * np.log(2 * np.pi)

    dataset = replace(NORMAL, d=3, log_density=density, entropy=entropy)
    loaded = replace(ROWS, train=rows, validation=rows[:500], test=rows[500:900])
    assert codes(dataset, loaded) == {
        "rows": "ok",
        "entropy": "ok",
        "integral": "not-planar",
    }
    assert codes(replace(dataset, entropy=entropy + 0.05), loaded)["entropy"] == ("entropy-rows")
