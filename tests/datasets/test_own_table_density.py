"""Columns of a user's table that can't have a density are refused, all at once, with the remedy."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api import Splits
from bench.data import arrays
from bench.errors import BenchError, DataError, UsageError
from bench_datasets.own_table import from_path
from bench_datasets.own_table_checks import check, grid

N = 1_000
RNG = np.random.default_rng(5)
FRAME = pd.DataFrame(RNG.normal(size=(N, 3)), columns=["a", "b", "c"])
GROUP = RNG.integers(0, 40, N)


def huge() -> pd.Series:
    column = pd.Series(RNG.normal(size=N))
    column[3] = 1e12
    return column


#: Columns without a density, and what is said of them.
BAD = {
    "whole": (RNG.integers(18, 90, N), "only whole numbers", "dequantise"),
    "whole floats": (RNG.integers(18, 90, N) * 100.0, "only whole numbers", "dequantise"),
    "flag": (RNG.random(N) < 0.5, "only two values", "drop"),
    "labels": (np.where(RNG.random(N) < 0.5, 0.25, 0.75), "only two values", "drop"),
    "id": (np.arange(N) + 10_000, "only row numbers", "drop"),
    "shuffled": (RNG.permutation(N), "only row numbers", "drop"),
    "copy": (FRAME["a"], "a copy or an affine function of column 'a'", "drop"),
    "celsius": (FRAME["b"] * 1.8 + 32, "a copy or an affine function of column 'b'", "drop"),
    "total": (FRAME.sum(axis=1), "an affine combination of columns 'a', 'b', 'c'", "drop"),
    "huge": (huge(), "a value so large", "drop"),
    "rain": (np.where(RNG.random(N) < 0.7, 0.0, FRAME["c"] ** 2), "one value in most", "drop"),
    "constant": (np.full(N, 0.1), "the same value in every row", "drop"),
    "city": (np.array(["Rome", "Oslo"] * (N // 2)), "'Rome' in row 1", "drop"),
}


def read(path: Path, query: str = "") -> Splits:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return from_path(Path(f"{path}{query}")).sources[0].read(Path())


@pytest.mark.parametrize("name", BAD)
def test_a_column_without_a_density_is_refused(tmp_path: Path, name: str) -> None:
    column, said, remedy = BAD[name]
    path = tmp_path / "table.csv"
    FRAME.assign(**{name: column}).to_csv(path, index=False)
    with pytest.raises(DataError) as caught:
        read(path)
    assert said in caught.value.problem
    assert repr(name) in caught.value.problem
    assert f"--{remedy} {name}" in caught.value.remedy
    splits = read(path, f"?{remedy}={name}")
    assert splits.train.shape == (800, 4 if remedy == "dequantise" else 3)


def test_all_faults_come_in_one_message_whose_remedy_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    names = {name: column for name, (column, _, _) in BAD.items()}
    FRAME.assign(**names).to_csv(path, index=False)
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    for name in BAD:
        assert repr(name) in caught.value.problem
    drop = caught.value.remedy.partition("--drop ")[2].partition(" --")[0].rstrip(".")
    noise = caught.value.remedy.partition("--dequantise ")[2].rstrip(".")
    assert sorted(noise.split(",")) == ["whole", "whole floats"]
    splits = read(path, f"?drop={drop}&dequantise={noise}")
    assert splits.notes["columns"] == ["a", "b", "c", "whole", "whole floats"]
    assert splits.notes["dequantised"] == {"whole": 1.0, "whole floats": 100.0}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(60, 2_000),
    d=st.integers(1, 6),
    spread=st.floats(1e-3, 1e3),
    shift=st.floats(-1e3, 1e3),
)
def test_tables_with_a_density_are_accepted(
    seed: int, n: int, d: int, spread: float, shift: float
) -> None:
    """Correlated, shifted and heavy-tailed columns (Student's t, 3 degrees of freedom)."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_t(3, (n, d)) @ (np.eye(d) + 0.5 * rng.normal(size=(d, d)))
    found = check([str(k) for k in range(d)], rows * spread + shift, int(0.9 * n))
    assert found.faults == []


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    d=st.integers(2, 8),
    weights=st.lists(st.floats(-5, 5).filter(lambda w: abs(w) > 0.1), min_size=8, max_size=8),
)
def test_every_affine_combination_is_found(seed: int, d: int, weights: list[float]) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(500, d)) * 10.0 ** rng.integers(-3, 4, d)
    extra = (rows * weights[:d] / rows.std(0)).sum(1) + 3
    names = [f"x{k}" for k in range(d)]
    found = check([*names, "sum"], np.c_[rows, extra], 450)
    assert found.drop == ["sum"]
    assert all(repr(name) in found.faults[0] for name in names[:5])


