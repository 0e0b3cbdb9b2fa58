"""The grid of runs, made in real child processes, of a tiny study on a table of its own."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from bench.errors import UsageError
from bench.launch import process as one_child
from bench.launch.pool import run_all
from bench.launch.process import StudyLost
from bench.records import store
from bench.records.spec import Limits, RunSpec
from bench.study.planning import Only, Plan, plan
from bench.study.studies import Study

from .small import children, table, two_methods

#: What a record may say differently for the same run: when, how fast, in how much memory.
CLOCKS = (
    *("train_seconds", "train_cpu_seconds", "validation_seconds", "checkpoint_seconds"),
    *("sample_seconds", "density_seconds"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grid")


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return two_methods(folder)


@pytest.fixture(scope="module")
def made(study: Study, folder: Path) -> tuple[Plan, list[tuple[RunSpec, dict[str, Any]]]]:
    """The study's plan, and the events of its runs, made once and side by side."""
    planned = planned_of(study, folder)
    return planned, list(run_all(planned.todo, folder / "runs", jobs=2, limits=Limits()))


def planned_of(study: Study, folder: Path, only: Only = "missing", **given: Any) -> Plan:
    return plan(study, folder / given.pop("runs", "runs"), folder / "data", only=only, **given)


def long_run(study: Study, folder: Path, **changes: Any) -> RunSpec:
    """A run that takes minutes."""
    endless = replace(study, methods=("gaussian",), minibatches=10**7, settings=())
    return replace(planned_of(endless, folder).runs[0], **changes)


