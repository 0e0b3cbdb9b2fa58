"""A run's curve as a small drawing, and how far a run under way has come."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench.report import curve as module
from bench.report.curve import HEIGHT, MARGIN, WIDTH, drawings
from bench.report.under_way import said, tail, under_way

from .conftest import curve


def test_points_lie_where_their_values_are(tmp_path: Path) -> None:
    curve(tmp_path, [4.0, 2.0, 0.0, 8.0], every=2)
    loss, validation = drawings(tmp_path)
    low, high = HEIGHT - MARGIN, MARGIN
    across = [MARGIN + (WIDTH - 2 * MARGIN) * i / 4 for i in (1, 2, 3, 4)]
    heights = [(low + high) / 2, low + (high - low) / 4, low, high]
    expected = " ".join(f"{x:g},{y:g}" for x, y in zip(across, heights, strict=True))
    assert loss.paths == (expected,)
    assert (str(loss.low), str(loss.high), str(loss.last)) == ("0.00", "8.00", "8.00")
    assert (loss.dots, loss.note, loss.end) == ((), "each mini-batch", "4")
    assert validation.dots == ((across[1], low), (across[3], high))


def test_what_is_not_finite_breaks_the_line_and_a_cut_line_is_passed_over(tmp_path: Path) -> None:
    curve(tmp_path, [1.0, 2.0, None, 2.0, 3.0])
    with open(tmp_path / "curve.jsonl", "a") as file:
        file.write('{"minibatch": 6, "lo')
    loss, _ = drawings(tmp_path)
    assert [len(path.split()) for path in loss.paths] == [2, 2]
    assert loss.end == "5"


def test_a_long_curve_is_thinned_to_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POINTS", 2)
    curve(tmp_path, [1.0, 3.0, 5.0, 9.0], every=99)
    (loss,) = drawings(tmp_path)
    assert loss.note == "a point is the mean of 2 mini-batches"
    assert (str(loss.low), str(loss.high)) == ("2.00", "7.00")


def test_a_start_far_off_does_not_press_the_rest_flat(tmp_path: Path) -> None:
    curve(tmp_path, [1e6, *(1 + i / 100 for i in range(40))], every=99)
    (loss,) = drawings(tmp_path)
    heights = [float(point.split(",")[1]) for point in loss.paths[0].split()]
    assert heights[0] == MARGIN
    assert max(heights[1:]) - min(heights[1:]) > HEIGHT / 3
    assert "drawn at the upper edge" in loss.note
    assert str(loss.high) == "1.00e6"


@pytest.mark.parametrize("content", [None, "", "no json\n[1]\n", '{"loss": 1}\n'])
def test_no_curve_no_drawing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "curve.jsonl").write_text(content)
    assert drawings(tmp_path) == []


def test_a_run_under_way_says_how_far_it_is(tmp_path: Path) -> None:
    for name in ("b.part", "a.part", "done", "c.replaced"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.part" / "curve.jsonl").write_text('{"minibatch": 41}\n{"minibatch": 42}\n{"m')
    log = "t mini-batch 40 of 5000: loss 1, validation_nll -2.5\n"
    (tmp_path / "a.part" / "log.txt").write_text(log + "t two-sample tests\n")
    first, second = under_way(tmp_path)
    assert (first.run, first.minibatch, first.total) == ("a", 42, 5000)
    assert first.note == "validation NLL -2.50; two-sample tests"
    assert said(first) == "42 of 5,000 mini-batches"
    assert (second.run, said(second), second.note) == ("b", "0 mini-batches", "")
    assert list(under_way(tmp_path / "nowhere")) == []


def test_a_run_that_says_nothing_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.part").mkdir()
    then = time.time() - 3600
    os.utime(tmp_path / "a.part", (then, then))
    (run,) = under_way(tmp_path)
    assert run.note == "nothing new for 1 h: a long step, or it was cut off"


def test_the_tail_of_a_file_has_whole_lines(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("first\nsecond\nthird\n")
    assert tail(tmp_path / "log", 9) == "third\n"
    assert tail(tmp_path / "log") == "first\nsecond\nthird\n"
    assert tail(tmp_path / "none") == ""
