"""Each rule by numbers: exact, within the spread of seeds, controls, bounds, costs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from bench.errors import NothingMeasured
from bench.gate.findings import ALL, Comparison, Rules, compare
from bench.gate.measured import Measured, watched

from .made import ENVIRONMENT, OFFSETS, baseline, cell, elsewhere, measured, with_cell


def worse(comparison: Comparison) -> list[tuple[str, str]]:
    return [(f.where, f.column) for f in comparison.with_verdict("worse")]


def test_equal_numbers_are_the_same() -> None:
    found = compare(measured(2), baseline())
    assert found.rules.exact
    assert not found.worse
    assert {f.verdict for f in found.findings} == {"same"}
    assert len(found.findings) == 4 * 11
    assert found.cells == (4, 4)


@pytest.mark.parametrize("change", [1e-15, 1e-3])
def test_on_the_same_arithmetic_the_last_bit_counts(change: float) -> None:
    value = 1 + OFFSETS[0] + 2.0 + 2.0  # any number: both runs have it
    now = measured(1, {"nll": value * (1 + change)})
    before = measured(1, {"nll": value})
    (finding,) = compare(now, before).with_verdict("worse")
    assert (finding.where, finding.column, finding.code) == ("ffjord on moons", "nll", "exact")
    assert finding.change == pytest.approx(value * change, rel=0.2)
    assert finding.tolerance == 0


def test_better_is_a_finding_and_no_failure() -> None:
    now = measured(2, {"mmd_m": 1e-4})
    found = compare(now, baseline())
    assert not found.worse
    (finding,) = found.with_verdict("better")
    assert finding.column == "mmd_m"
    assert finding.was == pytest.approx(4e-4 * 1.05)
    assert finding.now == 1e-4


def test_elsewhere_the_tolerance_is_students_quantile_of_the_spread() -> None:
    """t(7) at 0.975 is 2.3646 (a table's); the builder's spread is 0.1, by hand."""
    assert np.std(OFFSETS, ddof=1) == pytest.approx(0.1)
    rules = Rules(exact=False, comparisons=2)
    before = cell("jko", "moons", 8)
    tolerance = 2.3646 * 0.1 * math.sqrt(2 / 2) + 2 * 8e-5
    for above, verdict in ((0.99, "same"), (1.01, "worse"), (-0.99, "same"), (-1.01, "better")):
        now = cell("jko", "moons", 2, at=above * tolerance)
        finding = rules.judge("nll", watched()["nll"], now, before)
        assert finding is not None
        assert finding.verdict == verdict, above
        assert finding.tolerance == pytest.approx(tolerance, rel=1e-4)
        assert finding.spread == pytest.approx(0.1)


def test_a_clean_tree_elsewhere_is_seldom_found_worse() -> None:
    """At worst runs are independent elsewhere; then at most 5 % of checks are false alarms."""
    rng, alarms, checks = np.random.default_rng(0), 0, 600
    for _ in range(checks):
        before, now = measured(8), measured(2)
        for k in range(4):
            for side, seeds in ((before, 8), (now, 2)):
                nlls, logs = rng.standard_normal((seeds, 2)).T
                figures = {"nll": nlls.tolist(), "mmd_m": np.exp(logs / 9).tolist()}
                changed = with_cell(side, k, figures=figures)
                before, now = (changed, now) if side is before else (before, changed)
        alarms += compare(elsewhere(now), before).worse
    assert 0.01 <= alarms / checks <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / checks)


def test_one_seed_has_no_spread_so_any_change_is_tolerated() -> None:
    now = elsewhere(measured(1, {"nll": 99.0}))
    found = compare(now, measured(1))
    assert not found.worse
    nlls = [f for f in found.findings if f.column == "nll"]
    assert {f.tolerance for f in nlls} == {math.inf}


@pytest.mark.parametrize("place", ["here", "elsewhere"])
@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("tau_m", 7e-3, "control"),
        ("tau_m", 5e-3, "control"),
        ("minibatches", 50, "control"),
        ("integral_error", 0.06, "bound"),
        ("nll_solver_error", 0.02, "bound"),
        ("nfe_sample", 61, "ratio"),
    ],
)
def test_what_is_worse_on_any_machine(place: str, name: str, value: float, code: str) -> None:
    now = measured(2, {name: value})
    now = now if place == "here" else elsewhere(now)
    found = compare(now, baseline())
    assert worse(found) == [("ffjord on moons", name)]
    assert found.findings[0].code == code


@pytest.mark.parametrize("value", [0.0, -1e-9])
def test_an_impossible_number_is_worse(value: float) -> None:
    found = compare(measured(2, {"mmd_m": value}), baseline())
    assert worse(found) == [("ffjord on moons", "mmd_m")]
    assert found.findings[0].code == "impossible"


@pytest.mark.parametrize("constant", [0.0, -3.0])
def test_a_metric_that_became_constant_is_worse(constant: float) -> None:
    """An NLL of 0 where it was 2 or more would pass for better."""
    now = measured(2)
    for k, each in enumerate(now.cells):
        now = with_cell(now, k, figures={**each.figures, "nll": [constant] * 2})
    found = compare(now, baseline())
    assert worse(found) == [(ALL, "nll")]
    assert (found.findings[0].code, found.findings[0].now) == ("constant", constant)


@pytest.mark.parametrize(
    ("ratio", "verdict", "strict"),
    [
        (2.0, "worse", "worse"),
        (1.51, "worse", "worse"),
        (1.49, "noticed", "worse"),
        (1.21, "noticed", "worse"),
        (1.19, "same", "same"),
        (0.7, "better", "better"),
    ],
)
def test_a_step_counts_from_half_as_much_again(ratio: float, verdict: str, strict: str) -> None:
    for strict_cost, wanted in ((False, verdict), (True, strict)):
        now = measured(2, {"step": 3.0 * ratio})
        found = compare(now, baseline(), strict_cost=strict_cost)
        (finding,) = (
            f for f in found.findings if f.column == "step" and f.where == "ffjord on moons"
        )
        assert finding.verdict == wanted
        assert finding.change == pytest.approx(ratio)


def test_memory_counts_only_with_strict_cost() -> None:
    now = measured(2, {"memory": 2.4})
    assert not compare(now, baseline()).worse
    assert compare(now, baseline()).with_verdict("noticed")[0].change == 2.0
    assert worse(compare(now, baseline(), strict_cost=True)) == [("ffjord on moons", "memory")]


def test_a_count_is_exact_on_the_same_arithmetic_and_has_a_margin_elsewhere() -> None:
    now = measured(2, {"nfe_sample": 42})
    (finding,) = compare(now, baseline()).with_verdict("noticed")
    assert finding.column == "nfe_sample"
    assert not compare(elsewhere(now), baseline()).with_verdict("noticed")


def slower(now: Measured, factor: float) -> Measured:
    for k, each in enumerate(now.cells):
        steps = [cost * factor for cost in each.values("step").values()]
        now = with_cell(now, k, figures={**each.figures, "step": steps})
    return now


def test_elsewhere_what_all_steps_share_is_attributed_to_the_machine() -> None:
    found = compare(elsewhere(slower(measured(2), 1.7)), baseline())
    assert not found.worse
    assert found.rules.machine == pytest.approx(1.7)
    found = compare(elsewhere(slower(measured(2, {"step": 6.0}), 1.7)), baseline())
    assert worse(found) == [("ffjord on moons", "step")]
    assert found.findings[0].change == pytest.approx(2.0)
    assert compare(slower(measured(2), 1.7), baseline()).worse


def test_elsewhere_a_few_cells_can_not_separate_the_machine_from_the_method() -> None:
    few = dataclasses.replace(
        measured(2, {"step": 9.0}), cells=measured(2, {"step": 9.0}).cells[:2]
    )
    before = dataclasses.replace(measured(8), cells=measured(8).cells[:2])
    found = compare(elsewhere(few), before)
    assert found.rules.machine is None
    assert not found.worse
    assert found.with_verdict("noticed")[0].change == pytest.approx(3.0)


@pytest.mark.parametrize("status", ["diverged", "timeout", "oom", "error"])
def test_a_run_that_failed_is_worse(status: str) -> None:
    now = with_cell(measured(2), 1, failed={1: f"seed 1: {status}: a reason"})
    found = compare(now, baseline())
    assert worse(found) == [("ffjord on moons", "")]
    assert found.findings[0].code == "run-failed"
    assert status in found.findings[0].reason


def test_a_number_that_is_gone_is_worse() -> None:
    found = compare(measured(2, {"nll": None}), baseline())
    assert worse(found) == [("ffjord on moons", "nll")]
    assert found.findings[0].code == "missing-number"


def test_a_column_that_the_baseline_lacks_is_no_finding() -> None:
    before = baseline()
    for k, each in enumerate(before.cells):
        figures = {name: row for name, row in each.figures.items() if name != "mmd_m"}
        before = with_cell(before, k, figures=figures)
    found = compare(measured(2), before)
    assert "mmd_m" not in {f.column for f in found.findings}
    assert {f.verdict for f in found.findings} == {"same"}
    assert found.uncompared == ("mmd_m",)
    found = compare(measured(2, {"nll_native": 2.0}), baseline())
    assert found.uncompared == ("nll_native",)


def test_seeds_that_the_baseline_has_no_value_of_are_not_compared() -> None:
    rows = {"tau_m": [6e-3, None] + [6e-3] * 6}
    before = with_cell(baseline(), 1, figures=baseline().cells[1].figures | rows)
    assert not compare(measured(2), before).worse
    now = with_cell(measured(2), 1, figures=measured(2).cells[1].figures | {"tau_m": [None, 6e-3]})
    assert [f.code for f in compare(now, before).with_verdict("worse")] == ["missing-number"]


def test_a_number_that_one_cell_of_the_baseline_lacks_is_new() -> None:
    before = measured(8, {"mmd_m": None})
    found = compare(measured(2), before)
    assert not found.worse
    (finding,) = found.with_verdict("new")
    assert (finding.where, finding.column, finding.code) == (
        "ffjord on moons",
        "mmd_m",
        "new-number",
    )


def test_a_cell_that_is_missing_is_worse_and_one_that_is_new_is_not() -> None:
    now = measured(2)
    fewer = dataclasses.replace(now, cells=now.cells[1:])
    assert worse(compare(fewer, baseline())) == [("ffjord on digits", "")]
    before = dataclasses.replace(measured(8), cells=measured(8).cells[1:])
    found = compare(now, before)
    assert not found.worse
    assert [f.where for f in found.with_verdict("new")] == ["ffjord on digits"]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("minibatches", 50, "minibatches"),
        ("revision", "dddddddddddd", "revision"),
        ("seeds", [98, 99], "no-common-seed"),
    ],
)
def test_what_can_not_be_compared_does_not_pass(field: str, value: Any, code: str) -> None:
    now = with_cell(measured(2), 1, **{field: value})
    found = compare(now, baseline())
    assert worse(found) == [("ffjord on moons", "")]
    assert found.findings[0].code == code


def test_other_evaluation_settings_do_not_pass() -> None:
    now = dataclasses.replace(measured(2), judge={"solver": "dopri5", "test_rows": 500})
    found = compare(now, baseline())
    assert [f.code for f in found.with_verdict("worse")] == ["judge"] * 4
    assert "test_rows 500, not 1000" in found.findings[0].reason


def test_other_sources_and_hyper_parameters_are_notes() -> None:
    config = {"learning_rate": 0.05, "width": 64}
    now = with_cell(measured(2), 1, config=config, version="eeeeeeeeeeee")
    assert compare(now, baseline()).notes == ("ffjord on moons: learning_rate 0.05, not 0.005",)
    now = with_cell(measured(2), 1, version="eeeeeeeeeeee")
    assert "eeeeeeeeeeee" in compare(now, baseline()).notes[0]


def test_nothing_in_common_is_nothing_measured() -> None:
    now = dataclasses.replace(measured(2), cells=(cell("mine", "moons", 2),))
    with pytest.raises(NothingMeasured) as error:
        compare(now, baseline())
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"threads": 2},
        {"cpu_capability": "AVX512"},
        {"arithmetic": "ba9876543210"},
        {"arithmetic": None},
        {"device": "cuda"},
        {"packages": {**ENVIRONMENT.packages, "torch": "2.14.0"}},
    ],
)
def test_where_a_comparison_is_exact(changed: dict[str, Any]) -> None:
    now = measured(2, {"nll": 2.0 + 1 + 1e-9})
    other = dataclasses.replace(now, environment=dataclasses.replace(ENVIRONMENT, **changed))
    assert not compare(other, baseline()).rules.exact
    assert compare(other, baseline(), "exact").rules.exact
    alike = dataclasses.replace(ENVIRONMENT, cpu="another", python="3.12.0", platform="else")
    assert compare(dataclasses.replace(now, environment=alike), baseline()).rules.exact
    assert not compare(now, baseline(), "seeds").rules.exact
