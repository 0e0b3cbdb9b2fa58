"""Records that a table has little of, or that it must not mix or believe: in every form."""

from __future__ import annotations

import os
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.tables.render import FORMS

from .conftest import Write
from .every_cell import HOSTILE, NAMED

Call = Callable[..., Result]

EVERY_FORM = pytest.mark.parametrize("form", list(FORMS))


@pytest.fixture
def call(results: Path) -> Call:
    return lambda *given: CliRunner().invoke(main, ["table", "--results", str(results), *given])


@EVERY_FORM
@pytest.mark.parametrize("arrangement", [[], ["--transpose"], ["--group-by", "method"]])
def test_one_record(call: Call, write: Write, form: str, arrangement: list[str]) -> None:
    write("ffjord", "moons", nll=1.25, nll_se=0.01)
    done = call("-f", form, *([] if form == "csv" else arrangement))
    assert done.exit_code == 0, done.output
    assert "1.25" in done.stdout
    if form == "text":
        assert "\n* " not in done.stdout


@EVERY_FORM
def test_only_failed_ones(call: Call, write: Write, form: str) -> None:
    write("ffjord", "moons", 0, status="diverged", reason="not finite")
    write("ffjord", "moons", 1, status="timeout", reason="no end after 60 s")
    write("jko", "moons", 0, status="oom", reason=None)
    done = call("-f", form, *([] if form == "csv" else ["--notes", "full"]))
    assert done.exit_code == 0, done.output
    if form == "csv":
        assert [line.split(",")[-1] for line in done.stdout.splitlines()[1:]] == ["", ""]
        return
    for word in ("diverged + timeout", "oom", "0/2", "0/1", "no end after 60 s"):
        assert word in done.stdout


@EVERY_FORM
def test_mixed_revisions(call: Call, write: Write, form: str) -> None:
    write("ffjord", "moons", 0, nll=1.25, started="2026-01-01T00:00:00+00:00")
    revised = {"dataset__revision": "ffffffffffff", "started": "2026-01-02T00:00:00+00:00"}
    write("ffjord", "moons", 1, nll=2.75, **revised)
    done = call("-f", form)
    assert "moons: 1 run on another revision of its rows (--mixed shows them)" in done.stderr
    assert "1.25" not in done.stdout
    mixed = call("-f", form, "--mixed", *([] if form == "csv" else ["--notes", "full"]))
    assert mixed.stderr == ""
    if form != "csv":
        assert "2 revisions of the data, which can't be compared" in unescape(mixed.stdout)


@EVERY_FORM
def test_hostile_names(call: Call, write: Write, form: str) -> None:
    for run, value in (("one", HOSTILE), ("two", HOSTILE[::-1])):
        write("jko", NAMED, run=run, reason=HOSTILE, method__config={HOSTILE: value})
    write("ffjord", "moons", status="error", reason=HOSTILE)
    for arrangement in ([], ["--transpose"], ["--group-by", "method"]):
        done = call("-f", form, *([] if form == "csv" else arrangement))
        assert done.exit_code == 0, done.output
        assert "Traceback" not in done.output
        if form in ("html", "markdown", "latex"):
            assert "<script>" not in done.stdout
            assert "</script>" not in done.stdout
        if form == "latex":
            assert r"\textbackslash{}" in done.stdout
            assert "%$" not in done.stdout


@EVERY_FORM
@pytest.mark.parametrize("place", ["none/table", "folder", "file/table"])
def test_an_output_that_can_not_be_written(
    call: Call, write: Write, tmp_path: Path, form: str, place: str
) -> None:
    write("ffjord", "moons")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(os.walk(tmp_path))
    done = call("-f", form, "-o", str(tmp_path / place))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "can't be written" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(os.walk(tmp_path)) == before
