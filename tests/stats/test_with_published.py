"""Published results beside ours: in their own columns, marked by the same floor, never in bold."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.records.frame import records
from bench.tables.comparison import WIDE, comparison
from bench.tables.layout import Table
from bench.tables.marks import BELOW
from bench.tables.published import with_published
from bench.tables.render import render

from .conftest import Write


@pytest.fixture
def table(results: Path, write: Write) -> Table:
    write("jko", "bsds300", nll=-147.2)
    write("ffjord", "bsds300", nll=-16.1)
    write("gaussian", "bsds300", nll=-97.1)
    frame = records(results)
    return with_published(comparison(frame, WIDE, results=results), frame)


def rows(table: Table) -> dict[str, list[str]]:
    """The published entries by label."""
    return {row.label: [str(e) for e in row.entries[-3:]] for row in table.groups[0].rows}


def test_they_stand_in_columns_of_their_own(table: Table) -> None:
    assert [c.title for c in table.columns[-3:]] == ["NLL, publ.", "MMD-m, publ.", "MMD-1, publ."]
    assert rows(table)["jko"] == ["-153.82", "2.24e-4", "1.91e-4"]
    assert rows(table)["gaussian"] == ["", "", ""]
    place = [column.title for column in table.columns].index("NLL")
    ours = {row.label: str(row.entries[place]) for row in table.groups[0].rows}
    assert ours["jko"].startswith("-147.2")


def test_the_floor_marks_them_as_it_marks_ours(table: Table) -> None:
    """By the Gaussian that was run: FFJORD is below it, in our run and in print."""
    assert rows(table)["ffjord"][0] == f"-37.80{BELOW}"
    assert {r.label: r.marks for r in table.groups[0].rows if r.marks} == {"ffjord": BELOW}
    assert any(n.text.endswith("bsds300: FFJORD, IGNN, IResNet, ScoreSDE.") for n in table.notes)


def test_methods_that_were_not_run_have_rows_that_are_empty_but_for_these(table: Table) -> None:
    (row,) = [row for row in table.groups[0].rows if row.label == "OT-Flow"]
    assert [str(entry) for entry in row.entries[:-3]] == [""] * len(WIDE)
    assert str(row.entries[-3]) == "-104.62"
    assert row.seeds == ""
    assert not any(e.best for r in table.groups[0].rows for e in r.entries[-3:])


def test_a_bound_is_not_called_a_likelihood(table: Table) -> None:
    assert any("ScoreSDE is reportedly a bound" in note.text for note in table.notes)


def test_without_a_floor_none_is_marked(results: Path, write: Write) -> None:
    write("jko", "bsds300", nll=-147.2)
    frame = records(results)
    found = with_published(comparison(frame, WIDE, results=results), frame)
    assert rows(found)["FFJORD"][0] == "-37.80"


def test_data_sets_that_nobody_published(results: Path, write: Write) -> None:
    write("jko", "moons")
    frame = records(results)
    found = with_published(comparison(frame, WIDE, results=results), frame)
    assert rows(found) == {"jko": ["", "", ""]}
    assert sum("JKO-iFlow poster" in note.text for note in found.notes) == 1


@pytest.mark.parametrize("form", ["text", "latex", "markdown", "html"])
def test_every_form_shows_them(table: Table, form: str) -> None:
    page = render(table, form).replace("−", "-")
    assert "153.82" in page
    assert "IResNet" in page


def test_on_the_command_line(results: Path, write: Write) -> None:
    write("jko", "bsds300", nll=-147.2)
    call = ["table", "--published", "--results", str(results)]
    shown = CliRunner().invoke(main, [*call, "-f", "latex"])
    assert shown.exit_code == 0
    assert "$-153.82$" in shown.output
    assert CliRunner().invoke(main, [*call, "-f", "csv"]).exit_code == 2
    assert CliRunner().invoke(main, [*call, "--details"]).exit_code == 2


def test_older_metrics_are_left_out_unless_asked_for(results: Path, write: Write) -> None:
    write("jko", "moons", 0, judge__metrics_version=2, nll=1.25, started="2026-01-01T00:00:00")
    write("jko", "moons", 1, judge__metrics_version=3, nll=2.75, started="2026-01-02T00:00:00")
    call = ["table", "--results", str(results), "--metric", "nll"]
    shown = CliRunner().invoke(main, call)
    assert shown.exit_code == 0
    assert "Left out: moons: 1 run by an older version of the metrics" in shown.output
    assert "1.25" not in shown.output
    mixed = CliRunner().invoke(main, [*call, "--mixed"])
    assert "1.25" in mixed.output
    assert "2.75" in mixed.output
    assert "judge metrics_version=2" in mixed.output
