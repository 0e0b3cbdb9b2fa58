"""Seconds to a target, on curves whose answer is plain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records.curve import reached, read_curve, target

CURVES = {
    "fast": [(1.0, 3.0), (2.0, 2.4), (3.0, 2.1)],
    "slow": [(10.0, 2.9), (20.0, 2.6), (30.0, 2.5)],
    "bad": [(5.0, 9.0), (10.0, None)],
}


def test_the_slowest_sets_the_target() -> None:
    found = target(CURVES)
    assert found is not None
    assert (found.nll, found.slowest) == (2.5, "slow")
    assert found.seconds == {"fast": 2.0, "slow": 30.0, "bad": None}


def test_a_run_that_did_not_validate_at_its_end_sets_none() -> None:
    found = target({"stuck": [(100.0, None)], "fast": [(1.0, 3.0)]})
    assert found is not None
    assert (found.nll, found.slowest) == (3.0, "fast")
    assert found.seconds == {"stuck": None, "fast": 1.0}
    assert target({"stuck": [(100.0, None)], "unborn": []}) is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-5, 5)), min_size=1), st.floats(-5, 5))
def test_a_lower_goal_is_never_reached_sooner(
    points: list[tuple[float, float]], goal: float
) -> None:
    curve = sorted(points)
    high, low = reached(curve, goal), reached(curve, goal - 1)
    assert low is None or (high is not None and high <= low)


@pytest.mark.parametrize("ending", ["", "\n"])
def test_reading_a_curve(tmp_path: Path, ending: str) -> None:
    lines = [
        {"minibatch": 1, "seconds": 0.1, "loss": 3.0},
        {"minibatch": 2, "seconds": 0.2, "loss": 2.0, "validation_nll": 2.5},
        {"minibatch": 3, "seconds": 0.3, "loss": 2.0, "validation_nll": None},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + ending
    (tmp_path / "curve.jsonl").write_text(text, encoding="utf-8")
    assert read_curve(tmp_path) == [(0.2, 2.5), (0.3, None)]
    assert read_curve(tmp_path / "nowhere") == []
