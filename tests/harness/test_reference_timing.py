"""The reference timer measures, changes no run, and hashes the arithmetic."""

from __future__ import annotations

import functools
import json
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.records.spec import Judge, Limits
from bench.study.planning import plan
from bench.study.studies import Study
from bench.training.reference_timing import ReferenceTimer, arithmetic
from bench.training.run import execute

JUDGE = Judge(
    test_rows=50, error_rows=20, integral_cells=16, mmd_n=50, permutations=19, validations=1,
    validation_rows=50,
)  # fmt: skip


def test_a_pass_takes_time_and_no_random_numbers() -> None:
    state = torch.get_rng_state()
    timer = ReferenceTimer()
    passes = [timer.measure() for _ in range(20)]
    assert torch.equal(torch.get_rng_state(), state)
    assert 0 < statistics.median(passes) < 0.1


def test_a_pass_is_the_cpu_time_of_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against the clock of the thread: the fastest of each, which a busy machine spares."""
    timer = ReferenceTimer()
    passes, clocked = [], []
    for _ in range(50):
        start = time.thread_time()
        passes.append(timer.measure())
        clocked.append(time.thread_time() - start)
    assert 0.5 < min(passes) / min(clocked) <= 1.1
    step = functools.partial(torch.autograd.grad, retain_graph=True)
    monkeypatch.setattr(torch.autograd, "grad", lambda *of: [step(*of) for _ in range(10)])
    assert min(timer.measure() for _ in range(50)) > 2 * min(passes)


def test_the_arithmetic_is_the_same_each_time_and_draws_nothing() -> None:
    state = torch.get_rng_state()
    assert arithmetic() == arithmetic()
    assert len(arithmetic()) == 12
    assert torch.equal(torch.get_rng_state(), state)


def test_other_arithmetic_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = arithmetic()
    exact = torch.Tensor.exp
    monkeypatch.setattr(torch.Tensor, "exp", lambda x: exact(x) * (1 + 2**-22))
    assert arithmetic() != before


def test_a_run_that_is_measured_ends_with_the_same_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "own.npy", rng.standard_normal((600, 2)).astype(np.float32))
    study = Study(
        ("flow-matching",),
        (str(tmp_path / "own.npy"),),
        minibatches=8,
        batch_size=32,
        settings=("width=8",),
        judge=JUDGE,
    )
    (spec,) = plan(study, tmp_path / "none", tmp_path).runs
    records = [
        execute(
            spec,
            tmp_path / name,
            lambda event: None,
            limits=Limits(reference_timing=name == "measured"),
        )
        for name in ("plain", "measured")
    ]
    assert records[0]["status"] == "ok", records[0]["reason"]
    assert records[0]["metrics"] == records[1]["metrics"]
    assert "arithmetic" not in records[0]["environment"]
    assert records[1]["environment"]["arithmetic"] == arithmetic()
    assert records[1]["environment"]["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    curves = [
        [json.loads(line) for line in (tmp_path / name / spec.run / "curve.jsonl").open()]
        for name in ("plain", "measured")
    ]
    times = ("step_cpu_seconds", "yardstick_cpu_seconds")
    assert not any(name in entry for entry in curves[0] for name in times)
    assert len(curves[1]) == 8
    assert all(entry[name] > 0 for entry in curves[1] for name in times)
    assert [e["loss"] for e in curves[0]] == [e["loss"] for e in curves[1]]
