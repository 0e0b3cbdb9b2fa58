"""Records of the program before its modules moved: found under their former keys."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.records import store
from bench.records.frame import cells, records
from bench.records.spec import Judge, RunSpec
from bench.records.store import outline
from bench.registry import plugins, sources
from bench.study.planning import Only, former, plan
from bench.study.studies import Study, find

from .refresh_moved import refreshed

FORMER = Path(__file__).parent / "former"

#: Runs as the program before the move planned them, with the keys that it gave them.
LINES = [json.loads(line) for line in (FORMER / "specs.jsonl").read_text("utf-8").splitlines()]

RECORD = "gaussian-moons-s0-e4659a79"


def spec_of(line: Mapping[str, Any]) -> RunSpec:
    spec = line["spec"]
    include = tuple(spec["include"])
    return RunSpec(**spec | {"judge": Judge(**spec["judge"]), "include": include})


def study() -> Study:
    """The study whose runs on moons are those of `LINES`."""
    return replace(
        find("quick"),
        methods=tuple(line["spec"]["method"] for line in LINES),
        datasets=("moons",),
        settings=("affine=diagonal", "jko.width=32"),
    )


@pytest.fixture(autouse=True)
def nothing_but_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every method computed today what it did before the move."""
    table = {
        line["spec"]["method"]: {
            line["spec"]["version"]: plugins.version(plugins.methods()[line["spec"]["method"]])
        }
        for line in LINES
    }
    monkeypatch.setattr(sources, "_moved", lambda: table)


def test_only_methods_that_compute_the_same_are_in_the_table() -> None:
    """The floor is what it was; the gradients of all flows are rounded in another way since."""
    path = Path(sources.__file__).parent / "moved.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    floor = next(line["spec"] for line in LINES if line["spec"]["method"] == "gaussian")
    present = plugins.version(plugins.methods()["gaussian"])
    assert table == {"gaussian": {floor["version"]: present}}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["spec"]["method"])
def test_the_version_is_all_that_differs_from_the_former_key(line: dict[str, Any]) -> None:
    spec = spec_of(line)
    assert spec.key == line["key"]
    now = replace(spec, version=plugins.version(plugins.methods()[spec.method]))
    assert now.key != line["key"]
    assert line["key"] in [one.key for one in former(now)]
    assert plugins.current_version(spec.method, spec.version) == now.version


def test_the_same_words_plan_the_same_runs(tmp_path: Path) -> None:
    """Hyper-parameters, revision, budget and judge are as they were."""
    planned = plan(study(), tmp_path, tmp_path)
    keys = [one.key for spec in planned.runs for one in former(spec)]
    assert [line["key"] for line in LINES if line["key"] not in keys] == []


@pytest.mark.parametrize("only", ["missing", "failed", "stale"])
def test_a_run_recorded_under_its_former_key_is_done(tmp_path: Path, only: Only) -> None:
    for spec in map(spec_of, LINES):
        store.part(tmp_path, spec.run).mkdir(parents=True)
        store.publish(tmp_path, spec.run, outline(spec) | {"status": "ok"})
    planned = plan(study(), tmp_path, tmp_path, only=only)
    assert planned.todo == ()
    assert sorted(spec.key for spec in planned.runs) == sorted(line["key"] for line in LINES)
    again = plan(study(), tmp_path, tmp_path, only="all")
    assert again.todo == again.runs
    assert {spec.key for spec in again.runs}.isdisjoint(line["key"] for line in LINES)


def test_a_failed_or_damaged_one_is_made_again_under_its_present_key(tmp_path: Path) -> None:
    specs = [spec_of(line) for line in LINES]
    for spec in specs:
        store.part(tmp_path, spec.run).mkdir(parents=True)
        store.publish(tmp_path, spec.run, outline(spec) | {"status": "timeout"})
    failed = plan(study(), tmp_path, tmp_path, only="failed")
    assert failed.todo == failed.runs
    assert [spec.method for spec in failed.todo] == [spec.method for spec in specs]
    (tmp_path / specs[0].run / "record.json").write_text("{", encoding="utf-8")
    missing = plan(study(), tmp_path, tmp_path)
    assert [spec.method for spec in missing.todo] == [specs[0].method]
    assert missing.damaged == (), "the former record stays where it is"


def test_a_method_that_changed_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of a former version is then one of an older version."""
    real = plugins.version
    monkeypatch.setattr(
        plugins, "version", lambda plugin: "new" if plugin.name == "gaussian" else real(plugin)
    )
    for spec in map(spec_of, LINES):
        store.part(tmp_path, spec.run).mkdir(parents=True)
        store.publish(tmp_path, spec.run, outline(spec) | {"status": "ok"})
    for only in ("missing", "stale"):
        todo = plan(study(), tmp_path, tmp_path, only=only).todo  # type: ignore[arg-type]
        assert [spec.method for spec in todo] == ["gaussian"]


def test_a_real_record_of_the_program_before_the_move(tmp_path: Path) -> None:
    folder = tmp_path / RECORD
    folder.mkdir()
    text = (FORMER / f"{RECORD}.json").read_text(encoding="utf-8")
    (folder / "record.json").write_text(text, encoding="utf-8")
    quick = replace(find("quick"), methods=("gaussian",), datasets=("moons",))
    for only in ("missing", "stale"):
        planned = plan(quick, tmp_path, tmp_path, only=only)  # type: ignore[arg-type]
        assert planned.todo == ()
        assert [spec.run for spec in planned.runs] == [RECORD]


def test_runs_from_before_and_after_the_move_are_one_cell(tmp_path: Path) -> None:
    before = [spec_of(line) for line in LINES]
    after = [
        replace(spec, version=plugins.version(plugins.methods()[spec.method]), seed=1)
        for spec in before
    ]
    for spec in (*before, *after):
        store.part(tmp_path, spec.run).mkdir(parents=True)
        store.publish(tmp_path, spec.run, outline(spec) | {"status": "ok"})
    for cell in cells(records(tmp_path)):
        assert cell.runs["seed"].tolist() == [0, 1]


def test_the_map_is_refreshed() -> None:
    present = plugins.version(plugins.methods()["gaussian"])
    text = '# old = new\n\n[gaussian]\nabc = "def"\n'
    assert refreshed(text) == f'# old = new\n\n[gaussian]\nabc = "{present}"\n'
