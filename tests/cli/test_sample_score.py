"""`bench sample` and `bench score`: a trained flow's rows and log-densities, in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from scipy.stats import multivariate_normal

import bench
from bench.cli import main
from bench.data import row_files
from bench.errors import UsageError
from bench.records import store
from bench.registry import plugins
from bench.study.planning import plan
from bench.study.studies import Study
from bench.training.run import execute

from ..harness.small import JUDGE


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, own_cache: Path) -> Path:
    """A folder with one run: the Gaussian floor on a small table."""
    folder = tmp_path_factory.mktemp("made")
    rows = np.random.default_rng(1).normal(size=(400, 2)).astype(np.float32)
    np.save(folder / "own.npy", rows @ np.array([[1, 0.5], [0, 1]], dtype=np.float32))
    study = Study(("gaussian",), (str(folder / "own.npy"),), judge=JUDGE, minibatches=8)
    (spec,) = plan(study, folder / "runs", folder).runs
    content = execute(spec, folder / "runs", lambda event: None)
    assert content["status"] == "ok", content["reason"]
    return folder / "runs"


def call(results: Path, *arguments: object) -> Result:
    words = [*map(str, arguments), "--results", str(results)]
    return CliRunner().invoke(main, words)


def test_samples_are_those_of_the_flow(results: Path, tmp_path: Path) -> None:
    for name in ("s.npy", "s.csv"):
        done = call(
            *(results, "sample", "gaussian-own", "-n", 50, "-o", tmp_path / name, "--seed", 3),
            *("--units", "preprocessed"),
        )
        assert done.exit_code == 0, done.output
    flow = bench.load("gaussian", results)
    rows = np.load(tmp_path / "s.npy")
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, flow.sample(50, seed=3).numpy())
    assert (tmp_path / "s.csv").read_text(encoding="utf-8").startswith("x0,x1\n")
    table = np.loadtxt(tmp_path / "s.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(table.astype(np.float32), rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.csv", "s.npy"]


def test_many_samples_come_in_blocks(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are different draws, of the Gaussian that was fitted; the same seed gives them again."""
    monkeypatch.setattr(row_files, "BLOCK", 256)
    for name in ("one.npy", "two.npy"):
        call(
            *(results, "sample", "gaussian-own", "-n", 2_000, "-o", tmp_path / name),
            *("--units", "preprocessed"),
        )
    rows = np.load(tmp_path / "one.npy")
    assert rows.shape == (2_000, 2)
    assert len(np.unique(rows, axis=0)) == 2_000
    np.testing.assert_array_equal(rows, np.load(tmp_path / "two.npy"))
    state = torch.load(next(results.glob("gaussian-own*")) / "model.pt", weights_only=True)["state"]
    covariance = (state["scatter"] / state["rows"]).numpy()
    np.testing.assert_allclose(np.cov(rows.T), covariance, atol=5 * np.sqrt(2 / 2_000) * 1.6)


@pytest.mark.parametrize("form", ["npy", "csv", "named.csv"])
def test_scores_are_the_log_density(
    form: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By scipy, from the moments that the run's model holds; block by block."""
    monkeypatch.setattr(row_files, "BLOCK", 16)
    rows = np.random.default_rng(5).normal(size=(50, 2))
    file, output = tmp_path / f"rows.{form}", tmp_path / f"out.{form.rpartition('.')[2]}"
    if form == "npy":
        np.save(file, rows)
    else:
        header = "a,b" if form == "named.csv" else ""
        np.savetxt(file, rows, delimiter=",", header=header, comments="", fmt="%.17g")
    done = call(results, "score", "gaussian-own", file, "-o", output, "--units", "preprocessed")
    assert done.exit_code == 0, done.output
    assert "in preprocessed units" in done.output
    if form == "npy":
        scores = np.load(output)
    else:
        assert output.read_text(encoding="utf-8").startswith("log_prob\n")
        scores = np.loadtxt(output, skiprows=1)
    state = torch.load(next(results.glob("gaussian-own*")) / "model.pt", weights_only=True)["state"]
    covariance = (state["scatter"] / state["rows"]).numpy()
    true = multivariate_normal(state["mean"].numpy(), covariance).logpdf(rows)
    assert scores.shape == (50,)
    np.testing.assert_allclose(scores, true, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("r.csv", "1,2,3\n", ["Expected 2", "got 3", "line 1"]),
        ("r.csv", "1,2\n1\n", ["Expected 2", "got 1", "line 2"]),
        ("r.csv", "a,b\n1,2\n1,nan\n\n,2\n", ["line 3, 5."]),
        ("r.csv", "1,inf\n" * 7, ["line 1, 2, 3, 4, 5 and 2 more."]),
        ("r.csv", "1,2\n1,x\n", ["line 2, column 2", "'x'"]),
        ("r.csv", "a,b,c\n1,2,3\n", ["Expected 2", "got 3", "line 1"]),
        ("r.csv", "a,b\n", ["no rows"]),
        ("r.csv", b"\xff\xfe\n", ["UTF-8"]),
        ("r.npy", np.zeros((3, 5)), ["Expected 2", "got 5"]),
        ("r.npy", np.zeros(3), ["(n, 2)", "(3,)"]),
        ("r.npy", np.array([[1, 2], [np.nan, 0]]), ["row 1."]),
        ("r.npy", b"no array", ["numpy.save"]),
        ("r.parquet", b"", [".npy, .csv"]),
        ("no.csv", None, ["No such file"]),
    ],
)
def test_rows_that_can_not_be_scored_are_one_line_that_names_the_place(
    name: str, content: object, named: list[str], results: Path, tmp_path: Path
) -> None:
    file, output = tmp_path / name, tmp_path / "out.npy"
    if isinstance(content, np.ndarray):
        np.save(file, content)
    elif isinstance(content, bytes):
        file.write_bytes(content)
    elif isinstance(content, str):
        file.write_text(content, encoding="utf-8")
    done = call(results, "score", "gaussian-own", file, "-o", output)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert name in done.stderr
    for words in named:
        assert words in done.stderr
    assert not output.exists()


