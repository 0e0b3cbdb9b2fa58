"""The columns that a table is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.cli.table import column_sets, parse_columns
from bench.errors import UsageError
from bench.records.catalogue import measures
from bench.tables.comparison import NARROW

from .conftest import Write


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("nll", ("nll",)),
        ("mmd_m, nll,nll", ("mmd_m", "nll")),
        ("+nfe_sample,-memory_bytes", (*NARROW[:-1], "nfe_sample")),
        ("-nll", NARROW[1:]),
        (
            "likelihood,-nll_gap,+params",
            (*column_sets()["likelihood"][:3], "round_trip_median", "params"),
        ),
        ("all,-narrow", tuple(name for name in measures() if name not in NARROW)),
        ("+narrow", NARROW),
    ],
)
def test_lists(text: str, columns: tuple[str, ...]) -> None:
    assert parse_columns(text, NARROW) == columns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nl", r"'nl'.*'nll'"),
        ("+,nll", r"columns ''"),
        ("nll,-mmd_m", r"leaves out mmd_m.*nll"),
        ("nll,-nll", "leaves no column"),
        (" , ", "leaves no column"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_columns(text, NARROW)


def test_every_set_is_of_measures() -> None:
    assert {name for names in column_sets().values() for name in names} == set(measures())


def test_on_the_command_line(results: Path, write: Write) -> None:
    write("ffjord", "moons")
    call = ["table", "--results", str(results)]
    shown = CliRunner().invoke(main, [*call, "--columns", "-memory_bytes,+nfe_sample"]).stdout
    assert "NFE, sampling" in shown
    assert "memory " not in shown.splitlines()[1]
    wide = CliRunner().invoke(main, [*call, "-f", "markdown", "--columns", "-nll"]).stdout
    assert "mini-batches" in wide.splitlines()[2]
    assert "| NLL |" not in wide
    both = CliRunner().invoke(main, [*call, "--columns", "nll", "--metric", "nll"])
    assert both.exit_code == 2


def test_a_metric_that_nobody_has(results: Path, write: Write) -> None:
    write("ffjord", "moons")
    call = ["table", "--results", str(results)]
    none = CliRunner().invoke(main, [*call, "--metric", "nll_native"])
    assert none.exit_code == 3
    assert none.stdout == ""
    assert "nll_native" in none.stderr
    assert "params, minibatches" in none.stderr
    part = CliRunner().invoke(main, [*call, "--metric", "nll_native", "--metric", "nll"])
    assert part.exit_code == 0
    assert "No run has NLL, own steps." in part.stdout


def test_of_failed_runs_any_metric_is_shown_as_failed(results: Path, write: Write) -> None:
    write("ffjord", "moons", status="diverged", reason="not finite")
    call = ["table", "--results", str(results), "--metric", "nll_native", "--notes", "full"]
    shown = CliRunner().invoke(main, call)
    assert shown.exit_code == 0
    assert "diverged" in shown.stdout
    assert "not finite" in shown.stdout
