"""`bench sample` and `bench score`: rows in files, in and out, against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from scipy.stats import multivariate_normal

from bench import plugins
from bench.asking import DRAWN_AT_ONCE
from bench.cli import main
from bench.data.tables import read_rows
from bench.errors import DataError
from bench.record import write_json

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`bench` in a folder with one run: a Gaussian in 3 dimensions with mean 1 and s.d. 1/2."""
    folder = tmp_path / "runs" / "gaussian-own-s0-00000000"
    folder.mkdir(parents=True)
    kind = plugins.method("gaussian")
    moments = {"rows": torch.ones(()), "mean": torch.ones(3), "scatter": 0.25 * torch.eye(3)}
    state = kind(3, kind.Config()).state_dict() | moments
    content = {"method": "gaussian", "config": {}, "d": 3, "state": state}
    torch.save(content, folder / "model.pt")
    write_json(
        folder / "record.json",
        {"format": 1, "run": folder.name, "status": "ok", "judge": {"dtype": "float64"}},
    )
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, [*arguments, "--results", "runs"])


@pytest.mark.parametrize("form", ["npy", "csv"])
def test_rows_are_drawn_and_scored(call: Call, form: str) -> None:
    done = call("sample", "gaussian", "-n", "5000", "-o", f"rows.{form}")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"5,000 rows of gaussian-own-s0-00000000, seed 0: rows.{form}\n"
    rows = read(f"rows.{form}", "x0,x1,x2")
    assert rows.shape == (5000, 3)
    assert rows.mean(0) == pytest.approx(np.ones(3), abs=0.03)
    assert rows.std(0) == pytest.approx(np.full(3, 0.5), abs=0.02)
    done = call("score", "gaussian-own", f"rows.{form}", "-o", f"scores.{form}")
    assert done.exit_code == 0, done.output
    scores = read(f"scores.{form}", "log_prob")
    expected = multivariate_normal(np.ones(3), 0.25 * np.eye(3)).logpdf(rows)
    assert scores.ravel() == pytest.approx(expected, abs=1e-4)


def read(name: str, header: str) -> np.ndarray:
    if name.endswith("npy"):
        return np.load(name)
    assert Path(name).read_text().splitlines()[0] == header
    return np.loadtxt(name, delimiter=",", skiprows=1)


def test_fewer_rows_are_the_first_of_more(call: Call) -> None:
    for n in (7, DRAWN_AT_ONCE + 7):
        call("sample", "gaussian", "-n", str(n), "-o", f"{n}.npy")
    few, many = np.load("7.npy"), np.load(f"{DRAWN_AT_ONCE + 7}.npy")
    assert (few.shape, many.shape) == ((7, 3), (DRAWN_AT_ONCE + 7, 3))
    assert (few == many[:7]).all()
    call("sample", "gaussian", "-n", "7", "-s", "1", "-o", "other.npy")
    assert (np.load("other.npy") != few).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2\n3,4\n", "rows of shape (2,); those of the run are of (3,)"),
        ("a,b,c\n1,2,3\n1,x,3\n", "no number in row 1, column 1"),
        ("a,b,c\n1,2,3\n1,,3\n", "no number in row 1, column 1"),
        ("1,2,3\n1,2,3,4\n", "can't be read"),
        ("", "There is no row"),
        ("a,b,c\n", "There is no row"),
    ],
)
def test_rows_that_are_none_are_refused(call: Call, tmp_path: Path, text: str, said: str) -> None:
    Path("rows.csv").write_text(text)
    done = call("score", "gaussian", "rows.csv", "-o", "scores.npy")
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.csv", "runs"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", "gaussian", "-n", "5", "-o", "rows.txt"], ".npy or .csv"),
        (["sample", "gaussian", "-n", "0", "-o", "rows.npy"], "0"),
        (["sample", "jko", "-n", "5", "-o", "rows.npy"], "jko"),
        (["sample", "gaussian", "-n", "5", "-o", "none/rows.npy"], "can't be written"),
        (["score", "gaussian", "none.npy", "-o", "rows.npy"], "none.npy can't be read"),
        (["score", "gaussian", "none.csv", "-o", "rows.npy"], "none.csv can't be read"),
    ],
)
def test_wrong_calls(call: Call, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def test_rows_are_read_a_part_at_a_time(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((10, 2))
    np.save(tmp_path / "a.npy", rows)
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",")
    for name in ("a.npy", "a.csv"):
        parts = list(read_rows(tmp_path / name, 2, 4))
        assert [len(part) for part in parts] == [4, 4, 2]
        assert all(part.flags.writeable for part in parts)  # as torch wants it
        assert np.concatenate(parts) == pytest.approx(rows, rel=1e-6)
    np.save(tmp_path / "b.npy", np.array([[1, np.inf]]))
    with pytest.raises(DataError, match="row 0, column 1"):
        list(read_rows(tmp_path / "b.npy", 2, 4))
    np.save(tmp_path / "c.npy", np.array(["a"]))
    with pytest.raises(DataError, match="not rows of numbers"):
        list(read_rows(tmp_path / "c.npy", 2, 4))
