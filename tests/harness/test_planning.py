"""What of a study is still to be made, by what lies in the results folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.errors import DataError, UsageError
from bench.records import store
from bench.records.spec import RunSpec
from bench.records.store import outline
from bench.study.planning import Only, Plan, plan
from bench.study.studies import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    rows = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    np.save(tmp_path / "own.npy", rows)
    return Study(("gaussian",), (str(tmp_path / "own.npy"),), (0, 1, 2), minibatches=6)


@pytest.fixture
def results(study: Study, tmp_path: Path) -> Path:
    """The results folder with a record of each run of the study."""
    for spec in planned(study, tmp_path / "runs").runs:
        store.part(tmp_path / "runs", spec.run).mkdir(parents=True)
        store.publish(tmp_path / "runs", spec.run, outline(spec) | {"status": "ok"})
    return tmp_path / "runs"


def planned(study: Study, results: Path, only: Only = "missing") -> Plan:
    return plan(study, results, results.parent / "data", only=only)


def seeds(runs: tuple[RunSpec, ...]) -> list[int]:
    return [spec.seed for spec in runs]


CUT = {
    "at its start": lambda whole: b"",
    "in its first line": lambda whole: whole[:5],
    "in the middle": lambda whole: whole[: len(whole) // 2],
    "behind a brace": lambda whole: whole[: whole.index(b"}") + 1] + b"\n",
    "before its last brace": lambda whole: whole[:-2],
    "by a disk that gave zeros": lambda whole: b"\0" * len(whole),
    "by hand": lambda whole: whole.replace(b"format", b"fromat"),
}


@pytest.mark.parametrize("cut", CUT)
@pytest.mark.parametrize("only", ["missing", "failed", "all", "stale"])
def test_a_damaged_record_is_made_again(study: Study, results: Path, cut: str, only: Only) -> None:
    """And said so; the stale ones alone do not take it, as nobody knows what it was."""
    runs = planned(study, results).runs
    path = results / runs[1].run / "record.json"
    path.write_bytes(CUT[cut](path.read_bytes()))
    found = planned(study, results, only)
    assert seeds(found.damaged) == [1]
    assert seeds(found.todo) == {"all": [0, 1, 2], "stale": []}.get(only, [1])


def test_a_damaged_record_is_set_aside_with_its_folder(study: Study, results: Path) -> None:
    run = planned(study, results).runs[1].run
    (results / run / "record.json").write_text("{", encoding="utf-8")
    (results / run / "model.pt").write_text("kept", encoding="utf-8")
    aside = store.set_aside(results, run)
    assert aside is not None
    assert (aside / "model.pt").read_text(encoding="utf-8") == "kept"
    assert run not in store.names(results)
    assert len(list(store.read_all(results))) == 2
    assert store.set_aside(results, run) is None, "it is gone"
    good = planned(study, results).runs[0].run
    assert store.set_aside(results, good) is None, "it can be read"
    assert good in store.names(results)


def test_setting_aside_twice_keeps_the_later_one(study: Study, results: Path) -> None:
    run = planned(study, results).runs[0].run
    for text in ("first", "second"):
        (results / run).mkdir(exist_ok=True)
        (results / run / "record.json").write_text(text, encoding="utf-8")
        aside = store.set_aside(results, run)
    assert aside is not None
    assert (aside / "record.json").read_text(encoding="utf-8") == "second"


@pytest.mark.parametrize("only", ["missing", "failed", "all", "stale"])
def test_a_record_of_a_newer_layout_is_not_made_again(
    study: Study, results: Path, only: Only
) -> None:
    run = planned(study, results).runs[1].run
    store.write_record(results / run, store.content(results, run) | {"format": 2})
    with pytest.raises(DataError, match=r"layout 2.*newer cnf-bench"):
        planned(study, results, only)


def test_another_studys_newer_record_is_no_matter(study: Study, results: Path) -> None:
    run = planned(study, results).runs[2].run
    store.write_record(results / run, store.content(results, run) | {"format": 2})
    assert planned(replace(study, seeds=(0, 1)), results).todo == ()


def test_a_study_without_seeds(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="seed"):
        planned(replace(study, seeds=()), tmp_path)


def test_settings_are_the_users_own(study: Study, tmp_path: Path) -> None:
    """As values, each method's own; not what the preset gives."""
    both = replace(
        study,
        methods=("gaussian", "flow-matching"),
        seeds=(0,),
        settings=("width=08", "flow-matching.preset=any"),
    )
    assert [dict(spec.settings) for spec in planned(both, tmp_path).runs] == [
        {},
        {"width": 8, "preset": "any"},
    ]
