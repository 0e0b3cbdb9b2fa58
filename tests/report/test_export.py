"""A bundle is whole, says what is in it, and gives the same tables; a damaged one is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.errors import DataError, UsageError
from bench.records.bundle import files_below, results_dir
from bench.records.frame import records

from .conftest import Write

Call = Callable[..., Result]


@pytest.fixture
def call() -> Call:
    return lambda *arguments: CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def runs(results: Path, write: Write) -> Path:
    """Three runs that ended well, two of them with all their files, and one that did not."""
    for seed in range(2):
        run = write("jko", "moons", seed, nll=1.0 + seed)
        (results / run / "curve.jsonl").write_text('{"step": 1}\n')
        (results / run / "model.pt").write_bytes(b"weights" * 9)
        np.savez(results / run / "samples.npz", log_prob=np.linspace(-1, seed, 50))
        (results / run / "log.txt").write_text("not taken along")
    write("gaussian", "rings", budget__name="table1")
    write("ffjord", "moons", status="diverged", reason="not finite")
    (results / "ffjord-moons-s9.part").mkdir()
    return results


@pytest.fixture
def bundle(runs: Path, tmp_path: Path, call: Call) -> Path:
    done = call("export", tmp_path / "bundle", "--no-figures", "--results", runs)
    assert done.exit_code == 0, done.output
    return tmp_path / "bundle"


def test_it_holds_what_its_manifest_says(bundle: Path, runs: Path) -> None:
    manifest = json.loads((bundle / "MANIFEST.json").read_text())
    listed = {file["path"]: file for file in manifest["files"]}
    assert set(files_below(bundle)) == {*listed, "MANIFEST.json", "SHA256SUMS"}
    for run in records(runs)["run"]:
        for name in ("record.json", "curve.jsonl", "samples.npz"):
            there = (runs / run / name).exists()
            assert (f"records/{run}/{name}" in listed) == there
            if there:
                copy = bundle / "records" / run / name
                assert copy.read_bytes() == (runs / run / name).read_bytes()
                assert listed[f"records/{run}/{name}"]["size"] == copy.stat().st_size
    assert not any("model.pt" in name or "log.txt" in name or ".part" in name for name in listed)
    assert (manifest["runs"], manifest["models"], manifest["chosen"]) == (4, 0, {})
    assert {name.rpartition(".")[2] for name in manifest["tables"]} == {
        *("txt", "tex", "md", "html", "csv")
    }


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is not installed")
def test_sha256sum_checks_it(bundle: Path) -> None:
    command = ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=bundle, check=False).returncode == 0
    (bundle / "tables" / "table.md").write_text("another table")
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "tables/table.md: FAILED" in done.stdout


@pytest.mark.parametrize("name", ["table.txt", "table.tex", "table.md", "table.html", "table.csv"])
def test_the_table_has_the_same_bytes_before_and_after(
    bundle: Path, runs: Path, call: Call, name: str
) -> None:
    forms = {"txt": "text", "tex": "latex", "md": "markdown", "html": "html", "csv": "csv"}
    form = forms[name.partition(".")[2]]
    before, after = (call("table", "-f", form, "--results", where) for where in (runs, bundle))
    assert before.exit_code == after.exit_code == 0
    assert before.stdout == after.stdout == (bundle / "tables" / name).read_text()


def test_details_and_runs_too(bundle: Path, call: Call) -> None:
    details = call("table", "--details", "--results", bundle).stdout
    assert details == (bundle / "tables" / "details.txt").read_text()
    by_run = call("table", "-f", "csv", "--runs", "--results", bundle).stdout
    assert by_run == (bundle / "tables" / "runs.csv").read_text()


def test_other_commands_read_it(bundle: Path, runs: Path, call: Call) -> None:
    listed = json.loads(call("list", "runs", "--json", "--results", bundle).stdout)
    run = records(runs)["run"].iloc[-1]
    assert len(listed) == 4
    about = call("info", run, "--json", "--results", bundle)
    assert json.loads(about.stdout) == json.loads((runs / run / "record.json").read_text())


def test_it_can_be_bundled_again(bundle: Path, tmp_path: Path, call: Call) -> None:
    again = tmp_path / "again"
    assert call("export", again, "--no-figures", "--results", bundle).exit_code == 0
    first, second = (
        {name: (b / name).read_bytes() for name in files_below(b) if name.startswith("records/")}
        for b in (bundle, again)
    )
    assert first == second


def test_models_and_filters(runs: Path, tmp_path: Path, call: Call) -> None:
    arguments = ("-m", "jko", "-d", "moons", "-b", "equal", "--models", "--no-figures")
    done = call("export", tmp_path / "few", *arguments, "--results", runs)
    assert "2 runs, 2 of them with their models" in done.stdout
    manifest = json.loads((tmp_path / "few" / "MANIFEST.json").read_text())
    assert sum("model.pt" in file["path"] for file in manifest["files"]) == 2
    chosen = {"methods": ["jko"], "datasets": ["moons"], "budgets": ["equal"]}
    assert manifest["chosen"] == chosen
    table = call("table", "-m", "jko", "--results", runs).stdout
    assert call("table", "--results", tmp_path / "few").stdout == table
    none = call("export", tmp_path / "none", "-b", "quick", "--results", runs)
    assert none.exit_code == 3
    assert not (tmp_path / "none").exists()


def edit(path: Path) -> None:
    """Change one letter, and keep the size."""
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "edited": (lambda b: edit(next(b.glob("records/jko*/record.json"))), "has changed"),
    "samples": (lambda b: edit(next(b.glob("records/jko*/samples.npz"))), "has changed"),
    "gone": (lambda b: next(b.glob("records/jko*/curve.jsonl")).unlink(), "is missing"),
    "a run gone": (lambda b: shutil.rmtree(next(b.glob("records/gauss*"))), "is missing"),
    "a file more": (lambda b: (b / "records/more.txt").touch(), "not in its manifest"),
    "manifest": (lambda b: edit(b / "MANIFEST.json"), "MANIFEST.json"),
    "cut off": (lambda b: (b / "MANIFEST.json").write_text("{"), "can't be read"),
    "no sums": (lambda b: (b / "SHA256SUMS").unlink(), "SHA256SUMS can't be read"),
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_damaged_bundle_is_refused(bundle: Path, call: Call, damage: str) -> None:
    hurt, said = DAMAGE[damage]
    hurt(bundle)
    done = call("table", "--results", bundle)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert str(bundle) in done.stderr


def test_damage_that_no_table_reads_is_for_sha256sum(bundle: Path, call: Call) -> None:
    edit(bundle / "tables" / "table.md")
    assert call("table", "--results", bundle).exit_code == 0


def test_paths_that_leave_the_bundle_are_refused(bundle: Path) -> None:
    from bench.records.bundle import SUMS, bundled_files, sha256

    path = bundle / "MANIFEST.json"
    manifest = json.loads(path.read_text())
    before = sha256(path)
    manifest["files"][0]["path"] = "records/../../secret"
    path.write_text(json.dumps(manifest))
    sums = (bundle / SUMS).read_text().replace(before, sha256(path))
    (bundle / SUMS).write_text(sums)
    with pytest.raises(DataError, match="outside"):
        bundled_files(bundle)


def test_nothing_is_run_into_a_bundle(bundle: Path) -> None:
    assert results_dir(bundle) == bundle / "records"
    with pytest.raises(UsageError, match="read-only"):
        results_dir(bundle, write=True)


def test_a_results_folder_with_a_manifest_of_something_else(runs: Path) -> None:
    (runs / "MANIFEST.json").write_text('{"kind": "something else"}')
    assert results_dir(runs) == runs


def test_what_is_there_is_not_touched(bundle: Path, runs: Path, tmp_path: Path, call: Call) -> None:
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    file.touch()
    for target, force, said in (
        (full, False, "not empty"),
        (full, True, "not empty"),
        (file, True, "not a folder"),
        (bundle, False, "--force"),
        (tmp_path / "no" / "parent", False, "can't be written"),
    ):
        before = sorted(os.listdir(tmp_path))
        forced = ["--force"] if force else []
        done = call("export", target, "--no-figures", *forced, "--results", runs)
        assert done.exit_code == 2, target
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert sorted(os.listdir(tmp_path)) == before
    assert (full / "mine.txt").read_text() == "mine"


def test_force_replaces_a_bundle_and_nothing_else(
    bundle: Path, runs: Path, tmp_path: Path, call: Call, write: Write
) -> None:
    write("jko", "rings")
    arguments = ("export", bundle, "--no-figures", "--force", "--results", runs)
    assert call(*arguments).exit_code == 0
    assert len(list((bundle / "records").iterdir())) == 5
    assert sorted(os.listdir(tmp_path)) == ["bundle", "runs"]
    (bundle / "mine.txt").touch()
    done = call(*arguments)
    assert done.exit_code == 2
    assert "mine.txt" in done.stderr
    assert (bundle / "mine.txt").exists()


def test_an_empty_folder_will_do(runs: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "empty").mkdir()
    done = call("export", tmp_path / "empty", "--no-figures", "--results", runs)
    assert done.exit_code == 0
    assert (tmp_path / "empty" / "SHA256SUMS").is_file()


def test_what_goes_wrong_half_way_leaves_nothing(
    runs: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.report.export.write_manifest", full)
    done = call("export", tmp_path / "bundle", "--no-figures", "--results", runs)
    assert done.exit_code == 2
    assert "No space left on device" in done.stderr
    assert os.listdir(tmp_path) == ["runs"]


def test_no_runs(tmp_path: Path, call: Call) -> None:
    done = call("export", tmp_path / "bundle", "--results", tmp_path / "none")
    assert done.exit_code == 3
    assert os.listdir(tmp_path) == []


def test_figures_that_can_be_drawn_and_why_others_are_not(
    runs: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    from bench import figures
    from bench.errors import NothingMeasured
    from bench.figures.request import Plot, Request
    from bench.report import pictures

    def draw(kind: str, asked: Request) -> Plot:
        if kind == "dull":
            raise NothingMeasured("There is nothing.", "Run more.")
        if kind == "broken":
            raise IndexError("too far")
        return Plot(Figure(), (f"{len(asked.frame())} runs under {asked.budget}.",))

    monkeypatch.setattr(figures, "KINDS", {"bright": "it shows", "dull": "-", "broken": "-"})
    monkeypatch.setattr(pictures, "draw", draw)
    done = call("export", tmp_path / "bundle", "--results", runs)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("\n") == 4
    manifest = json.loads((tmp_path / "bundle" / "MANIFEST.json").read_text())
    drawn = [f"figures/bright-{b}.{form}" for b in ("equal", "table1") for form in ("pdf", "png")]
    assert manifest["figures"] == drawn
    assert set(manifest["not_drawn"]) == {
        f"{kind}-{budget}" for kind in ("dull", "broken") for budget in ("equal", "table1")
    }
    assert "IndexError: too far." in manifest["not_drawn"]["broken-equal"]
    said = (tmp_path / "bundle" / "figures" / "bright-table1.txt").read_text()
    assert said == "1 runs under table1.\n"
    for name in drawn:
        assert (tmp_path / "bundle" / name).stat().st_size > 500
