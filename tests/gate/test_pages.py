"""The pages of a check: what changed, by how much, against which tolerance."""

from __future__ import annotations

import dataclasses

from bench.gate.findings import compare
from bench.gate.pages import page

from .made import baseline, elsewhere, measured, with_cell


def line(shown: str, *words: str) -> str:
    (found,) = (row for row in shown.splitlines() if all(word in row for word in words))
    return found


def test_a_clean_check_names_its_baseline() -> None:
    shown = page(compare(measured(2), baseline()))
    assert shown.splitlines()[0] == "Nothing is worse (4 of 4 cells compared)"
    assert "2026-11-24, commit cccccccccccc" in shown
    assert "Findings: 44 same." in shown
    assert len(page(compare(measured(2), baseline()), everything=True).splitlines()) > 44


def test_a_row_has_change_and_tolerance() -> None:
    now = measured(2, {"tau_m": 7.5e-3, "step": 6.6})
    shown = page(compare(now, baseline()))
    assert shown.splitlines()[0] == "Worse in ffjord on moons (4 of 4 cells compared)"
    assert line(shown, "τ_m").split()[:4] == ["ffjord", "on", "moons", "τ_m"]
    assert line(shown, "τ_m").endswith("worse")
    assert all(part in line(shown, "τ_m") for part in ("6.00e-3", "7.50e-3", "+1.50e-3", "exact"))
    row = line(shown, "step cost", "moons")
    assert all(part in row for part in ("3.00", "6.60", "× 2.20", "× 1.50", "worse"))


def test_elsewhere_the_change_is_in_standard_deviations_too() -> None:
    found = compare(elsewhere(measured(2, {"nll": 9.0})), baseline())
    shown = page(found)
    (nll,) = (f for f in found.findings if f.column == "nll" and f.verdict == "worse")
    assert f"({nll.change / 0.1:+.1f} s.d.)" in line(shown, "ffjord on moons", " NLL ")
    assert "arithmetic ba9876543210, not 0123456789ab" in shown
    assert "1.00 times the baseline's" in shown


def test_failures_and_changed_settings_are_sentences() -> None:
    failed = {0: "seed 0: diverged: the loss is nan | at 3"}
    now = with_cell(measured(2), 1, failed=failed, config={"learning_rate": 0.05, "width": 64})
    found = compare(now, baseline())
    assert "worse: ffjord on moons: seed 0: diverged: the loss is nan | at 3" in page(found)
    assert "ffjord on moons: learning_rate 0.05, not 0.005." in page(found)
    shown = page(found, "markdown")
    assert r"- **worse**: ffjord on moons: seed 0: diverged: the loss is nan \| at 3" in shown
    assert r"learning\_rate 0.05, not 0.005" in shown


def test_the_comment_is_a_table_of_markdown() -> None:
    shown = page(compare(measured(2, {"mmd_m": 9e-4, "memory": 1.5}), baseline()), "markdown")
    lines = shown.splitlines()
    assert lines[0] == "### `bench check`: worse in ffjord on moons (4 of 4 cells compared)"
    table = [row for row in lines if row.startswith("|")]
    assert table[0] == "| cell | number | baseline | now | change | tolerance |  |"
    assert {row.count("|") for row in table} == {8}
    assert table[2].endswith("| **worse** |")
    assert table[3].endswith("| costs more |")
    assert len(table) == 4


def test_the_page_says_which_rule_was_asked_for() -> None:
    found = compare(elsewhere(measured(2)), baseline(), "exact")
    assert "arithmetic ba9876543210, not 0123456789ab" in page(found)
    few = dataclasses.replace(measured(2), cells=measured(2).cells[:1])
    before = few
    shown = page(compare(few, before, "seeds"))
    assert "step" in shown
    assert "too few cells" in shown
