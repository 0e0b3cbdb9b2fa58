"""`bench check` on existing runs: exit codes, the files it writes, one error a mistake."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main

from .records import write

Check = Callable[..., Result]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """`bench check --no-run` in a folder with four runs, two methods with two seeds."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "baseline").mkdir(parents=True)
    for seed in (0, 1):
        write(tmp_path / "runs", "ffjord", "moons", seed)
        write(tmp_path / "runs", "jko", "moons", seed, nll=1.0 + seed)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["check", "--no-run", "--results", "runs", *arguments])

    return call


def again(tmp_path: Path, method: str, **given: float) -> None:
    """A later run of seed 0."""
    write(tmp_path / "runs", method, "moons", 0, name="later", started="2027", **given)


def test_update_writes_and_the_same_runs_pass(check: Check, tmp_path: Path) -> None:
    assert check("--update").exit_code == 0
    file = tmp_path / "results" / "baseline" / "check.json"
    written = file.read_text()
    assert json.loads(written)["cells"][0]["figures"]["nll"] == [2.0, 2.1]
    for _ in range(2):
        done = check()
        assert done.exit_code == 0, done.output
    assert file.read_text() == written
    assert sorted(p.name for p in file.parent.iterdir()) == ["check.json"]


def test_worse_exits_1_and_names_method_and_metric(check: Check, tmp_path: Path) -> None:
    check("--update")
    again(tmp_path, "jko", nll=1.01)
    done = check("-f", "markdown", "-o", "comment.md")
    assert done.exit_code == 1
    assert "| jko on moons | NLL |" in done.stdout
    assert "| ffjord" not in done.stdout
    assert (tmp_path / "comment.md").read_text() == done.stdout
    assert check("-m", "ffjord").exit_code == 0
    assert check("--rule", "seeds").exit_code == 0


def test_better_exits_0(check: Check, tmp_path: Path) -> None:
    check("--update")
    again(tmp_path, "jko", nll=0.5)
    done = check()
    assert done.exit_code == 0
    assert "jko on moons" in done.stdout


def test_update_shows_the_difference_and_replaces_a_part(check: Check, tmp_path: Path) -> None:
    check("--update")
    again(tmp_path, "jko", nll=3.0)
    done = check("--update", "-m", "jko")
    assert done.exit_code == 0
    assert "jko on moons" in done.stdout
    cells = json.loads((tmp_path / "results" / "baseline" / "check.json").read_text())["cells"]
    assert [c["figures"]["nll"] for c in cells] == [[2.0, 2.1], [3.0, 2.0]]
    assert check().exit_code == 0


def test_no_baseline_is_made_of_failed_runs(check: Check, tmp_path: Path) -> None:
    write(tmp_path / "runs", "jko", "moons", 0, name="later", started="2027", status="oom")
    done = check("--update")
    assert done.exit_code == 1
    assert "jko on moons, seed 0: oom" in done.stderr
    assert not (tmp_path / "results" / "baseline" / "check.json").exists()


def test_a_damaged_baseline_is_only_replaced_as_a_whole(check: Check, tmp_path: Path) -> None:
    file = tmp_path / "results" / "baseline" / "check.json"
    file.write_text("{")
    assert check().exit_code == 2
    assert check("--update", "-m", "jko").exit_code == 2
    assert file.read_text() == "{"
    done = check("--update")
    assert done.exit_code == 0
    assert "check.json" in done.stderr
    assert check().exit_code == 0


def test_nothing_measured_exits_3(check: Check, tmp_path: Path) -> None:
    check("--update")
    done = check("-m", "mine")
    assert done.exit_code == 3
    assert "Error" in done.stderr
    write(tmp_path / "runs", "mine", "moons")
    done = check("-m", "mine")
    assert done.exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "results/baseline/check.json"),
        (("--baseline", "none.json"), "none.json"),
        (("--update", "--baseline", "no/where.json"), "no/where.json"),
        (("--update", "-o", "no/where.md"), "no/where.md"),
        (("--update", "--seeds", "4"), "--seeds"),
        (("--rule", "seed"), "seeds"),
    ],
)
def test_a_wrong_call_exits_2_and_writes_nothing(
    check: Check, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    done = check(*arguments)
    assert done.exit_code == 2
    assert named in done.stderr
    assert "Traceback" not in done.output
    assert not list((tmp_path / "results" / "baseline").iterdir())


def test_no_run_needs_a_folder() -> None:
    done = CliRunner().invoke(main, ["check", "--no-run"])
    assert done.exit_code == 2
    assert "--results" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written(check: Check, tmp_path: Path) -> None:
    (tmp_path / "results" / "baseline").chmod(0o500)
    assert check("--update").exit_code == 2


@pytest.mark.parametrize(("option", "name"), [("-m", "mine"), ("-d", "power")])
def test_an_unknown_part_of_the_study(tmp_path: Path, option: str, name: str) -> None:
    file = tmp_path / "check.json"
    done = CliRunner().invoke(main, ["check", "--update", "--baseline", str(file), option, name])
    assert done.exit_code == 2
    assert repr(name) in done.stderr
    assert not file.exists()