def test_an_output_that_can_not_be(results: Path, tmp_path: Path) -> None:
    for output in (tmp_path / "s.txt", tmp_path / "no folder" / "s.npy", results / "s"):
        done = call(results, "sample", "gaussian-own", "-n", 3, "-o", output)
        assert done.exit_code == 2
        assert "Error: " in done.stderr
        assert not output.exists()


def test_a_run_without_a_model(results: Path, tmp_path: Path) -> None:
    assert call(results, "sample", "jko", "-n", 3, "-o", tmp_path / "s.npy").exit_code == 2
    folder = next(results.glob("gaussian-own*"))
    elsewhere = tmp_path / "runs" / folder.name
    elsewhere.mkdir(parents=True)
    (elsewhere / "record.json").write_bytes((folder / "record.json").read_bytes())
    done = call(tmp_path / "runs", "sample", "gaussian-own", "-n", 3, "-o", tmp_path / "s.npy")
    assert done.exit_code == 2
    assert "model" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_of_an_older_source_names_what_does_not_fit(results: Path, tmp_path: Path) -> None:
    folder = next(results.glob("gaussian-own*"))
    elsewhere = tmp_path / "runs" / folder.name
    elsewhere.mkdir(parents=True)
    saved = torch.load(folder / "model.pt", weights_only=True)
    del saved["state"]["scatter"]
    torch.save(saved, elsewhere / "model.pt")
    store.write_record(elsewhere, store.content(results, folder.name))
    done = call(tmp_path / "runs", "sample", "gaussian-own", "-n", 3, "-o", tmp_path / "s.npy")
    assert done.exit_code == 2
    version = plugins.version(plugins.methods()["gaussian"])
    assert done.stderr.count("\n") == 1
    for named in ("gaussian", "scatter", version):
        assert named in done.stderr


