"""What the footnotes of a comparison say: how it was measured, what is missing, what differs."""

from __future__ import annotations

from pathlib import Path

from bench.records.frame import records
from bench.tables.comparison import WIDE, comparison

from .conftest import Write
from .shown import cell, notes, row


def test_of_one_seed_it_is_the_standard_error(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, nll=2.0, nll_se=0.025)
    table = comparison(records(results))
    assert cell(table, "ffjord", "NLL") == "2.000 ± 0.025"
    assert "standard error over the 20,000 test rows" in notes(table)
    assert "deviation" not in notes(table)


def test_failed_seeds_are_counted_and_named(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, nll=1.0)
    write("ffjord", "moons", 1, status="timeout", reason="no end after 60 s")
    write("ffjord", "moons", 2, nll=3.0)
    table = comparison(records(results))
    assert row(table, "ffjord").seeds == "2/3"
    assert cell(table, "ffjord", "NLL") == "2.0 ± 1.4"
    assert "Failed: ffjord on moons, seed 1, timeout: no end after 60 s." in notes(table)


def test_no_floor_is_said(results: Path, write: Write) -> None:
    write("ffjord", "moons")
    write("ffjord", "rings")
    write("gaussian", "rings")
    (note,) = [n.text for n in comparison(records(results)).notes if "fitted Gaussian" in n.text]
    assert "moons" in note
    assert "rings" not in note


def test_a_threshold_that_is_all_floor_is_said(results: Path, write: Write) -> None:
    # 2/n is 2e-4; where chance moves U by 4.9 % of it V is blind, by 5.1 % it is not
    write("ffjord", "moons", tau_1=2.1e-4, tau_1_u=2e-4 * 0.049, tau_m=2.1e-4, tau_m_u=2e-4 * 0.051)
    table = comparison(records(results), ("mmd_m", "tau_m", "mmd_1", "tau_1"))
    assert cell(table, "ffjord", "τ_1") == "2.10e-4‖"
    assert cell(table, "ffjord", "τ_m") == "2.10e-4"
    (note,) = [note.text for note in table.notes if note.mark == "‖"]
    assert note.startswith("MMD-1 ")
    assert "moons" in note
    wide = comparison(records(results), WIDE)
    (reference,) = wide.groups[0].references
    filled = [str(entry) for entry in reference.entries if str(entry)]
    assert filled == ["2.10e-4", "2.10e-4‖"]


def test_revisions_stand_apart_and_are_told(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, nll=1.0)
    write("ffjord", "moons", 1, nll=9.0, dataset__revision="ffffffffffff")
    table = comparison(records(results))
    assert [group.revision for group in table.groups] == ["revision 01234567", "revision ffffffff"]
    assert [str(group.rows[0].entries[0]) for group in table.groups] == [
        "1.000 ± 0.010",
        "9.000 ± 0.010",
    ]
    assert "moons: 2 revisions of the data, which can't be compared." in notes(table)


def test_versions_are_told(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, nll=1.0)
    write("ffjord", "moons", 1, nll=9.0, method__version="bbbbbbbbbbbb")
    shown = notes(comparison(records(results)))
    assert "ffjord: 2 versions of its code (aaaaaaaaaaaa, bbbbbbbbbbbb)." in shown


def test_numbered_rows_are_explained_and_named_ones_are_not(results: Path, write: Write) -> None:
    plain = {"width": 256, "depth": 3, "scale": 1.0, "clip": 0}
    write("ffjord", "moons", method__config=plain)
    write("ffjord", "moons", method__config={"width": 8, "depth": 2, "scale": 2.0, "clip": 1})
    write("jko", "moons", method__config={"blocks": 4})
    write("jko", "moons", method__config={"blocks": 5})
    table = comparison(records(results))
    found = {r.label for r in table.groups[0].rows}
    assert found == {"ffjord (1)", "ffjord (2)", "jko (blocks=4)", "jko (blocks=5)"}
    shown = notes(table)
    assert "On moons, ffjord (1): width=" in shown
    assert "width=256, depth=3, scale=1.0, clip=0" in shown
    assert "width=8, depth=2, scale=2.0, clip=1" in shown
    assert "blocks" not in shown


def test_different_budgets_show_their_mini_batches(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0)
    write("gaussian", "moons", 0, budget__minibatches=600, training__minibatches=600)
    table = comparison(records(results))
    assert cell(table, "ffjord", "mini-batches") == "300"
    assert cell(table, "gaussian", "mini-batches") == "600"
    assert "moons: budgets differ" in notes(table)


def test_the_notes_say_how_it_was_measured(results: Path, write: Write) -> None:
    write("ffjord", "moons", 3)
    shown = notes(comparison(records(results), WIDE))
    for part in (
        *("20,000 test rows", "dopri5", "rtol 1e-05", "atol 1e-05", "float64"),
        *(
            "two samples of 10,000",
            "1,000 permutations",
            "Seeds: 3.",
            "cpu (A processor, 1 thread)",
        ),
    ):
        assert part in shown


def test_seeds_on_different_hardware_are_marked(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0)
    write("ffjord", "moons", 1, environment__threads=8)
    write("gaussian", "moons", 0)
    write("gaussian", "moons", 1)
    table = comparison(records(results))
    assert row(table, "ffjord").marks == "§"
    assert row(table, "gaussian").marks == ""
    assert [note.mark for note in table.notes].count("§") == 1


def test_repeated_seeds_are_told(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0)
    write("ffjord", "moons", 0, started="2026-01-02T00:00:00+00:00")
    assert "1 earlier run of the same seeds" in notes(comparison(records(results)))
