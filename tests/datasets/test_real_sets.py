"""The real data, as far as they are below the data root: sizes and known figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.data import arrays
from bench.data.arrays import Loaded
from bench.registry import plugins

pytestmark = pytest.mark.data


def load(name: str, kind: str, root: Path) -> Loaded:
    loaded = arrays.load(plugins.dataset(name), root)
    if loaded.source.kind != kind:
        pytest.skip(f"{name} is there as {loaded.source.kind}, not as {kind}")
    return loaded


def gaussian_score(loaded: Loaded) -> tuple[float, float]:
    """The mean test log-likelihood of a Gaussian fitted to train, and its standard error."""
    train = np.asarray(loaded.train[:200_000], np.float64)
    test = np.asarray(loaded.test[:50_000], np.float64)
    mean, covariance = train.mean(axis=0), np.cov(train, rowvar=False)
    away = test - mean
    mahalanobis = (away * np.linalg.solve(covariance, away.T).T).sum(axis=1)
    _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
    score = -0.5 * (mahalanobis + log_det)
    return float(score.mean()), float(score.std() / np.sqrt(len(score)))


def test_power_subset(data_root: Path) -> None:
    loaded = load("power", "subset", data_root)
    assert [len(getattr(loaded, s)) for s in arrays.SPLITS] == [41_177, 4_575, 5_083]
    score, error = gaussian_score(loaded)
    assert score == pytest.approx(-7.78, abs=0.13)
    assert error < 0.13
    seen = np.concatenate([loaded.train, loaded.validation]).astype(np.float64)
    assert np.abs(seen.mean(axis=0)).max() < 1e-5
    assert seen.std(axis=0) == pytest.approx(np.ones(6), abs=1e-5)


def test_miniboone_subset(data_root: Path) -> None:
    loaded = load("miniboone", "subset", data_root)
    assert [len(getattr(loaded, s)) for s in arrays.SPLITS] == [1_234, 137, 152]
    score, _ = gaussian_score(loaded)
    assert score == pytest.approx(-35.8, abs=3.5)
    seen = np.concatenate([loaded.train, loaded.validation]).astype(np.float64)
    assert np.abs(seen.mean(axis=0)).max() < 1e-5
    assert seen.std(axis=0) == pytest.approx(np.ones(43), abs=1e-5)


def test_bsds300_redrawn(data_root: Path) -> None:
    loaded = load("bsds300", "redrawn", data_root)
    score, _ = gaussian_score(loaded)
    assert score == pytest.approx(96.6, abs=1.0)
    assert loaded.notes["photographs"] == [180, 20, 100]
    # A patch's mean was subtracted, so its pixels sum to minus the one that was dropped.
    dropped = -np.asarray(loaded.test[:5_000], np.float64).sum(axis=1)
    assert 0 < np.abs(dropped).mean() < 0.2
    assert np.abs(loaded.test).max() < 1
    assert abs(float(np.mean(loaded.train[:100_000]))) < 1e-3


def test_bsds300_test_rows_know_their_photograph(data_root: Path) -> None:
    """Contrast is a property of the photograph: rows r and r + 100 k share it, others do not."""
    loaded = load("bsds300", "redrawn", data_root)
    contrast = np.asarray(loaded.test).std(axis=1).reshape(-1, 100)
    halves = contrast[::2].mean(axis=0), contrast[1::2].mean(axis=0)
    assert np.corrcoef(*halves)[0, 1] > 0.95
    shifted = np.corrcoef(halves[0], np.roll(halves[1], 1))[0, 1]
    assert abs(shifted) < 0.4


def test_digits() -> None:
    loaded = arrays.load(plugins.dataset("digits"), Path("no data"))
    from sklearn.datasets import load_digits

    rows = np.concatenate([loaded.train, loaded.validation, loaded.test])
    assert rows.min() >= 0
    assert rows.max() < 1
    # Quantised again, the rows are the digits, each once.
    pixels = np.floor(rows.astype(np.float64) * 17 + 1e-6).clip(0, 16)
    expected = load_digits().data
    order = [np.lexsort(x.T) for x in (pixels, expected)]
    assert (np.abs(pixels[order[0]] - expected[order[1]]) > 0).mean() < 1e-4
    noise = rows * 17 - pixels
    assert noise.mean() == pytest.approx(0.5, abs=0.005)
