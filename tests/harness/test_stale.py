"""What makes a run stale: its method's source, its preset, its rows, the metrics; nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records import store
from bench.records.spec import Judge
from bench.records.store import outline
from bench.registry import plugins
from bench.study import presets
from bench.study.planning import plan
from bench.study.presets import Preset
from bench.study.studies import Study

Edit = Callable[[store.Draft], None]


def table(path: Path, seed: int) -> str:
    np.save(path, np.random.default_rng(seed).standard_normal((200, 2)).astype(np.float32))
    return str(path)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(
        methods=("gaussian", "flow-matching"),
        datasets=(table(tmp_path / "own.npy", 1),),
        judge=Judge(metrics_version=4),
        minibatches=6,
        batch_size=32,
        settings=("flow-matching.width=8",),
    )


@pytest.fixture
def results(study: Study, tmp_path: Path) -> Path:
    """The results folder with a record of each run of the study."""
    leave(study, tmp_path)
    return tmp_path / "runs"


def leave(study: Study, folder: Path, edit: Edit = lambda content: None) -> None:
    for spec in plan(study, folder / "none", folder / "data").runs:
        content = outline(spec) | {"status": "ok"}
        edit(content)
        store.part(folder / "runs", spec.run).mkdir(parents=True, exist_ok=True)
        store.publish(folder / "runs", spec.run, content)


def stale(study: Study, results: Path, device: str = "cpu") -> list[str]:
    planned = plan(study, results, results.parent / "data", device, "stale")
    return [spec.method for spec in planned.todo]


def newer_source(monkeypatch: pytest.MonkeyPatch, method: str = "flow-matching") -> None:
    real = plugins.version
    monkeypatch.setattr(
        plugins, "version", lambda plugin: "new" if plugin.name == method else real(plugin)
    )


def other_preset(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, Any]) -> None:
    """The preset file of flow matching says something else, so its version changes too."""
    real = presets.read
    given = {"any": Preset(values, "a test")}
    monkeypatch.setattr(presets, "read", lambda m: given if m == "flow-matching" else real(m))
    newer_source(monkeypatch)


def test_what_is_as_it_was_is_not_stale(study: Study, results: Path) -> None:
    assert stale(study, results) == []


def test_the_methods_source(study: Study, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer_source(monkeypatch)
    assert stale(study, results) == ["flow-matching"]


def test_its_preset(study: Study, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's width stands; another value of the preset's is another."""
    other_preset(monkeypatch, {"scale": 2.0})
    assert stale(study, results) == ["flow-matching"]


def test_the_rows(study: Study, results: Path, tmp_path: Path) -> None:
    table(tmp_path / "own.npy", 2)
    assert stale(study, results) == ["gaussian", "flow-matching"]


def test_the_metrics(study: Study, results: Path) -> None:
    newer = replace(study, judge=replace(study.judge, metrics_version=5))
    assert stale(newer, results) == ["gaussian", "flow-matching"]


def test_metrics_that_brought_a_new_field_of_the_judge(study: Study, tmp_path: Path) -> None:
    leave(study, tmp_path, lambda content: content["judge"].pop("error_bound"))
    newer = replace(study, judge=replace(study.judge, metrics_version=5))
    assert stale(newer, tmp_path / "runs") == ["gaussian", "flow-matching"]


OTHER: dict[str, dict[str, Any]] = {
    "--set": {"settings": ("flow-matching.width=9",)},
    "one --set more": {"settings": ("flow-matching.width=8", "scale=2")},
    "no --set": {"settings": ()},
    "a named preset": {"settings": ("flow-matching.width=8", "flow-matching.preset=2-D")},
    "test rows": {"judge": Judge(metrics_version=4, test_rows=50)},
    "a seed": {"seeds": (1,)},
    "a number of mini-batches": {"minibatches": 7},
    "a batch size": {"batch_size": 31},
}


@pytest.mark.parametrize("changed", ["nothing", "the source"])
@pytest.mark.parametrize("what", OTHER)
def test_another_run_is_not_stale(
    study: Study, results: Path, monkeypatch: pytest.MonkeyPatch, what: str, changed: str
) -> None:
    """Never run so before: missing and not stale, whether its method has changed or not."""
    if changed == "the source":
        newer_source(monkeypatch)
    found = stale(replace(study, **OTHER[what]), results)
    if (what, changed) == ("a named preset", "the source"):
        # in two dimensions that is the preset which it had: the same hyper-parameters, older code
        assert found == ["flow-matching"]
    else:
        assert found == []


def test_another_device_is_not_stale(
    study: Study, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer_source(monkeypatch)
    assert stale(study, results, device="cuda") == []


def test_a_value_is_the_users_own_however_it_is_written(
    study: Study, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer_source(monkeypatch)
    assert stale(replace(study, settings=("width=08",)), results) == ["flow-matching"]


def without_settings(content: store.Draft) -> None:
    del content["method"]["settings"]


def test_a_record_without_settings_counts_by_its_hyper_parameters(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(content: store.Draft) -> None:
        without_settings(content)
        content["method"]["config"].pop("affine")  # came with a later version

    leave(study, tmp_path, older)
    newer_source(monkeypatch)
    assert stale(study, tmp_path / "runs") == ["flow-matching"]
    assert stale(replace(study, settings=("width=9",)), tmp_path / "runs") == []


def test_of_a_record_without_settings_nobody_knows_whose_a_value_was(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preset's value that changed may have been the user's: missing, not stale."""
    leave(study, tmp_path, without_settings)
    other_preset(monkeypatch, {"scale": 2.0})
    assert stale(study, tmp_path / "runs") == []


@pytest.mark.parametrize("value", [None, [], {}])
@pytest.mark.parametrize("part", ["method", "dataset", "budget", "judge", "environment", "seed"])
def test_a_record_edited_by_hand_is_nobodys_predecessor(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, value: object
) -> None:
    leave(study, tmp_path, lambda content: content.update({part: value}))
    newer_source(monkeypatch)
    contradicts = (part, value) != ("judge", {})  # a judge without a word contradicts none
    assert stale(study, tmp_path / "runs") == ([] if contradicts else ["flow-matching"])
