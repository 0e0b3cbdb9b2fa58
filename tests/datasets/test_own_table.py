"""A table of the user's own: every format, and every mistake named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data import arrays
from bench.data.arrays import Loaded
from bench.errors import DataError
from bench.registry import plugins
from bench_datasets.own_table import from_path

ROWS = np.random.default_rng(0).normal(size=(203, 3)) * (1, 10, 100) + (0, 5, -70)
FRAME = pd.DataFrame(ROWS, columns=["a", "b b", "c"])


def load(path: Path) -> Loaded:
    return arrays.load(plugins.dataset(str(path)), Path("no data"))


def together(loaded: Loaded) -> np.ndarray:
    return np.concatenate([loaded.train, loaded.validation, loaded.test]).astype(np.float64)


def write(path: Path, kind: str) -> Path:
    path = path / f"table.{kind.split()[0]}"
    match kind:
        case "csv with header":
            FRAME.to_csv(path, index=False)
        case "csv with header and a byte order mark":
            FRAME.to_csv(path, index=False, encoding="utf-8-sig")
        case "csv with numbered columns":
            pd.DataFrame(ROWS).to_csv(path, index=False)
        case "csv without header":
            np.savetxt(path, ROWS, delimiter=", ")
        case "npy":
            np.save(path, ROWS)
        case "npy in Fortran order":
            np.save(path, np.asfortranarray(ROWS))
        case "npz":
            np.savez(path, ROWS)
        case "npz compressed":
            np.savez_compressed(path, anything=ROWS)
        case "parquet":
            FRAME.to_parquet(path)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "csv with header",
        "csv with header and a byte order mark",
        "csv with numbered columns",
        "csv without header",
        "npy",
        "npy in Fortran order",
        "npz",
        "npz compressed",
        "parquet",
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    if "numbered" in kind:
        with pytest.raises(DataError, match=r"may name its columns or be data: 0, 1, 2.*--header"):
            load(path)
        path = path.with_name(f"{path.name}?header=yes")
    loaded = load(path)
    assert plugins.dataset(str(path)).name == path.name.partition("?")[0]
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (163, 20, 20)
    assert loaded.source.kind == "own"
    assert loaded.source.kind != "subset"
    # Each row of the file is there once, up to the standardisation, which is affine.
    rows = together(loaded)
    slope = ROWS.std(axis=0) / rows.std(axis=0)
    back = ROWS.mean(axis=0) + (rows - rows.mean(axis=0)) * slope
    by_first = [x[x[:, 0].argsort()] for x in (back, ROWS)]
    np.testing.assert_allclose(*by_first, rtol=1e-4, atol=1e-4)
    assert not np.allclose(back, ROWS)  # shuffled
    seen = np.concatenate([loaded.train, loaded.validation]).astype(np.float64)
    assert np.abs(seen.mean(axis=0)).max() < 1e-6
    assert seen.std(axis=0) == pytest.approx(np.ones(3), abs=1e-6)
    assert "80/10/10" in str(loaded.notes["split"])
    assert "train and validation" in str(loaded.notes["standardised"])
    noted = rows * np.array(loaded.notes["std"]) + np.array(loaded.notes["mean"])
    np.testing.assert_allclose(*(x[x[:, 0].argsort()] for x in (noted, ROWS)), rtol=1e-4, atol=1e-4)


def test_formats_share_one_revision(tmp_path: Path) -> None:
    kinds = ("csv with header", "npy", "npz", "parquet")
    assert len({load(write(tmp_path, kind)).revision for kind in kinds}) == 1


def test_given_splits_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "given.npz"
    parts = {"test": ROWS[:30], "train": ROWS[30:160], "validation": ROWS[160:]}
    np.savez(path, **parts)
    loaded = load(path)
    seen = np.concatenate([parts["train"], parts["validation"]])
    for name, rows in parts.items():
        expected = (rows - seen.mean(axis=0)) / seen.std(axis=0)
        np.testing.assert_allclose(getattr(loaded, name), expected, rtol=1e-5, atol=1e-6)
    assert loaded.notes["split"] == "as given by the file"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, "npy")
    first = load(path).revision
    np.save(path, np.vstack([ROWS, ROWS[:1]]))
    second = load(path).revision
    assert first != second


@settings(max_examples=25, deadline=None)
@given(n=st.integers(50, 400), d=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_no_row_is_lost(
    tmp_path_factory: pytest.TempPathFactory, n: int, d: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("table") / "table.npy"
    np.save(path, np.random.default_rng(seed).normal(size=(n, d)))
    splits = from_path(path).sources[0].read(Path())
    sizes = [len(splits.train), len(splits.validation), len(splits.test)]
    assert sum(sizes) == n
    assert sizes[1] == sizes[2] == n // 10
    rows = np.concatenate([splits.train, splits.validation, splits.test])
    assert len({row.tobytes() for row in rows}) == n


def with_value(value: object) -> pd.DataFrame:
    frame = FRAME.astype(object)
    frame.iloc[4, 1] = value
    return frame


def constant(value: float) -> pd.DataFrame:
    return FRAME.assign(k=value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no columns"),
        ("a,b\n", "0 rows"),
        ("1,2\n3,4\n", "2 rows.*At least 50"),
        ("1,2\n3,4,5\n" * 60, "can't be read.*Expected 2 fields in line 2"),
        ("a,b\n" + "1,2,3\n" * 60, "first line has 2 columns"),
        ("1,2.5\n3\n" * 60, "'1' has a missing value in row 2 and 59 more"),
        (with_value("?"), "'b b' has '\\?' in row 5;|'b b' has '\\?' in row 5\\."),
        (with_value(np.nan), "'b b' has a missing value in row 5"),
        (with_value(np.inf), "'b b' has 'inf' in row 5"),
        (with_value(1e300), r"'b b' has '1e\+300' in row 5"),
        (FRAME.assign(city="Rome"), "'city' has 'Rome' in row 1 and 202 more.*--drop city"),
        (FRAME.assign(flag=ROWS[:, 0] > 0), "'flag' has only two values.*--drop flag"),
        (constant(0.1), "'k' has the same value in every row"),
        (constant(7), "'k' has the same value in every row"),
    ],
)
def test_a_bad_csv_is_named(tmp_path: Path, content: str | pd.DataFrame, said: str) -> None:
    path = tmp_path / "bad.csv"
    if isinstance(content, str):
        path.write_text(content)
    else:
        content.to_csv(path, index=False)
    with pytest.raises(DataError, match=said) as caught:
        load(path)
    assert str(path) in caught.value.problem
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ROWS[:, 0], "two dimensions"),
        (ROWS[None], "two dimensions"),
        (ROWS[:, :0], "no columns"),
        (ROWS[:0], "0 rows"),
        (ROWS.astype(complex), "dtype complex128"),
        (ROWS > 0, "dtype bool"),
        (ROWS.astype(str), "dtype <U"),
        (ROWS.astype(object), "dtype object"),
        (np.where(ROWS > 100, np.nan, ROWS), "missing value in row"),
    ],
)
def test_a_bad_npy_is_named(tmp_path: Path, content: np.ndarray, said: str) -> None:
    np.save(tmp_path / "bad.npy", content, allow_pickle=True)
    with pytest.raises(DataError, match=said):
        load(tmp_path / "bad.npy")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, r"the arrays \(none\)"),
        ({"x": ROWS, "y": ROWS}, "the arrays x, y"),
        ({"train": ROWS, "validation": ROWS, "test": ROWS[:, :2]}, "differ in columns"),
        ({"train": ROWS[:99], "validation": ROWS[:0], "test": ROWS[99:]}, "validation split"),
        ({"train": ROWS[:, 0], "validation": ROWS, "test": ROWS}, "array 'train'.*two dimensions"),
    ],
)
def test_a_bad_npz_is_named(tmp_path: Path, content: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(DataError, match=said):
        load(tmp_path / "bad.npz")


@pytest.mark.parametrize("suffix", ["csv", "npy", "npz", "parquet"])
def test_not_that_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(bytes(range(128, 256)) * 4)
    with pytest.raises(DataError, match=f"bad.{suffix} can't be read"):
        load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        load(tmp_path / "table.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="no file"):
        load(tmp_path / "folder.csv")
    with pytest.raises(DataError, match=r"\.csv, \.tsv .*\.npz or \.parquet"):
        load(tmp_path / "table.xlsx")


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    path = write(tmp_path, "npy")
    dataset = plugins.dataset(str(path))
    path.unlink()
    with pytest.raises(DataError, match=r"missing .*table\.npy"):
        arrays.load(dataset, Path("no data"))


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "parquet")

    def without(name: str, *_: object) -> object:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", without)
    with pytest.raises(DataError, match=r"pip install 'cnf-bench\[parquet\]'"):
        from_path(path)


def test_relative_and_home_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "npy")
    monkeypatch.chdir(tmp_path)
    dataset = plugins.dataset("table.npy")
    shutil.copy("table.npy", "other.npy")
    monkeypatch.chdir("/")
    here = arrays.load(dataset, Path("no data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(Path("~/other.npy")).revision == here.revision


def test_the_dimension_is_read_without_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file is opened for its header only, so that listing a grid stays quick."""
    paths = [write(tmp_path, kind) for kind in ("npy", "npz", "parquet", "csv with header")]

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(np, "load", forbidden)
    monkeypatch.setattr(pd, "read_csv", forbidden)
    assert [from_path(path).d for path in paths] == [3, 3, 3, 3]
