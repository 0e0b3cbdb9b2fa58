"""The times that are shown while runs go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.launch.progress import StudyClock, display
from bench.records.spec import RunSpec

ONE = RunSpec(
    method="gaussian",
    version="0123456789ab",
    config={},
    dataset="own.csv",
    label="own.csv",
    revision="ba9876543210",
    minibatches=10,
    batch_size=5,
    seed=0,
)
TWO, THREE = replace(ONE, seed=1), replace(ONE, method="jko")

START = {"event": "start"}
END = {"event": "end", "status": "ok"}


def step(minibatch: int) -> dict[str, object]:
    return {"event": "step", "minibatch": minibatch, "total": 10, "loss": 1.0}


class Time:
    """A clock that is set by hand."""

    at = 0.0

    def __call__(self) -> float:
        return self.at


def test_the_time_left_needs_a_time_for_every_run() -> None:
    now = Time()
    clock = StudyClock([ONE, TWO, THREE], [None, None, 50.0], now)
    assert clock.left() is None
    clock.update(ONE, START)
    now.at = 20.0
    clock.update(ONE, END)
    assert clock.left() == 20 + 50, "one at a time, and the second seed as the first"
    clock.update(TWO, START)
    clock.update(THREE, START)
    now.at = 30.0
    assert clock.left() == 40, "two at a time; the longer one decides"
    clock.update(TWO, END)
    clock.update(THREE, END)
    assert clock.left() == 0


def test_a_failed_run_says_nothing_of_the_others_time() -> None:
    clock = StudyClock([ONE, TWO], now=Time())
    clock.update(ONE, START)
    clock.update(ONE, END | {"status": "diverged"})
    assert clock.left() is None


def test_the_rate_is_counted_anew_when_a_run_resumes() -> None:
    now = Time()
    clock = StudyClock([ONE], now=now)
    clock.update(ONE, START)
    assert clock.rate(ONE, step(2)) == 0
    now.at = 2.0
    assert clock.rate(ONE, step(6)) == 2
    assert clock.rate(ONE, step(3)) == 0
    now.at = 3.0
    assert clock.rate(ONE, step(8)) == 5


def test_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.launch.progress.QUIET", 0.0)
    with display([ONE, TWO], [60.0, 60.0]) as show:
        for event in (START, step(1), step(2), {"event": "stage", "stage": "evaluating"}, END):
            show(ONE, event)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert "inf" not in "".join(lines)
    assert "left" not in lines[1], "one step tells no rate"
    assert "left" in lines[2]
    assert "(1/2, about 1 s left)" in lines[4]
