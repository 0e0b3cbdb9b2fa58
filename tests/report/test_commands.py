"""The commands of a report make just the runs that it shows: read back by `bench run` itself."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli.run import run as bench_run
from bench.launch.driver import StudyRequest, study_of
from bench.records.model import Record, decode
from bench.records.spec import Judge
from bench.records.store import outline, read_all
from bench.report.setting import Command, commands, ranges
from bench.study.planning import plan
from bench.study.studies import Study, find

from .conftest import HOSTILE, NAMED, Write


def parsed(command: Command, folder: Path) -> Study:
    """The study that `bench run` makes of a command."""
    words = shlex.split(command.line)
    assert words[:2] == ["bench", "run"]
    if command.study:
        (folder / "study.toml").write_text(command.study)
        words = [str(folder / w) if w == "study.toml" else w for w in words]
    given = bench_run.make_context("run", words[2:]).params
    for name in ("dry_run", "drop", "dequantise", "group", "header"):
        given.pop(name)
    return study_of(StudyRequest(**given), print)


def cells(study: Study) -> list[tuple[str, str, int]]:
    return [(m, d, s) for m in study.methods for d in study.datasets for s in study.seeds]


def test_a_ragged_grid_is_made_whole_and_no_more(
    write: Write, results: Path, tmp_path: Path
) -> None:
    wanted = [
        *(("ffjord", "moons", s) for s in (0, 1, 2)),
        *(("jko", "moons", s) for s in (0, 1, 2)),
        *(("ffjord", "rings", s) for s in (0, 1, 2)),
        *(("jko", "rings", s) for s in (0, 1)),
        ("gaussian", "rings", 7),
    ]
    for cell in wanted:
        write(*cell, budget__minibatches=5000, budget__batch_size=512, judge__dtype="float32")
    found = commands(read_all(results))
    made = [cell for command in found for cell in cells(parsed(command, tmp_path))]
    assert sorted(made) == sorted(wanted)
    assert sum(command.runs for command in found) == len(wanted)


def keys(folder: Path, data: Path, study: Study) -> set[str]:
    return {spec.run for spec in plan(study, folder, data).runs}


def made(study: Study, data: Path, tmp_path: Path) -> list[Record]:
    """The records of a study as its runs would begin them."""
    found = []
    for spec in plan(study, tmp_path / "none", data).runs:
        draft = outline(spec) | {"status": "ok"}
        draft["environment"]["threads"] = 3
        found.append(decode(json.dumps(draft).encode(), "", spec.run))
    return found


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {"-b": "equal"}),
        ({"budget": "quick", "judge": find("quick").judge}, {"--study": "quick", "-b": "quick"}),
        ({"judge": Judge(test_rows=77)}, {"--test-rows": "77"}),
        ({"judge": Judge(rtol=1e-6, mmd_n=50)}, {"--study": "study.toml"}),
        ({"minibatches": 12, "batch_size": 34}, {"--minibatches": "12", "--batch-size": "34"}),
        ({"settings": ("flow-matching.width=64", "affine=full")}, {"--set": None}),
        ({"settings": ("clip=0.25", "preset=2-D")}, {"--set": None}),
    ],
)
def test_the_same_runs_by_name_with_the_same_settings_budget_and_judge(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, str | None]
) -> None:
    study = replace(Study(("gaussian", "flow-matching"), ("moons",), (0, 3)), **changes)
    if "preset=2-D" in study.settings:
        study = replace(study, methods=("flow-matching",))
    (command,) = commands(made(study, tmp_path, tmp_path))
    again = parsed(command, tmp_path)
    assert keys(tmp_path, tmp_path, again) == keys(tmp_path, tmp_path, study)
    words = shlex.split(command.line)
    for option, value in options.items():
        assert option in words
        assert value is None or words[words.index(option) + 1] == value
    assert words[-2:] == ["--threads", "3"]


def test_one_method_with_several_settings_takes_several_commands(
    tmp_path: Path,
) -> None:
    records = []
    for width in ("64", "128"):
        study = Study(("flow-matching",), ("moons",), settings=(f"width={width}",))
        records += made(study, tmp_path, tmp_path)
    found = commands(records)
    assert [c.line.split("--set ")[1].split()[0] for c in found] == ["width=128", "width=64"]


def test_hostile_names_stay_single_words(write: Write, results: Path) -> None:
    write("jko", NAMED, run="hostile", method__settings={HOSTILE: HOSTILE})
    (command,) = commands(read_all(results))
    words = shlex.split(command.line)
    assert words[words.index("-d") + 1] == NAMED
    assert words[words.index("--set") + 1] == f"{HOSTILE}={HOSTILE}"


def test_what_no_command_can_express_is_a_remark(write: Write, results: Path) -> None:
    write("ffjord", "mine.csv", dataset__kind="own", judge__metrics_version=1)
    (command,) = commands(read_all(results))
    assert "-d PATH/TO/mine.csv" in command.line
    assert any("your own table" in remark for remark in command.remarks)
    assert any("version 1 of the metrics" in remark for remark in command.remarks)


def test_a_record_without_settings_gives_all_its_hyper_parameters(
    write: Write, results: Path
) -> None:
    write("ffjord", "moons", method__config={"width": 64, "train_end_time": True, "flows": None})
    (command,) = commands(read_all(results))
    assert "--set width=64 --set train_end_time=true --set flows=none" in command.line


def test_a_field_of_the_judge_that_no_option_sets_is_in_a_study_file(tmp_path: Path) -> None:
    study = Study(("gaussian",), ("moons",), judge=Judge(alpha=0.01))
    (command,) = commands(made(study, tmp_path, tmp_path))
    assert command.study.splitlines()[-2:] == ["[judge]", "alpha = 0.01"]


def test_seeds_in_a_row_are_a_range() -> None:
    assert ranges([0, 1, 2, 3, 7, 9, 10]) == "0–3, 7, 9, 10"
    assert ranges([]) == ""
