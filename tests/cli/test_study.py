"""`bench run --study` and `bench list studies`, as a user has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.cli import main
from bench.records import store

from .conftest import Bench

STUDY = """\
methods = ["gaussian", "flow-matching"]
datasets = ["own.csv"]
seeds = [0, 1]
minibatches = 20
batch_size = 64
settings = ["width=8", "ridge=1e-3"]

[judge]
test_rows = 50
"""


@pytest.fixture
def study(own_table: str, tmp_path: Path) -> str:
    """A study file in another folder than the caller's, its table beside it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / own_table).rename(tmp_path / "mine" / own_table)
    (tmp_path / "mine" / "study.toml").write_text(STUDY)
    return "mine/study.toml"


@dataclass(frozen=True)
class Done:
    """How a call ended."""

    returncode: int
    stdout: str
    stderr: str


Call = Callable[..., Done]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Call `bench` in this process: where nothing is run, it is the same, and sooner done."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        return Done(end.value.code, *capsys.readouterr())

    return run


def planned(call: Call, *arguments: str) -> list[str]:
    """The names, amounts and estimates of the runs of a plan."""
    done = call("run", *arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(("run ", "skip "))]


def test_a_study_is_run_and_estimated(bench: Bench, call: Call, study: str, tmp_path: Path) -> None:
    """What is done is skipped; the other seeds will take what the first took."""
    assert [line.split()[0] for line in planned(call, "--study", study)] == ["run"] * 4
    assert "no record" in planned(call, "--study", study)[0]
    done = bench("run", "--study", study, "-s", "0", "-j", "2")
    assert done.returncode == 0, done.stderr
    folders = sorted((tmp_path / "results" / "runs").glob("*-s0-*"))
    records = [json.loads((folder / "record.json").read_text()) for folder in folders]
    assert [r["method"]["settings"] for r in records] == [{"width": 8}, {"ridge": 1e-3}]
    assert {r["judge"]["test_rows"] for r in records} == {50}
    dry = call("run", "--study", study, "--dry-run", "-j", "2")
    *lines, count, total = dry.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["skip", "skip", "run", "run"]
    assert all(" s  " in line and line.endswith("MiB  (1 record)") for line in lines[2:])
    assert count.startswith("2 of 4 runs to make")
    assert "2 at a time" in total
    assert "unknown" not in total
    partly = call("run", "--study", study, "--dry-run", "-d", "digits", "-d", "mine/own.csv")
    assert "4 unknown" in partly.stdout.splitlines()[-1]
    assert sum("unknown  (no record)" in line for line in partly.stdout.splitlines()) == 4


def test_what_is_given_beside_a_study_overrides_it(call: Call, study: str) -> None:
    whole = planned(call, "--study", study)
    assert len(whole) == 4
    assert all("20 x 64" in line for line in whole)
    assert len(planned(call, "--study", study, "-s", "7")) == 2
    assert len(planned(call, "--study", study, "-d", "moons", "-d", "rings")) == 8
    assert "30 x 64" in planned(call, "--study", study, "--minibatches", "30")[0]
    assert "500 x 256" in planned(call, "--study", study, "-b", "quick")[0]
    assert "500 x 32" in planned(call, "--study", study, "-b", "quick", "--batch-size", "32")[0]
    names = [{line.split()[1] for line in whole}]
    given = (("--set", "flow-matching.width=9"), ("--set", "scale=2"), ("--test-rows", "9"))
    names += [
        {line.split()[1] for line in planned(call, "--study", study, *options)} for options in given
    ]
    assert [len(names[0] & other) for other in names] == [4, 2, 2, 0]
    done = call("run", "--study", study, "-m", "gaussian", "--dry-run")
    assert "width=8" in done.stderr
    assert {line.split()[1] for line in done.stdout.splitlines()[:2]} < names[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--study", "wrong.toml"), "wrong.toml: Unknown key 'metods'. Did you mean 'methods'"),
        (("--study", "folder.toml"), "folder.toml can't be read: Is a directory"),
        (("--study", "nowhere.toml"), "There is no study file nowhere.toml"),
        (("--study", "qick"), "Did you mean 'quick'"),
        (("--study", "quick", "--set", "widht=3"), "Did you mean 'width'"),
        (("--timeout", "0"), "--timeout"),
        (("--timeout", "-3"), "--timeout"),
        (("--timeout", "soon"), "--timeout"),
        (("-j", "0"), "--jobs"),
        (("--threads", "0"), "--threads"),
        (("--test-rows", "1"), "--test-rows"),
    ],
)
def test_a_wrong_study_writes_nothing(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "wrong.toml").write_text(STUDY.replace("methods", "metods"))
    done = call("run", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.toml", "wrong.toml"]


def test_list_studies(call: Call) -> None:
    listed = call("list", "studies")
    assert listed.returncode == 0, listed.stderr
    assert "budget table1, seeds 0, 1, 2" in listed.stdout
    studies = json.loads(call("list", "studies", "--json").stdout)
    assert [study["name"] for study in studies] == ["check", "equal", "quick", "table1"]
    assert studies[2]["datasets"] == ["digits", "moons"]
    everything = json.loads(call("list", "--json").stdout)
    assert [*everything] == ["methods", "datasets", "metrics", "budgets", "studies", "runs"]
    assert everything["studies"] == studies


@pytest.fixture
def made(bench: Bench, study: str, tmp_path: Path) -> Path:
    """The record of the Gaussian of the study's first seed, which has run."""
    done = bench("run", "--study", study, "-m", "gaussian", "-s", "0")
    assert done.returncode == 0, done.stderr
    [path] = (tmp_path / "results" / "runs").glob("gaussian*/record.json")
    return path


@pytest.mark.parametrize(
    "damage", ["cut off", pytest.param("edited in the middle", marks=pytest.mark.slow)]
)
def test_a_damaged_record_is_set_aside_and_made_again(
    bench: Bench, call: Call, study: str, made: Path, damage: str
) -> None:
    command = ("run", "--study", study, "-m", "gaussian", "-s", "0")
    whole, run = made.read_text(), made.parent.name
    edited = whole.replace('"metrics": {', '"metrics" {')
    broken = whole[:200] if damage == "cut off" else edited
    made.write_text(broken)
    dry = call(*command, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "1 of 1 runs" in dry.stdout
    assert f"{run}: its record can't be read" in dry.stderr
    assert made.read_text() == broken
    again = bench(*command)
    assert again.returncode == 0, again.stderr
    assert f"{run}.damaged" in again.stderr
    assert json.loads(made.read_text())["metrics"] == json.loads(whole)["metrics"]
    aside = made.parent.with_name(f"{run}.damaged")
    assert (aside / "record.json").read_text() == broken
    assert call("table").returncode == 0
    assert "0 of 1 runs" in call(*command, "--dry-run").stdout


def test_a_results_folder_of_a_newer_version(call: Call, study: str, made: Path) -> None:
    store.write_record(made.parent, json.loads(made.read_text()) | {"format": 2})
    newer = made.read_text()
    for only in ("missing", "failed", "stale", "all"):
        done = call("run", "--study", study, "-m", "gaussian", "-s", "0", "--only", only)
        assert done.returncode == 2
        assert "layout 2" in done.stderr
        assert "newer cnf-bench" in done.stderr
        assert made.read_text() == newer
