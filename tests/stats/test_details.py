"""What the details say of each figure, and the flags of bounds that a run fails."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from bench.cli import main
from bench.records.frame import records
from bench.tables.comparison import comparison
from bench.tables.details import Detail, details, show
from bench.tables.render import render

from .conftest import Write

#: A run that passes every bound.
SOUND = {
    "nll": 2.5,
    "nll_se": 0.02,
    "nll_se_rows": 0.02,
    "nll_rows": 5_000,
    "nll_solver_error": 1e-5,
    "nll_native": 2.51,
    "round_trip_median": 1e-5,
    "round_trip_max": 2e-3,
    "row_scale": 1.4,
    "density_integral": 1.0004,
    "density_integral_error": 0.001,
    "p_aggregated": 0.31,
    "aggregated_n": 2_500,
    "c2st": 0.51,
    "c2st_se": 0.01,
    "p_c2st": 0.2,
    "tau_m_se": 3e-6,
    "p_m": 0.4,
    "p_1": 0.4,
}


def lines(results: Path) -> dict[str, Detail]:
    """Of the only method on the only data set."""
    ((_, _, found),) = details(records(results))
    return {line.name: line for line in found}


def test_one_seed(results: Path, write: Write) -> None:
    write("ffjord", "moons", **SOUND)
    found = lines(results)
    nll = found["NLL (nats)"]
    assert (nll.value, nll.spread, nll.flags) == ("2.500 ± 0.020", "s.e. over rows", "")
    assert nll.n == "5,000 of 20,000 test rows"
    assert "solver error 1.00e-5" in nll.notes
    assert "dopri5" in nll.notes
    assert "gap 1.00e-2" in found["NLL, own steps"].notes
    assert found["round trip"].value == "1.00e-5"
    assert found["integral"].value == "1.0004 ± 0.0010"
    assert found["p, all bandwidths"].value == "0.310"
    assert found["classifier"].value == "0.510 ± 0.010"
    assert all(line.flags == "" for line in found.values())


def test_seeds_and_groups(results: Path, write: Write) -> None:
    """Plus-minus is over seeds; the standard error over groups stands beside it."""
    for seed, nll in enumerate((2.4, 2.5, 2.9)):
        write("ffjord", "moons", seed, **{**SOUND, "nll": nll, "nll_groups": 100, "nll_se": 0.3})
    ((_, method, _),) = details(records(results))
    assert method == "ffjord: seeds 0, 1, 2"
    nll = lines(results)["NLL (nats)"]
    assert (nll.value, nll.spread) == ("2.60 ± 0.26", "s.d. over 3 seeds")
    assert "each s.e. over 100 groups 0.300" in nll.notes
    assert "if rows were independent 0.0200" in nll.notes


@pytest.mark.parametrize(
    ("change", "mark", "figure", "words"),
    [
        ({"nll_native": 2.7}, "≠", "NLL, own steps", "more than 0.1 nats off"),
        ({"nll_solver_error": 0.02}, "‡", "NLL (nats)", "error not below 0.01 nat"),
        (
            {"nll_solver_error": None, "nll_uncertified": "the solver gave up"},
            "‡",
            "NLL (nats)",
            "error not below 0.01 nat: the solver gave up",
        ),
        ({"round_trip_median": 2e-3}, "↔", "round trip", "misses its start"),
        ({"density_integral": 1.03}, "∫", "integral", "not one"),
        ({"density_integral": 0.97}, "∫", "integral", "not one"),
        ({"p_aggregated": 0.001}, "", "p, all bandwidths", "differs from data"),
        ({"p_c2st": 0.001}, "", "classifier", "differs from data"),
    ],
)
def test_flags(
    results: Path, write: Write, change: dict[str, object], mark: str, figure: str, words: str
) -> None:
    """Each bound that fails is named in the details, and marks the row of the comparison."""
    write("ffjord", "moons", **{**SOUND, **change})
    found = lines(results)
    assert found[figure].flags == words
    assert [name for name, line in found.items() if line.flags] == [figure]
    table = comparison(records(results))
    assert table.groups[0].rows[0].marks == mark
    for form in ("text", "latex", "markdown", "html"):
        page = render(table, form)
        assert not mark or form == "latex" or page.count(mark) >= 2, "in the row and in a footnote"


def test_bounds_that_hold_within_their_own_error(results: Path, write: Write) -> None:
    """An integral of 1.03 +- 0.025 shows nothing."""
    write("ffjord", "moons", **{**SOUND, "density_integral": 1.03, "density_integral_error": 0.025})
    assert lines(results)["integral"].flags == ""
    assert comparison(records(results)).groups[0].rows[0].marks == ""


def test_failed_runs_are_told(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, **SOUND)
    write("ffjord", "moons", 1, status="diverged", reason="the loss is nan at mini-batch 7")
    ((_, method, _),) = details(records(results))
    assert method == "ffjord: seed 0 (1 of 2 runs)"
    assert lines(results)["seed 1"].value == "diverged"
    assert lines(results)["seed 1"].notes == "the loss is nan at mini-batch 7"


def test_seconds_to_the_target(results: Path, write: Write) -> None:
    """The slowest run ends at 2.4: the other was there after 3 s of its 4; another seed apart."""
    curves = {
        write("fast", "moons", **SOUND): [(1, 3.0), (3, 2.4), (4, 2.2)],
        write("slow", "moons", **SOUND): [(10, 2.9), (40, 2.4)],
        write("fast", "moons", 1, **SOUND): [(1, 3.0), (4, 2.6)],
        write("slow", "moons", 1, **SOUND): [(10, 2.9), (40, 2.5)],
    }
    for run, curve in curves.items():
        lines = [
            json.dumps({"minibatch": 1, "loss": 1.0, "seconds": s, "validation_nll": nll})
            for s, nll in curve
        ]
        (results / run / "curve.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = {
        method.partition(":")[0]: {line.name: line for line in lines}
        for _, method, lines in details(records(results), results)
    }
    assert found["fast"]["to the target"].value == "3.00 s, never"
    assert found["slow"]["to the target"].value == "40.0 s, 40.0 s"
    assert "validation NLL 2.40, 2.50" in found["slow"]["to the target"].notes
    for _, _, lines_ in details(records(results)):
        assert "to the target" not in {line.name for line in lines_}


def test_the_page_fits_a_hundred_columns(results: Path, write: Write) -> None:
    for method in ("ffjord", "a-method-with-a-rather-long-name"):
        write(method, "moons", 0, **SOUND)
    page = io.StringIO()
    show(records(results), Console(file=page, width=140, color_system=None))
    text = page.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    assert "a-method-with-a-rather-long-name: seed 0" in text


def test_on_the_command_line(results: Path, write: Write, tmp_path: Path) -> None:
    write("ffjord", "moons", **SOUND)
    call = ["table", "--details", "--results", str(results)]
    shown = CliRunner().invoke(main, call)
    assert shown.exit_code == 0
    assert "s.e. over rows" in shown.output
    written = CliRunner().invoke(main, [*call, "-o", str(tmp_path / "details.txt")])
    assert written.exit_code == 0
    assert (tmp_path / "details.txt").read_text(encoding="utf-8") == shown.output
    wrong = CliRunner().invoke(main, [*call, "-f", "latex"])
    assert wrong.exit_code == 2
    assert "--details" in wrong.output
