"""What a comparison shows: rows, cells, marks, headings."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.records.frame import records
from bench.tables.comparison import WIDE, comparison
from bench.tables.render import render

from .conftest import Write
from .shown import cell, notes, row


def test_plus_minus_is_the_deviation_over_seeds(results: Path, write: Write) -> None:
    for seed, nll in enumerate((1.0, 2.0, 3.0)):
        write("ffjord", "moons", seed, nll=nll)
    table = comparison(records(results))
    assert cell(table, "ffjord", "NLL") == "2.0 ± 1.0"
    assert row(table, "ffjord").seeds == "3"
    assert "standard deviation" in notes(table)


def test_a_row_of_one_seed_among_others_is_marked(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0)
    write("ffjord", "moons", 1)
    write("gaussian", "moons", 0)
    table = comparison(records(results))
    assert cell(table, "gaussian", "NLL").endswith("¶")
    assert not cell(table, "ffjord", "NLL").endswith("¶")
    (note,) = [note for note in table.notes if note.mark == "¶"]
    assert "standard error over the 20,000 test rows" in note.text


@pytest.mark.parametrize("status", ["diverged", "timeout", "oom", "error"])
def test_a_wholly_failed_row_says_how(results: Path, write: Write, status: str) -> None:
    write("ffjord", "moons", 0, status=status)
    write("ffjord", "moons", 1, status=status)
    for metrics in (WIDE, ("nll",), ("mmd_m", "train_seconds")):
        table = comparison(records(results), metrics)
        assert row(table, "ffjord").seeds == "0/2"
        words = [str(entry) for entry in row(table, "ffjord").entries]
        assert words.count(status) == 1
        assert set(words) <= {status, "–", "98.6K"}


def test_worse_than_the_gaussian_is_marked(results: Path, write: Write) -> None:
    write("gaussian", "moons", nll=2.0)
    write("ffjord", "moons", nll=2.01)
    write("flow-matching", "moons", nll=1.99)
    # another revision, on which a Gaussian is worse
    write("gaussian", "rings", nll=9.0)
    write("ffjord", "rings", nll=3.0)
    table = comparison(records(results))
    marked = [(g.name, r.label) for g in table.groups for r in g.rows if "†" in r.marks]
    assert marked == [("moons", "ffjord")]
    assert row(table, "ffjord", "moons").verdict == "worse than a Gaussian"
    assert [note.mark for note in table.notes].count("†") == 1


def test_a_solver_error_from_a_hundredth_is_marked(results: Path, write: Write) -> None:
    write("ffjord", "moons", nll_solver_error=0.01)
    write("flow-matching", "moons", nll_solver_error=0.0099)
    table = comparison(records(results))
    assert row(table, "ffjord").marks == "‡"
    assert row(table, "flow-matching").marks == ""


def test_the_verdict_is_corrected_over_seeds(results: Path, write: Write) -> None:
    for seed, p in enumerate((0.03, 0.3)):
        write("ffjord", "moons", seed, p_aggregated=p, p_m=0.04, p_1=0.9)
        write("flow-matching", "moons", seed, p_aggregated=0.02 if p < 0.1 else p)
    table = comparison(records(results))
    # Holm: twice the smaller of two p-values
    assert cell(table, "ffjord", "samples vs data") == "no difference (p = 0.06)"
    assert cell(table, "flow-matching", "samples vs data") == "differ (p = 0.04)"


def test_a_test_that_disagrees_is_named(results: Path, write: Write) -> None:
    """Of four tests: 4 × 0.012 is at most 0.05, and 4 × 0.013 is not."""
    for method, p in (("ffjord", 0.012), ("jko", 0.013)):
        write(method, "moons", p_aggregated=0.6, p_m=0.5, p_1=p, p_c2st=0.7)
    table = comparison(records(results))
    assert cell(table, "ffjord", "samples vs data") == "no difference (p = 0.6); differ by MMD-1"
    assert cell(table, "jko", "samples vs data") == "no difference (p = 0.6)"
    assert "MMD-1 (ffjord on moons)" in notes(table)


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_the_verdict_fits_every_form(results: Path, write: Write, form: str) -> None:
    for method in ("rectified-flow", "jko"):
        write(method, "moons", nll=-147.21, nll_se=0.9, p_aggregated=0.6, p_1=0.001, p_m=0.001)
    shown = render(comparison(records(results), notes="short"), form)
    words = shown.replace("<td", " <td").split()
    assert "difference" in words
    assert form != "text" or max(map(len, shown.splitlines())) <= 80
    assert form != "text" or shown.count("rectified-flow") == 1, "one panel"


def test_the_heading_says_what_the_data_are(results: Path, write: Write) -> None:
    write("ffjord", "rings", dataset__entropy=1.234, dataset__d=2)
    write("ffjord", "power", dataset__kind="subset", dataset__subset=True, dataset__d=6)
    write("ffjord", "bsds300", dataset__kind="redrawn", dataset__d=63)
    write("ffjord", "gas", dataset__kind="whole", dataset__d=8)
    table = comparison(records(results))
    facts = {group.name: group.facts for group in table.groups}
    end = ("budget equal (300 × 1,000 rows)",)
    assert {group.revision for group in table.groups} == {"revision 01234567"}
    assert facts["rings"] == ("d = 2", "best attainable NLL 1.23", *end)
    assert facts["power"] == ("d = 6", "a subset", *end)
    assert facts["bsds300"] == ("d = 63", "redrawn", *end)
    assert facts["gas"] == ("d = 8", *end)
    assert "power: a subset of the real data" in notes(table)
    assert "bsds300: drawn anew" in notes(table)


def test_by_run_every_run_has_a_row(results: Path, write: Write) -> None:
    names = {write("ffjord", "moons", seed, nll=float(seed)) for seed in (0, 1)}
    table = comparison(records(results), ("nll",), by_run=True)
    assert {r.label for r in table.groups[0].rows} == names
    assert [r.seeds for r in table.groups[0].rows] == ["0", "1"]


def test_an_unknown_metric_is_refused(results: Path, write: Write) -> None:
    write("ffjord", "moons")
    with pytest.raises(UsageError, match=r"Unknown column 'mmd_n1'.*mmd_m"):
        comparison(records(results), ("mmd_n1",))


def test_a_statistic_has_no_mark_of_its_own_test(results: Path, write: Write) -> None:
    """Whether samples differ is the verdict's to say; thresholds and p-values stand beside it."""
    write("ffjord", "moons", 0, mmd_m_u=6.0e-5, tau_m_u=6.1e-5, p_m=0.4)
    table = comparison(records(results), ("mmd_m", "mmd_m_u", "tau_m_u"))
    assert cell(table, "ffjord", "MMD-m, U") == "6.00e-5"
    assert cell(table, "ffjord", "MMD-m") == "4.00e-4"


def test_of_several_floors_the_best_one_counts(results: Path, write: Write) -> None:
    write("gaussian", "moons", nll=2.0)
    write("gaussian", "moons", nll=3.0, budget__minibatches=10)
    write("ffjord", "moons", nll=2.5)
    table = comparison(records(results))
    assert row(table, "ffjord").marks == "†"
    assert row(table, "gaussian (300 mini-batches)").marks == ""
    assert row(table, "gaussian (10 mini-batches)").marks == ""