def test_the_plan(study: Study, folder: Path) -> None:
    """Seeds outermost, then data sets, then methods; each with its configuration and revision."""
    planned = planned_of(replace(study, seeds=(1, 0)), folder, runs="nowhere")
    assert [(s.seed, s.method) for s in planned.runs] == [
        (1, "gaussian"),
        (1, "flow-matching"),
        (0, "gaussian"),
        (0, "flow-matching"),
    ]
    assert planned.todo == planned.runs
    assert len({s.run for s in planned.runs}) == 4
    assert {(s.minibatches, s.batch_size, s.label) for s in planned.runs} == {(6, 32, "own.npy")}
    assert [s.config.get("width") for s in planned.runs] == [None, 8, None, 8]
    assert len({s.revision for s in planned.runs}) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ("gausian",)}, "Did you mean 'gaussian'"),
        ({"datasets": ("moonz",)}, "Did you mean 'moons'"),
        ({"budget": "equl"}, "Did you mean 'equal'"),
        ({"minibatches": 0}, "minibatches"),
        ({"batch_size": -1}, "batch.size"),
        ({"settings": ("width=0",)}, "width"),
        ({"settings": ("widht=8",)}, "Did you mean 'width'"),
        ({"seeds": (-1,)}, "seed"),
    ],
)
def test_a_plan_that_can_not_be(
    study: Study, folder: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        planned_of(replace(study, **changes), folder)


def test_every_run_ends_well_with_a_record(made: tuple[Plan, Any], folder: Path) -> None:
    planned, _ = made
    for spec in planned.runs:
        content = store.content(folder / "runs", spec.run)
        assert (content["status"], content["reason"]) == ("ok", None)
        assert (content["key"], content["run"], content["seed"]) == (spec.key, spec.run, 0)
        assert content["method"]["config"] == dict(spec.config)
        assert content["dataset"]["rows"] == {"train": 320, "validation": 40, "test": 40}
        assert content["dataset"]["kind"] == "own"
        assert content["training"]["minibatches"] == 6
        assert content["training"]["samples_seen"] == 6 * 32
        assert content["environment"]["threads"] == 1
        metrics = content["metrics"]
        assert metrics["nll_rows"] == 40
        assert metrics["mmd_n"] == 30
        assert 0 < metrics["p_m"] <= 1
        assert math.isfinite(metrics["nll"])
        assert content["cost"]["peak_rss_bytes"] > 2**24
        run = folder / "runs" / spec.run
        names = {"record.json", "curve.jsonl", "model.pt", "samples.npz", "log.txt"}
        assert {p.name for p in run.iterdir()} == names
        assert np.load(run / "samples.npz")["samples"].shape == (30, 2)
        curve = (run / "curve.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["minibatch"] for line in curve] == [1, 2, 3, 4, 5, 6]
        assert [k for k, line in enumerate(curve, 1) if "validation_nll" in line] == [3, 6]
    leftovers = [p.name for p in (folder / "runs").iterdir() if p.suffix in (".part", ".replaced")]
    assert not leftovers


def test_the_floors_nll_is_that_of_a_fitted_gaussian(made: tuple[Plan, Any], folder: Path) -> None:
    """From the saved moments, by scipy, on the saved split: through none of the run's own code."""
    from scipy.stats import multivariate_normal

    from bench.data import arrays
    from bench.registry import plugins

    spec = made[0].runs[0]
    content = store.content(folder / "runs", spec.run)
    data = arrays.load(plugins.dataset(spec.dataset), folder / "data")
    state = torch.load(folder / "runs" / spec.run / "model.pt", weights_only=True)["state"]
    covariance = (state["scatter"] / state["rows"]).numpy()
    normal = multivariate_normal(state["mean"].numpy(), covariance)
    log_prob = normal.logpdf(np.asarray(data.test, dtype=float))
    assert content["metrics"]["nll"] == pytest.approx(-log_prob.mean(), abs=1e-4)
    se = log_prob.std(ddof=1) / math.sqrt(len(log_prob))
    assert content["metrics"]["nll_se"] == pytest.approx(se, rel=1e-3)


def test_the_events(made: tuple[Plan, list[tuple[RunSpec, dict[str, Any]]]]) -> None:
    """A start first, an end last with the status; steps between, the validated ones all."""
    planned, events = made
    for spec in planned.runs:
        own = [e for s, e in events if s.run == spec.run]
        assert own[0] == {"event": "start"}
        assert own[-1] == {"event": "end", "status": "ok"}
        assert [e["event"] for e in own].count("end") == 1
        assert [e["minibatch"] for e in own if "validation_nll" in e] == [3, 6]
        assert "stage" in {e["event"] for e in own}


def test_the_same_seed_gives_the_same_bits(
    made: tuple[Plan, Any], study: Study, folder: Path
) -> None:
    """Another process, one at a time, another moment: the same metrics, samples, parameters."""
    planned = planned_of(study, folder, runs="again")
    assert [s.run for s in planned.todo] == [s.run for s in made[0].runs]
    ends = [
        e for _, e in run_all(planned.todo, folder / "again", 1, Limits()) if e["event"] == "end"
    ]
    assert [e["status"] for e in ends] == ["ok", "ok"]
    for spec in planned.runs:
        one, other = (store.content(folder / f, spec.run) for f in ("runs", "again"))
        for part in ("method", "dataset", "budget", "training", "metrics", "judge"):
            assert one[part] == other[part]
        assert one["cost"].keys() == other["cost"].keys()
        for name in one["cost"].keys() - {*CLOCKS, "peak_rss_bytes", "baseline_rss_bytes"}:
            assert one["cost"][name] == other["cost"][name]
        models, samples = [], []
        for f in ("runs", "again"):
            run = folder / f / spec.run
            models.append(torch.load(run / "model.pt", weights_only=True)["state"])
            samples.append(np.load(run / "samples.npz")["samples"])
        assert models[0].keys() == models[1].keys()
        assert all(torch.equal(models[0][k], models[1][k]) for k in models[0])
        assert np.array_equal(*samples)


def todo(study: Study, folder: Path, only: Only) -> list[str]:
    return [s.method for s in planned_of(study, folder, only).todo]


def test_only(made: tuple[Plan, Any], study: Study, folder: Path) -> None:
    """Which cells each of `--only` takes, where one of two has failed."""
    assert todo(study, folder, "missing") == []
    assert todo(study, folder, "failed") == []
    assert todo(study, folder, "stale") == []
    assert todo(study, folder, "all") == ["gaussian", "flow-matching"]
    path = folder / "runs" / made[0].runs[1].run / "record.json"
    good = path.read_bytes()
    try:
        store.write_record(path.parent, json.loads(good) | {"status": "diverged"})
        assert todo(study, folder, "failed") == ["flow-matching"]
        assert todo(study, folder, "missing") == []
    finally:
        path.write_bytes(good)
    wider = replace(study, settings=("width=9",))
    assert todo(wider, folder, "missing") == ["flow-matching"]
    assert todo(wider, folder, "stale") == [], "another width is another run"
    assert todo(wider, folder, "failed") == []
    more = replace(study, seeds=(0, 1))
    assert todo(more, folder, "missing") == ["gaussian", "flow-matching"]
    assert todo(more, folder, "stale") == [], "another seed was never run"


def test_another_budget_is_not_stale(made: tuple[Plan, Any], study: Study, folder: Path) -> None:
    """Stale is another version, preset or rows; a longer budget is another run."""
    assert todo(replace(study, minibatches=7), folder, "missing") == ["gaussian", "flow-matching"]
    assert todo(replace(study, minibatches=7), folder, "stale") == []


def test_changed_rows_are_stale(made: tuple[Plan, Any], study: Study, folder: Path) -> None:
    path = folder / "own.npy"
    good, times = path.read_bytes(), path.stat()
    try:
        table(path, seed=2)
        assert todo(study, folder, "stale") == ["gaussian", "flow-matching"]
    finally:
        path.write_bytes(good)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert todo(study, folder, "missing") == []


@pytest.mark.slow
def test_a_killed_child_leaves_a_record_and_the_rest_goes_on(study: Study, folder: Path) -> None:
    """SIGKILL whenever it is taken up: `error`, with the reason; the run beside it ends well."""
    short = planned_of(study, folder, runs="killed").runs[0]
    doomed = long_run(study, folder)
    ends = {}
    for spec, event in run_all([doomed, short], folder / "killed", jobs=1, limits=Limits()):
        if spec.run == doomed.run and event["event"] == "step":
            for child in children():
                child.send_signal(signal.SIGKILL)
        if event["event"] == "end":
            ends[spec.run] = event["status"]
    assert ends == {doomed.run: "error", short.run: "ok"}
    content = store.content(folder / "killed", doomed.run)
    assert content["status"] == "error"
    assert "SIGKILL" in content["reason"]
    assert content["key"] == doomed.key
    assert not store.part(folder / "killed", doomed.run).exists()
    assert [r.run for r in store.read_all(folder / "killed")] == sorted(ends)
    assert not children()


def test_a_results_folder_that_vanishes_ends_the_study(study: Study, folder: Path) -> None:
    """At once, with one line and exit code 1; what comes after it is not begun in a new folder."""
    results = folder / "vanishing"
    first = long_run(study, folder)
    doomed = [first, replace(first, seed=1)]
    notes, gone = list[Any](), list[float]()

    def watch() -> None:
        for spec, event in run_all(doomed, results, 1, Limits(checkpoint_every=0.0)):
            assert spec == first
            if event["event"] == "step" and not gone:
                gone.append(time.monotonic())
                while results.exists():  # the run may write meanwhile
                    shutil.rmtree(results, ignore_errors=True)
            if event["event"] == "note":
                notes.append(event)

    with pytest.raises(StudyLost, match="vanishing is gone") as lost:
        watch()
    assert time.monotonic() - gone[0] < 10
    assert lost.value.exit_code == 1
    assert len(notes) <= 1
    assert not results.exists()
    assert not children()


def test_the_time_limit_leaves_a_record_of_what_was_learned(
    study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_child, "GRACE", 120.0)  # starting takes long on a busy machine
    spec = long_run(study, folder, timeout=0.5)
    ends = [e for _, e in run_all([spec], folder / "late", 1, Limits()) if e["event"] == "end"]
    assert ends == [{"event": "end", "status": "timeout"}]
    content = store.content(folder / "late", spec.run)
    assert content["status"] == "timeout"
    assert content["training"]["minibatches"] >= 1
    assert content["cost"]["train_seconds"] > 0


def test_a_child_that_overstays_is_killed(
    study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not look at the clock in time: here, one that has hardly started."""
    monkeypatch.setattr(one_child, "GRACE", 0.2)
    spec = long_run(study, folder, timeout=0.3)
    ends = [e for _, e in run_all([spec], folder / "hung", 1, Limits()) if e["event"] == "end"]
    assert ends == [{"event": "end", "status": "timeout"}]
    content = store.content(folder / "hung", spec.run)
    assert "time limit of 0.3 s" in content["reason"]


def test_a_run_that_another_process_makes_is_left_to_it(
    made: tuple[Plan, Any], study: Study, folder: Path
) -> None:
    """It is not begun; when the other one has made it, its end is told."""
    spec = made[0].runs[0]
    results = folder / "shared"
    (results / ".locks").mkdir(parents=True)
    lock = FileLock(store.lock_file(results, spec.run), thread_local=False)
    lock.acquire()

    def publish() -> None:
        shutil.copytree(folder / "runs" / spec.run, results / spec.run)
        lock.release()

    threading.Timer(1.5, publish).start()
    events = [event for _, event in run_all([spec], results, 1, Limits())]
    assert events == [{"event": "end", "status": "ok", "elsewhere": True}]


def test_a_run_that_another_process_gives_up_is_made(study: Study, folder: Path) -> None:
    spec = planned_of(study, folder, runs="busy").runs[0]
    (folder / "busy" / ".locks").mkdir(parents=True)
    lock = FileLock(store.lock_file(folder / "busy", spec.run), thread_local=False)
    lock.acquire()
    threading.Timer(1.0, lock.release).start()
    events = [event for _, event in run_all([spec], folder / "busy", 1, Limits())]
    assert events[0] == {"event": "start"}
    assert events[-1] == {"event": "end", "status": "ok"}


def test_two_grids_on_one_folder_share_the_work(study: Study, folder: Path) -> None:
    """Each run is made once, by one of them, and both hear how all of them ended."""
    planned = planned_of(replace(study, seeds=(5, 6)), folder, runs="both")
    heard: list[list[tuple[str, dict[str, Any]]]] = [[], []]

    def consume(which: int) -> None:
        for spec, event in run_all(planned.runs, folder / "both", 1, Limits()):
            heard[which].append((spec.run, event))

    grids = [threading.Thread(target=consume, args=(which,)) for which in (0, 1)]
    for grid in grids:
        grid.start()
    for grid in grids:
        grid.join()
    runs = sorted(spec.run for spec in planned.runs)
    for events in heard:
        ends = [(run, e["status"]) for run, e in events if e["event"] == "end"]
        assert sorted(ends) == [(run, "ok") for run in runs]
    made = [
        run
        for events in heard
        for run, e in events
        if e["event"] == "end" and not e.get("elsewhere")
    ]
    assert sorted(made) == runs, "each by one of the two"


def test_made_again_once(made: tuple[Plan, Any], folder: Path) -> None:
    """`again` makes what has a record; and what another process makes anew meanwhile is taken."""
    spec = made[0].runs[0]
    results = folder / "anew"
    shutil.copytree(folder / "runs" / spec.run, results / spec.run)
    before = store.read(results, spec.run)
    assert [e for _, e in run_all([spec], results, 1, Limits())] == [
        {"event": "end", "status": "ok", "elsewhere": True}
    ]
    events = [e for _, e in run_all([spec], results, 1, Limits(), again=True)]
    assert events[-1] == {"event": "end", "status": "ok"}
    after = store.read(results, spec.run)
    assert before is not None
    assert after is not None
    assert store.stamp(before) != store.stamp(after)
    assert before.metrics == after.metrics


def test_a_consumer_that_stops_ends_the_children(study: Study, folder: Path) -> None:
    """As Ctrl-C does: a checkpoint, no record, no child left, nothing that looks finished."""
    spec = long_run(study, folder)
    events: Iterator[Any] = run_all([spec], folder / "stopped", 1, Limits())
    for _, event in events:
        if event["event"] == "step":
            break
    events.close()  # type: ignore[attr-defined]
    assert not children()
    assert store.read(folder / "stopped", spec.run) is None
    assert list(store.read_all(folder / "stopped")) == []
    assert (store.part(folder / "stopped", spec.run) / "checkpoint.bin").is_file()


def test_what_was_cut_off_is_put_back_first(made: tuple[Plan, Any], folder: Path) -> None:
    run = folder / "runs" / made[0].runs[0].run
    run.rename(run.with_name(f"{run.name}.replaced"))
    assert list(run_all([], folder / "runs", 1, Limits())) == []
    assert run.is_dir()


@pytest.mark.timeout(60)
def test_a_child_that_can_not_be_started_does_not_hang_the_grid(
    study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process to be had, a full disk: an error or a record, and an end."""

    def no_process(*arguments: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(one_child, "_start", no_process)
    spec = planned_of(study, folder, runs="none").runs[0]
    ended = threading.Event()

    def consume() -> None:
        try:
            for _ in run_all([spec], folder / "none", 1, Limits()):
                pass
        except (OSError, UsageError):
            pass
        ended.set()

    threading.Thread(target=consume, daemon=True).start()
    assert ended.wait(5), "run_all waits for an event that never comes"


@pytest.mark.parametrize("kind", ["a file", "below a file"])
def test_results_that_can_not_be_written(study: Study, folder: Path, kind: str) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    results = folder / "file" if kind == "a file" else folder / "file" / "runs"
    spec = planned_of(study, folder).runs[0]
    with pytest.raises(UsageError, match=r"can't be written.*--results"):
        next(run_all([spec], results, 1, Limits()))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_results_without_permission(study: Study, folder: Path) -> None:
    results = folder / "locked"
    results.mkdir(mode=0o500)
    with pytest.raises(UsageError, match="can't be written"):
        next(run_all(planned_of(study, folder).runs, results, 1, Limits()))