@pytest.fixture(scope="module")
def named(results: Path) -> str:
    """A run on a table with named columns of very different units; `id` and `site` are left out."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "mass, kg": rng.normal(5e3, 100, 500),
            "id": np.arange(500),
            "angle": rng.normal(0.01, 1e-3, 500),
            "site": rng.integers(0, 60, 500),
        }
    )
    frame["angle"] += frame["mass, kg"] * 1e-6
    frame.to_csv(results.parent / "named.csv", index=False)
    path = f"{results.parent / 'named.csv'}?drop=id&group=site"
    study = Study(("gaussian",), (path,), judge=JUDGE, minibatches=40)
    (spec,) = plan(study, results, results.parent).runs
    assert execute(spec, results, lambda event: None)["status"] == "ok"
    return spec.run


def test_columns_are_matched_by_name(results: Path, named: str, tmp_path: Path) -> None:
    """In any order, with or without those that the table left out: the same log-density."""
    frame = pd.read_csv(results.parent / "named.csv")
    orders = {
        "table": ["mass, kg", "angle"],
        "other": ["angle", "mass, kg"],
        "all": ["site", "angle", "id", "mass, kg"],
    }
    scores = {}
    for name, columns in orders.items():
        frame[columns].to_csv(tmp_path / f"{name}.csv", index=False)
        done = call(results, "score", named, tmp_path / f"{name}.csv", "-o", tmp_path / "s.npy")
        assert done.exit_code == 0, done.output
        assert "in the table's own units" in done.output
        scores[name] = np.load(tmp_path / "s.npy")
    frame[orders["table"]].to_csv(tmp_path / "bare.csv", index=False, header=False)
    call(results, "score", named, tmp_path / "bare.csv", "-o", tmp_path / "s.npy")
    rows = frame[orders["table"]].to_numpy()
    for found in (*scores.values(), np.load(tmp_path / "s.npy")):
        np.testing.assert_array_equal(found, scores["table"])
    # The mean log-density of a Gaussian fitted to these rows; the run's has seen most of them.
    truth = -(1 + np.log(2 * np.pi)) - np.linalg.slogdet(np.cov(rows.T))[1] / 2
    assert scores["table"].mean() == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("angle,weight", ["misses column 'mass, kg'", "has the unknown column 'weight'"]),
        ("angle,angle", ["misses column 'mass, kg'", "several times column 'angle'"]),
        ("x,y", ["misses columns 'mass, kg', 'angle'", "unknown columns 'x', 'y'"]),
    ],
)
def test_missing_and_unknown_columns_are_named(
    header: str, said: list[str], results: Path, named: str, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text(f"{header}\n1,2\n")
    done = call(results, "score", named, tmp_path / "rows.csv", "-o", tmp_path / "s.npy")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    for words in said:
        assert words in done.stderr
    assert not (tmp_path / "s.npy").exists()


def test_samples_have_the_tables_columns(results: Path, named: str, tmp_path: Path) -> None:
    done = call(results, "sample", named, "-n", 400, "-o", tmp_path / "s.csv")
    assert "in the table's own units" in done.output
    drawn = pd.read_csv(tmp_path / "s.csv")
    assert list(drawn.columns) == ["mass, kg", "angle"]
    assert drawn["mass, kg"].mean() == pytest.approx(5e3, abs=30)
    assert (
        call(results, "score", named, tmp_path / "s.csv", "-o", tmp_path / "l.npy").exit_code == 0
    )


def test_a_tables_own_units(results: Path, tmp_path: Path) -> None:
    """Rows as the file has them: the density of the Gaussian fitted to them, moved and scaled."""
    folder = results.parent
    table = np.random.default_rng(2).multivariate_normal([50, -1], [[9, 2], [2, 0.5]], 600)
    np.save(folder / "units.npy", table)
    study = Study(("gaussian",), (str(folder / "units.npy"),), judge=JUDGE, minibatches=40)
    (spec,) = plan(study, results, folder).runs
    assert execute(spec, results, lambda event: None)["status"] == "ok"
    np.savetxt(tmp_path / "rows.csv", table[:80], delimiter=",")
    done = call(
        *(results, "score", spec.run, tmp_path / "rows.csv", "-o", tmp_path / "own.npy"),
    )
    assert done.exit_code == 0, done.output
    assert "in the table's own units" in done.output
    notes = store.find(results, spec.run).dataset.notes
    mean, std = np.array(notes["mean"]), np.array(notes["std"])
    state = torch.load(results / spec.run / "model.pt", weights_only=True)["state"]
    covariance = (state["scatter"] / state["rows"]).numpy() * np.outer(std, std)
    truth = multivariate_normal(mean + std * state["mean"].numpy(), covariance)
    np.testing.assert_allclose(np.load(tmp_path / "own.npy"), truth.logpdf(table[:80]), atol=1e-4)

    out = tmp_path / "drawn.npy"
    call(results, "sample", spec.run, "-n", 4_000, "-o", out)
    drawn = np.load(out)
    np.testing.assert_allclose(drawn.mean(0), [50, -1], atol=0.4)
    np.testing.assert_allclose(np.cov(drawn.T), [[9, 2], [2, 0.5]], rtol=0.2)


def test_a_record_without_them_says_so(results: Path, tmp_path: Path) -> None:
    dataset = store.find(results, "gaussian-own").dataset
    notes = {k: v for k, v in dataset.notes.items() if k != "std"}
    for broken in (notes, notes | {"std": "wide"}, notes | {"std": [1.0]}):
        with pytest.raises(UsageError, match="older"):
            row_files.units_of("older", dataset.d or 0, broken)
