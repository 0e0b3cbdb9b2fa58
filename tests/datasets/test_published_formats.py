"""The published sets on small files in their real formats, against slow transcriptions.

Here the preprocessing is written again with pandas, a row or a column at a time, and shares no
code with the readers.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from bench.api.dataset import Splits
from bench.data import arrays
from bench.errors import DataError
from bench.registry import plugins

from .old_frame import write_old_pickle


def read(name: str, root: Path) -> Splits:
    """As the harness reads, but whatever the number of rows."""
    dataset = plugins.dataset(name)
    source = dataset.find(root)
    assert source is not None
    assert source.kind == "whole"
    return source.read(root)


def same(splits: Splits, train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> None:
    for rows, expected in (
        (splits.train, train),
        (splits.validation, validation),
        (splits.test, test),
    ):
        assert rows.dtype == np.float32
        assert rows.shape == expected.shape
        np.testing.assert_allclose(rows, expected, rtol=2e-6, atol=2e-6)


def cut(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n_test = int(0.1 * rows.shape[0])
    test, rest = rows[-n_test:], rows[:-n_test]
    n_validation = int(0.1 * rest.shape[0])
    return rest[:-n_validation], rest[-n_validation:], test


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_power(tmp_path: Path, dtype: type) -> None:
    source = np.random.default_rng(0)
    n = 537
    data = np.column_stack(
        [
            source.gamma(2, 1, n),
            source.random(n),
            240 + 3 * source.normal(size=n),
            source.random(n) * 20,
            source.integers(0, 3, n),
            source.integers(0, 3, n),
            source.integers(0, 19, n),
            np.arange(n) % 1440,
        ]
    ).astype(dtype)
    (tmp_path / "power").mkdir()
    np.save(tmp_path / "power/data.npy", data)

    rng = np.random.RandomState(42)
    rows = data.copy()
    rng.shuffle(rows)
    rows = np.delete(np.delete(rows, 3, axis=1), 1, axis=1)
    voltage = 0.01 * rng.rand(n, 1)
    active = 0.001 * rng.rand(n, 1)
    sub = rng.rand(n, 3)
    rows = rows + np.hstack([active, voltage, sub, np.zeros((n, 1))])
    train, validation, test = cut(rows)
    seen = np.vstack([train, validation])
    mu, s = seen.mean(axis=0), seen.std(axis=0)
    same(read("power", tmp_path), (train - mu) / s, (validation - mu) / s, (test - mu) / s)


def test_miniboone(tmp_path: Path) -> None:
    data = np.random.default_rng(1).gamma(2, 3, (211, 43))
    (tmp_path / "miniboone").mkdir()
    np.save(tmp_path / "miniboone/data.npy", data)
    train, validation, test = cut(data)
    frame = pd.DataFrame(np.vstack([train, validation]))
    mu, s = frame.mean().to_numpy(), frame.std(ddof=0).to_numpy()
    same(read("miniboone", tmp_path), (train - mu) / s, (validation - mu) / s, (test - mu) / s)


def gas_frame() -> pd.DataFrame:
    """Sixteen sensors in chains of correlation, so that the order of dropping counts."""
    source = np.random.default_rng(2)
    n = 400
    base = source.normal(size=(n, 8))
    sensors = {}
    for i in range(8):
        sensors[f"R{2 * i + 1}"] = base[:, i]
        sensors[f"R{2 * i + 2}"] = 3 * base[:, i] + 0.3 * source.normal(size=n) + i
    sensors["R5"] = sensors["R1"] + 0.1 * source.normal(size=n)  # R2 - R1 - R5
    sensors["R16"] = -sensors["R15"]  # a sign that must not count
    times = {"Time": np.arange(n) / 100, "Meth": source.random(n), "Eth": source.random(n)}
    return pd.DataFrame({**times, **sensors}) * 1.0


def test_gas(tmp_path: Path) -> None:
    frame = gas_frame()
    (tmp_path / "gas").mkdir()
    write_old_pickle(tmp_path / "gas/ethylene_CO.pickle", frame)

    left = frame.drop("Meth", axis=1).drop("Eth", axis=1).drop("Time", axis=1)

    def partners() -> list[int]:
        correlation = left.corr()
        return [sum(correlation[a][b] > 0.98 for b in left.columns) for a in left.columns]

    while any(count > 1 for count in partners()):
        first = next(i for i, count in enumerate(partners()) if count > 1)
        left = left.drop(left.columns[first], axis=1)
    assert {"R15", "R16"} <= set(left.columns)
    assert 8 < len(left.columns) < 16
    left = (left - left.mean()) / left.std()
    splits = read("gas", tmp_path)
    same(splits, *cut(left.to_numpy()))
    assert splits.notes["columns"] == list(left.columns)


def test_gas_without_its_columns(tmp_path: Path) -> None:
    (tmp_path / "gas").mkdir()
    write_old_pickle(tmp_path / "gas/ethylene_CO.pickle", gas_frame().drop(columns="Meth"))
    with pytest.raises(DataError, match="no column Meth"):
        read("gas", tmp_path)


def write_hepmass(folder: Path, train: pd.DataFrame, test: pd.DataFrame) -> None:
    """As the real files: scientific numbers, and lines of the test table that end in a comma."""
    folder.mkdir()
    train.to_csv(folder / "1000_train.csv", index=False, float_format="%.18e")
    test.to_csv(folder / "1000_test.csv", index=False, float_format="%.18e")


def hepmass_frame(n: int, seed: int) -> pd.DataFrame:
    source = np.random.default_rng(seed)
    frame = pd.DataFrame(source.normal(size=(n, 27)), columns=[f"f{i}" for i in range(27)])
    frame["f3"] = frame["f3"].clip(lower=-0.5)  # the smallest value repeats: dropped
    frame["f7"] = frame["f7"].clip(upper=0.5)  # the largest value repeats: kept
    frame["f9"] = np.where(frame["f9"].abs() < 0.5, 0, frame["f9"])  # one in the middle: kept
    frame["f11"] = frame["f11"].where(frame["f11"].rank() > 5, -9)  # five of the smallest: below
    frame.insert(0, "# label", (source.random(n) < 0.5).astype(float))
    return frame


@pytest.mark.parametrize("trailing", [False, True])
def test_hepmass(tmp_path: Path, trailing: bool) -> None:
    train, test = hepmass_frame(400, 3), hepmass_frame(150, 4)
    test["mass"] = 1000.0
    write_hepmass(tmp_path / "hepmass", train, test)
    if trailing:  # a comma at the end of each row but the header, as index_col=False expects
        for name in ("1000_train.csv", "1000_test.csv"):
            path = tmp_path / "hepmass" / name
            head, *lines = path.read_text().splitlines()
            path.write_text("\n".join([head, *(line + "," for line in lines)]) + "\n")

    signal = train[train["# label"] == 1].drop("# label", axis=1)
    signal_test = test[test["# label"] == 1].drop("# label", axis=1).drop("mass", axis=1)
    mu, s = signal.mean(), signal.std()
    signal, signal_test = (signal - mu) / s, (signal_test - mu) / s
    kept = [name for name in signal.columns if sorted(Counter(signal[name]).items())[0][1] <= 5]
    assert "f3" not in kept
    assert {"f7", "f9", "f11"} <= set(kept)
    rows = signal[kept].to_numpy()
    n_validation = int(len(rows) * 0.1)
    same(
        read("hepmass", tmp_path),
        rows[:-n_validation],
        rows[-n_validation:],
        signal_test[kept].to_numpy(),
    )


def test_hepmass_with_another_test_table(tmp_path: Path) -> None:
    write_hepmass(tmp_path / "hepmass", hepmass_frame(100, 3), hepmass_frame(100, 4))
    with pytest.raises(DataError, match="should have one more"):
        read("hepmass", tmp_path)


def test_bsds300_as_stored(tmp_path: Path) -> None:
    stored = {
        name: np.random.default_rng(i).normal(size=(20 + i, 63))
        for i, name in enumerate(("train", "validation", "test"))
    }
    (tmp_path / "BSDS300").mkdir()
    with h5py.File(tmp_path / "BSDS300/BSDS300.hdf5", "w") as file:
        for name, rows in stored.items():
            file[name] = rows
    same(read("bsds300", tmp_path), *stored.values())


def test_whole_sets_must_be_whole(tmp_path: Path) -> None:
    (tmp_path / "miniboone").mkdir()
    np.save(tmp_path / "miniboone/data.npy", np.random.default_rng(1).random((211, 43)))
    with pytest.raises(DataError, match=r"has \(171, 19, 21\) rows.*\(29556, 3284, 3648\)"):
        arrays.load(plugins.dataset("miniboone"), tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("power", "power/data.npy"),
        ("miniboone", "miniboone/data.npy"),
        ("gas", "gas/ethylene_CO.pickle"),
        ("bsds300", "BSDS300/BSDS300.hdf5"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, file: str) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_bytes(b"not at all that")
    with pytest.raises(DataError, match=file):
        arrays.load(plugins.dataset(name), tmp_path)