@settings(max_examples=100, deadline=None)
@given(
    step=st.integers(1, 50),
    places=st.integers(0, 4),
    start=st.integers(-1_000, 1_000),
    values=st.lists(st.integers(-500, 500), min_size=2, max_size=40),
)
def test_the_grid_is_the_largest_step(
    step: int, places: int, start: int, values: list[int]
) -> None:
    """Against the greatest common divisor of exact whole numbers."""
    whole = [start + step * value for value in values]
    column = np.array(whole) / 10**places
    expected = int(np.gcd.reduce(np.diff(sorted(whole)))) / 10**places
    found = grid(column)
    if len(set(whole)) > 1:
        assert found == pytest.approx(expected, rel=1e-9)


def test_normal_numbers_have_no_grid() -> None:
    assert grid(RNG.normal(size=200)) is None


def test_noise_is_as_wide_as_the_grid_and_rounds_away(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    FRAME.assign(age=BAD["whole"][0], tenths=FRAME["a"].round(1)).to_csv(path, index=False)
    splits = read(path, "?dequantise=age,tenths&drop=a")
    assert splits.notes["dequantised"] == {"age": 1.0, "tenths": pytest.approx(0.1)}
    rows = np.concatenate([splits.train, splits.validation, splits.test]).astype(float)
    own = rows * np.array(splits.notes["std"]) + np.array(splits.notes["mean"])
    ages = own[:, splits.notes["columns"].index("age")]
    assert sorted(np.rint(ages)) == sorted(BAD["whole"][0])
    noise = ages - np.rint(ages)
    assert abs(noise).max() <= 0.5 + 1e-4
    assert noise.std() == pytest.approx(12**-0.5, rel=0.05)
    again = read(path, "?dequantise=age,tenths&drop=a")
    np.testing.assert_array_equal(splits.train, again.train)


def test_two_preparations_of_a_table_do_not_share_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    FRAME.to_csv(path, index=False)
    loaded = [
        arrays.load(from_path(Path(f"{path}?drop={name}")), Path()) for name in ("a", "b", "a")
    ]
    assert loaded[0].revision == loaded[2].revision != loaded[1].revision
    assert loaded[1].notes["columns"] == ["a", "c"]


def test_groups_stay_in_one_split(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    FRAME.assign(patient=[f"p{g}" for g in GROUP], mark=GROUP + FRAME["a"] / 1e3).to_csv(
        path, index=False
    )
    dataset = from_path(Path(f"{path}?group=patient"))
    splits = dataset.sources[0].read(Path())
    assert dataset.d == splits.train.shape[1] == 4
    k = splits.notes["columns"].index("mark")
    marks = [
        np.rint(part[:, k] * splits.notes["std"][k] + splits.notes["mean"][k]).astype(int)
        for part in (splits.train, splits.validation, splits.test)
    ]
    assert not set(marks[0]) & set(marks[1])
    assert not set(marks[0]) & set(marks[2])
    assert not set(marks[1]) & set(marks[2])
    assert sum(map(len, marks)) == N
    assert 0.75 * N < len(marks[0]) < 0.85 * N
    groups = dataset.sources[0].test_groups(np.arange(len(marks[2])))
    assert len(set(zip(marks[2].tolist(), groups.tolist(), strict=True))) == len(set(marks[2]))


@pytest.mark.parametrize(
    ("suffix", "separator", "decimal"),
    [("csv", ",", "."), ("csv", ";", ","), ("csv", ";", "."), ("csv", "\t", "."),
     ("tsv", "\t", "."), ("tsv", "\t", ","), ("csv.gz", ",", "."), ("tsv.gz", "\t", ".")],
)  # fmt: skip
def test_every_way_of_writing_gives_the_same_rows(
    tmp_path: Path, suffix: str, separator: str, decimal: str
) -> None:
    plain, other = tmp_path / "plain.csv", tmp_path / f"other.{suffix}"
    FRAME.to_csv(plain, index=False)
    FRAME.to_csv(other, index=False, sep=separator, decimal=decimal)
    np.testing.assert_array_equal(read(plain).train, read(other).train)


@pytest.mark.parametrize(
    ("first", "answer"),
    [("0,1,2", None), ("2019,2020,2021", None), ("a,b,7", None), ("5,4,3", None),
     ("a,b,c", True), ("0.5,1.5,2.5", False), (",a,b", True), ("7,7,7", False)],
)  # fmt: skip
def test_a_first_line_that_may_be_a_header_is_asked_for(
    tmp_path: Path, first: str, answer: bool | None
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{first}\n{FRAME.to_csv(index=False, header=False)}")
    if answer is None:
        with pytest.raises(DataError, match="--header yes or --header no"):
            read(path)
        splits = read(path, "?header=yes")
        assert splits.notes["columns"] == first.split(",")
    else:
        splits = read(path)
    rows = len(splits.train) + len(splits.validation) + len(splits.test)
    assert rows == (N + 1 if answer is False else N)


@pytest.mark.parametrize(
    ("query", "said"),
    [("?drop=x", "Unknown column 'x' of table.csv"), ("?group=x", "Unknown column 'x'"),
     ("?drop=a,b,c", "No column .* is left"), ("?colour=red", "'colour=red'"),
     ("?drop=", "'drop='"),
     ("?drop=a&drop=b", "each once"), ("?header=maybe", "yes or no"), ("?group=a,b", "one column"),
     ("?drop=a&dequantise=a", "left out and dequantised"), ("?dequantise=a", "no grid")],
)  # fmt: skip
def test_a_wrong_preparation_is_named(tmp_path: Path, query: str, said: str) -> None:
    path = tmp_path / "table.csv"
    FRAME.to_csv(path, index=False)
    with pytest.raises(BenchError, match=said):
        read(path, query)


def test_a_file_whose_name_has_a_question_mark(tmp_path: Path) -> None:
    np.save(tmp_path / "why?drop=me.npy", FRAME.to_numpy())
    assert from_path(tmp_path / "why?drop=me.npy").name == "why?drop=me.npy"
    with pytest.raises(UsageError, match="not understood"):
        from_path(tmp_path / "why.npy?because")


@pytest.mark.parametrize(
    ("column", "said"),
    [(FRAME["a"].round(1), "rounded"), (np.where(np.arange(N) % 5 < 1, 0.0, FRAME["a"]), "over 5%"),
     (FRAME["a"] + 1e-4 * RNG.normal(size=N), "almost an affine combination")],
)  # fmt: skip
def test_what_is_likely_to_mislead_is_said(tmp_path: Path, column: np.ndarray, said: str) -> None:
    path = tmp_path / "table.csv"
    FRAME.assign(x=column).to_csv(path, index=False)
    with pytest.warns(UserWarning, match=said):
        splits = from_path(path).sources[0].read(Path())
    assert any(said in warning for warning in splits.notes["warnings"])


def test_repeated_rows_are_said(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    pd.concat([FRAME, FRAME[:100]]).to_csv(path, index=False)
    with pytest.warns(UserWarning, match="9% of the rows repeat another row"):
        from_path(path).sources[0].read(Path())
