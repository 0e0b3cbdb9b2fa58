"""The same words mean the same runs, typed as a command or called from Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import bench
from bench.cli.run import run
from bench.errors import BenchError
from bench.launch import driver
from bench.launch.driver import Prepared
from bench.registry import plugins

STUDY = """
methods = ["gaussian", "flow-matching"]
datasets = ["own.npy"]
seeds = [3, 4]
budget = "equal"
minibatches = 50
settings = ["width=16", "gaussian.ridge=0.1"]

[judge]
test_rows = 100
"""

TWO = ["gaussian", "flow-matching"]
OWN = {"methods": ["gaussian"], "datasets": ["own.npy"]}

#: A command's words and the same call from Python.
SAME: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("-s 5,6 -b equal", {"seeds": [5, 6], "budget": "equal"}),
    ("-m gaussian -d own.npy", OWN),
    ("-m gaussian -d own.npy -s 0,1,0", {**OWN, "seeds": [0, 1]}),
    ("-m gaussian,flow-matching -d own.npy", {"methods": TWO, "datasets": ["own.npy"]}),
    ("-m gaussian -d own.npy --minibatches 9 --batch-size 8",
     {**OWN, "minibatches": 9, "batch_size": 8}),
    ("-m gaussian -d own.npy -b quick --set ridge=0.5",
     {**OWN, "budget": "quick", "settings": ["ridge=0.5"]}),
    ("-m gaussian -d own.npy --test-rows 50", {**OWN, "test_rows": 50}),
    ("-m gaussian -d own.npy --test-rows 50", {**OWN, "judge": {"test_rows": 50}}),
    ("-m gaussian -d own.npy --threads 1 --memory 2 --checkpoint-every 5",
     {**OWN, "threads": 1, "memory": 2.0, "checkpoint_every": 5.0}),
    ("--study study.toml", {"study": "study.toml"}),
    ("--study study.toml -m gaussian -s 1", {"study": "study.toml", "methods": ["gaussian"],
                                             "seeds": [1]}),
    ("--study study.toml -b quick", {"study": Path("study.toml"), "budget": "quick"}),
    ("--study quick -d moons --timeout 9", {"study": "quick", "datasets": ["moons"],
                                            "timeout": 9.0}),
    ("--study quick --only stale", {"study": "quick", "only": "stale"}),
    ("--include mine.py -m mine -d own.npy", {"methods": ["mine"], "datasets": ["own.npy"],
                                              "include": ["mine.py"]}),
    # What is refused.
    ("-m gaussian", {"methods": ["gaussian"]}),
    ("-d own.npy", {"datasets": ["own.npy"]}),
    ("-m gausian -d own.npy", {"methods": ["gausian"], "datasets": ["own.npy"]}),
    ("-m gaussian -d nowhere.npy", {"methods": ["gaussian"], "datasets": ["nowhere.npy"]}),
    ("--study nothing", {"study": "nothing"}),
    ("-b nothing", {"budget": "nothing"}),
    ("-s -1", {"seeds": [-1]}),
    ("-m gaussian -d own.npy --minibatches 0", {**OWN, "minibatches": 0}),
    ("-m gaussian -d own.npy --set ridge=1 --set ridge=2",
     {**OWN, "settings": ["ridge=1", "ridge=2"]}),
    ("-m gaussian -d own.npy --set rigde=1", {**OWN, "settings": ["rigde=1"]}),
    ("-m gaussian -d own.npy --device cuda", {**OWN, "device": "cuda"}),
    ("--scheduler tcp://x:1 --cluster local", {"scheduler": "tcp://x:1", "cluster": "local"}),
    ("--scheduler tcp://x:1 --device auto", {"scheduler": "tcp://x:1", "device": "auto"}),
]  # fmt: skip


class Planned(Exception):
    """Carries a plan out of the call, in place of running it."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a table, a study and a method, from which nothing is run."""

    def planned(prepared: Prepared, *_: object) -> None:
        raise Planned(prepared)

    rows = np.random.default_rng(0).standard_normal((400, 2)).astype(np.float32)
    np.save(tmp_path / "own.npy", rows)
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "mine.py").write_text(
        "from bench_methods.gaussian import Gaussian\nclass Mine(Gaussian): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(driver, "run", planned)
    monkeypatch.setattr(plugins, "_included", {})
    yield tmp_path
    plugins.forget()


def by_command(words: str) -> Prepared | BenchError:
    done = CliRunner().invoke(run, words.split(), standalone_mode=False)
    assert isinstance(done.exception, Planned | BenchError), done.output
    return done.exception if isinstance(done.exception, BenchError) else done.exception.prepared


def by_python(call: dict[str, Any]) -> Prepared | BenchError:
    with pytest.raises((Planned, BenchError)) as caught:
        bench.run(**call)
    found = caught.value
    assert isinstance(found, Planned | BenchError)
    return found if isinstance(found, BenchError) else found.prepared


@pytest.mark.parametrize(("words", "call"), SAME, ids=[f"run {words}" for words, _ in SAME])
def test_a_command_and_a_call_plan_the_same_runs(
    folder: Path, words: str, call: dict[str, Any]
) -> None:
    if call.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    one, other = by_command(words), by_python(call)
    if isinstance(one, BenchError):
        assert (type(other), str(other)) == (type(one), str(one))
        return
    assert isinstance(other, Prepared)
    assert [spec.key for spec in other.plan.runs] == [spec.key for spec in one.plan.runs]
    assert other.plan == one.plan
    assert other.folder == one.folder
    for name in ("device", "jobs", "threads", "memory", "checkpoint_every"):
        assert getattr(other.request, name) == getattr(one.request, name)
    assert one.plan.runs


def test_seeds_and_a_budget_alone_are_those_of_the_quick_study(folder: Path) -> None:
    quick, found = by_python({}), by_python({"seeds": [5, 6], "budget": "equal"})
    assert isinstance(quick, Prepared)
    assert isinstance(found, Prepared)
    assert {spec.seed for spec in found.plan.runs} == {5, 6}
    assert {spec.budget for spec in found.plan.runs} == {"equal"}
    assert {(s.method, s.label) for s in found.plan.runs} == {
        (s.method, s.label) for s in quick.plan.runs
    }


@pytest.mark.parametrize("call", [{"methods": ["gaussian"]}, {"datasets": ["moons"]}])
def test_a_method_needs_a_data_set_and_the_reverse(folder: Path, call: dict[str, Any]) -> None:
    assert isinstance(by_python(call), BenchError)


@pytest.mark.parametrize(
    "call",
    [
        {"jobs": 0},
        {"threads": 0},
        {"timeout": 0},
        {"memory": -1},
        {"test_rows": 1},
        {"device": "tpu"},
        {"only": "new"},
        {"cluster": "cloud"},
        {"judge": {"test_row": 5}},
    ],
)
def test_impossible_values_are_refused(folder: Path, call: dict[str, Any]) -> None:
    """The command line's own types refuse them there."""
    (name,) = call
    found = by_python(call)
    assert isinstance(found, BenchError)
    assert name in str(found) or name == "judge"


def test_the_package_records_does_not_hide_the_function() -> None:
    """An import of `bench.records.store` sets the attribute `records` of `bench`."""
    code = "import bench, bench.records.store; bench.records('nowhere'); bench.records('nowhere')"
    subprocess.run([sys.executable, "-c", code], check=True)
