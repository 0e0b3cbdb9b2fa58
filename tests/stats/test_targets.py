"""Seconds to a target, on curves whose answer is plain."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records.run_files import TrainingCurve, last_entry, read_curve, target


def curve(*validated: tuple[float, float]) -> TrainingCurve:
    """A curve of validations alone, each of seconds and NLL."""
    rows = [(k + 1.0, seconds, nll) for k, (seconds, nll) in enumerate(validated)]
    validation, none = np.array(rows).reshape(-1, 3), np.empty(0)
    return TrainingCurve(none, none, none, none, validation, (), "", 1)


CURVES = {
    "fast": curve((1.0, 3.0), (2.0, 2.4), (3.0, 2.1)),
    "slow": curve((10.0, 2.9), (20.0, 2.6), (30.0, 2.5)),
    "bad": curve((5.0, 9.0), (10.0, math.inf)),
}


def test_the_slowest_sets_the_target() -> None:
    found = target(CURVES)
    assert found is not None
    assert (found.nll, found.slowest) == (2.5, "slow")
    assert found.seconds == {"fast": 2.0, "slow": 30.0, "bad": None}


def test_a_run_that_did_not_validate_at_its_end_sets_none() -> None:
    stuck = curve((100.0, math.inf))
    found = target({"stuck": stuck, "fast": curve((1.0, 3.0))})
    assert found is not None
    assert (found.nll, found.slowest) == (3.0, "fast")
    assert found.seconds == {"stuck": None, "fast": 1.0}
    assert target({"stuck": stuck, "unborn": curve()}) is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-5, 5)), min_size=1), st.floats(-5, 5))
def test_a_lower_goal_is_never_reached_sooner(
    points: list[tuple[float, float]], goal: float
) -> None:
    known = curve(*sorted(points))
    high, low = known.seconds_to(goal), known.seconds_to(goal - 1)
    assert low is None or (high is not None and high <= low)


LINES = [
    {"minibatch": 1, "seconds": 0.1, "loss": 3.0, "block": 1},
    {"minibatch": 2, "seconds": 0.2, "loss": None, "block": 1, "validation_nll": 2.5},
    {"minibatch": 3, "seconds": 0.3, "loss": 2.0, "block": 2, "validation_nll": None},
]


@pytest.mark.parametrize("ending", ["", "\n", '\n{"minibatch": 4, "seco'])
def test_reading_a_curve(tmp_path: Path, ending: str) -> None:
    text = "\n".join(json.dumps(line) for line in LINES) + ending
    (tmp_path / "curve.jsonl").write_text(text, encoding="utf-8")
    found = read_curve(tmp_path)
    assert found is not None
    assert found.minibatches.tolist() == [1, 2, 3]
    assert found.loss.tolist() == [3.0, math.inf, 2.0]
    assert found.validation.tolist() == [[2, 0.2, 2.5], [3, 0.3, math.inf]]
    assert (found.stage, found.stages) == ("block", (3,))
    assert np.isnan(found.step_cost).all()
    assert last_entry(tmp_path) == LINES[-1]


def test_steps_are_costed_between_validations(tmp_path: Path) -> None:
    timed = {"step_cpu_seconds": 0.06, "yardstick_cpu_seconds": 0.02}
    lines = [{"minibatch": k, "seconds": k, "loss": 1.0} | timed for k in (1, 2)]
    lines[1]["validation_nll"] = 2.0
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (tmp_path / "curve.jsonl").write_text(text, encoding="utf-8")
    found = read_curve(tmp_path)
    assert found is not None
    assert found.step_cost[0] == pytest.approx(3.0)
    assert np.isnan(found.step_cost[1])


@pytest.mark.parametrize("text", [None, "", "no JSON", '{"minibatch": 1}', "[" * 100_000, "3"])
def test_no_curve_that_can_be_read(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "curve.jsonl").write_text(text, encoding="utf-8")
    assert read_curve(tmp_path) is None
    if text is None or not text.startswith("{"):
        assert last_entry(tmp_path) is None
