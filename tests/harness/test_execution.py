"""One run, in this process: how it ends, and that it leaves a record however it does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.api.method import ContractBroken, Log
from bench.api.stream import Stream
from bench.data import arrays
from bench.errors import DataError
from bench.evaluation.flow import pick
from bench.numerics.ode import SolverFailed
from bench.records import store
from bench.records.model import STATUSES
from bench.records.spec import RunSpec
from bench.registry import plugins
from bench.study.planning import plan
from bench.study.studies import Study
from bench.training import run, session
from bench.training.loop import Diverged, TimedOut
from bench.training.run import execute, load_flow
from bench_methods.gaussian import Gaussian

from .small import JUDGE


@pytest.fixture(autouse=True)
def deterministic_only_here() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    rows = np.random.default_rng(1).normal(size=(400, 2)).astype(np.float32)
    np.save(tmp_path / "own.npy", rows)
    study = Study(("gaussian",), (str(tmp_path / "own.npy"),), (0,), "quick", JUDGE, 4, 32)
    return plan(study, tmp_path / "runs", tmp_path).runs[0]


def made(spec: RunSpec, folder: Path) -> dict[str, Any]:
    returned = execute(spec, folder / "runs", lambda event: None)
    found = store.content(folder / "runs", spec.run)
    assert found["status"] == returned["status"]
    assert not store.part(folder / "runs", spec.run).exists()
    return found


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (
            Diverged("the loss is nan at mini-batch 3"),
            "diverged",
            "the loss is nan at mini-batch 3",
        ),
        (SolverFailed("too stiff"), "diverged", "too stiff"),
        (TimedOut("over"), "timeout", "over"),
        (MemoryError(), "oom", "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "oom", "CUDA out of memory"),
        (ContractBroken("two batches"), "error", "ContractBroken: two batches"),
        (DataError("No rows.", "Bring some."), "error", "No rows. Bring some."),
        (ZeroDivisionError("oh"), "error", "ZeroDivisionError: oh"),
    ],
)
@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_however_it_ends(
    spec: RunSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    error: Exception,
    status: str,
    reason: str,
) -> None:
    def broken(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(session if stage == "train" else run, stage, broken)
    content = made(spec, tmp_path)
    assert (content["status"], content["reason"]) == (status, reason)
    assert content["status"] in STATUSES
    assert content["metrics"] == {}
    learned = 4 if stage == "evaluate" else 0
    assert content["training"]["minibatches"] == learned
    assert (tmp_path / "runs" / spec.run / "traceback.txt").exists() is (status == "error")
    assert (tmp_path / "runs" / spec.run / "model.pt").exists() is (stage == "evaluate")


def test_rows_that_change_after_the_plan(spec: RunSpec, tmp_path: Path) -> None:
    """The run says so and measures nothing."""
    content = made(replace(spec, revision="0" * 12), tmp_path)
    assert content["status"] == "error"
    assert "changed since this run was planned" in content["reason"]
    assert content["metrics"] == {}


def test_what_was_under_way_is_begun_anew(spec: RunSpec, tmp_path: Path) -> None:
    stale = store.part(tmp_path / "runs", spec.run)
    stale.mkdir(parents=True)
    (stale / "leftover").write_text("", encoding="utf-8")
    assert made(spec, tmp_path)["status"] == "ok"
    assert not (tmp_path / "runs" / spec.run / "leftover").exists()


def test_ctrl_c_is_no_ending(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt is not swallowed, and leaves nothing that looks finished."""

    def interrupted(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(spec, tmp_path / "runs", lambda event: None)
    assert store.read(tmp_path / "runs", spec.run) is None


def test_every_line_of_the_curve_is_json(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a validation NLL is infinite, which JSON can't say."""
    nlls = iter([math.inf, 1.5])

    def validator(*arguments: Any) -> Callable[[Any], float]:
        return lambda method: next(nlls)

    monkeypatch.setattr(session, "validator", validator)
    assert made(spec, tmp_path)["status"] == "ok"
    text = (tmp_path / "runs" / spec.run / "curve.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert [line.get("validation_nll") for line in lines] == [None, None, None, 1.5]


def test_the_model_is_there_again(spec: RunSpec, tmp_path: Path) -> None:
    """Its samples by the judge's seed are those that were saved, its log-densities the scored."""
    content = made(spec, tmp_path)
    assert content["status"] == "ok", content["reason"]
    flow = load_flow(store.find(tmp_path / "runs", content["run"]), tmp_path / "runs")
    saved = np.load(tmp_path / "runs" / spec.run / "samples.npz")["samples"]
    samples = flow.sample(len(saved), seed=JUDGE.seed).float().numpy()
    np.testing.assert_array_equal(samples, saved)
    scored = np.load(tmp_path / "runs" / spec.run / "samples.npz")["log_prob"]
    test = arrays.load(plugins.dataset(spec.dataset), Path(spec.data_root)).test
    rows = pick(test, JUDGE.test_rows, JUDGE.seed)
    np.testing.assert_array_equal(scored, flow.log_prob(torch.from_numpy(np.array(rows))).numpy())
    assert -scored.mean(dtype=float) == pytest.approx(content["metrics"]["nll"], abs=1e-6)


def test_a_method_that_reaches_for_the_test_split(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loads the data set while it learns: an error that names the file, and no score."""
    learn = Gaussian.learn

    def peek(self: Gaussian, batches: Stream) -> Iterator[Log]:
        arrays.load(plugins.dataset(spec.dataset), Path(spec.data_root))
        yield from learn(self, batches)

    monkeypatch.setattr(Gaussian, "learn", peek)
    content = made(spec, tmp_path)
    assert content["status"] == "error"
    assert "the method opened" in content["reason"]
    assert content["metrics"] == {}


def test_a_method_whose_source_reads_the_clock(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cheat.py").write_text("import time\n", encoding="utf-8")
    monkeypatch.setattr(plugins, "sources", lambda plugin: [tmp_path / "cheat.py"])
    monkeypatch.setattr(plugins, "version", lambda plugin: spec.version)
    content = made(spec, tmp_path)
    assert content["status"] == "error"
    assert "gaussian reaches too far: cheat.py:1: import of time could read" in content["reason"]


@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_model_that_can_not_be_read(spec: RunSpec, tmp_path: Path, damage: str) -> None:
    content = made(spec, tmp_path)
    path = tmp_path / "runs" / spec.run / "model.pt"
    good = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(good[: len(good) // 2] if damage == "cut" else b"")
    words = ["no model that can be read" if damage == "missing" else r"model\.pt is damaged"]
    words.append("no model that can be read")
    for said in words:
        with pytest.raises(DataError, match=said):
            load_flow(store.find(tmp_path / "runs", spec.run), tmp_path / "runs")
        # As an earlier version wrote it, without digests.
        old = {k: v for k, v in content.items() if k not in ("digest", "digests")}
        store.write_json(path.with_name("record.json"), old)
