"""A run's curve as a small picture, and how far a run in progress has come."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import pytest

from bench.report.pictures import Kept, NotDrawn, Picture, curves
from bench.report.runs import in_progress, tail

from .conftest import curve


def drawn(folder: Path) -> Picture:
    """The picture of a run's curve, which must be there."""
    found = curves(folder, {})
    assert isinstance(found, Picture)
    return found


def test_a_curve_is_a_drawing_with_its_last_values_in_words(tmp_path: Path) -> None:
    curve(tmp_path, [4.0, 2.0, 0.5, 8.0], every=2)
    picture = drawn(tmp_path)
    assert picture.source.startswith("data:image/svg+xml;base64,")
    assert picture.alt == "At mini-batch 4: loss 8, validation NLL (nats) 4."


def test_values_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    curve(tmp_path, [1.0, 2.0, None, 2.0, 3.0])
    with open(tmp_path / "curve.jsonl", "a") as file:
        file.write('{"minibatch": 6, "lo')
    assert drawn(tmp_path).alt.startswith("At mini-batch 5: loss 3, ")
    curve(tmp_path, [None, None], every=99)
    os.utime(tmp_path, (1, 1))
    assert curves(tmp_path, {}) is None


def test_a_curve_is_drawn_once(tmp_path: Path) -> None:
    kept: Kept = {}
    curve(tmp_path, [4.0, 2.0])
    assert curves(tmp_path, kept) is curves(tmp_path, kept)


def test_the_paths_of_long_curves_are_short(tmp_path: Path) -> None:
    sizes = []
    for n in (1_000, 10_000):
        curve(tmp_path, [1 + i % 7 / 7 for i in range(n)], every=10**6)
        sizes.append(len(base64.b64decode(drawn(tmp_path).source.partition(",")[2])))
    assert sizes[1] < 1.2 * sizes[0]


@pytest.mark.parametrize("content", [None, "", "no json\n[1]\n", '{"loss": 1}\n'])
def test_without_a_curve_there_is_no_picture(tmp_path: Path, content: str | None) -> None:
    """One that can't be read is named."""
    if content is not None:
        (tmp_path / "curve.jsonl").write_text(content)
    found = curves(tmp_path, {})
    assert isinstance(found, NotDrawn) if content else found is None


def test_a_run_in_progress_says_how_far_it_is(tmp_path: Path) -> None:
    for name in ("b.part", "a.part", "done", "c.replaced"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.part" / "curve.jsonl").write_text('{"minibatch": 41}\n{"minibatch": 42}\n{"m')
    log = "t mini-batch 40 of 5000: loss 1, validation_nll -2.5\n"
    (tmp_path / "a.part" / "log.txt").write_text(log + "t two-sample tests\n")
    first, second = in_progress(tmp_path)
    assert (first.run, first.minibatch, first.total) == ("a", 42, 5000)
    assert first.note == "validation NLL -2.50; two-sample tests"
    assert str(first) == "42 of 5,000 mini-batches"
    assert (second.run, str(second), second.note) == ("b", "0 mini-batches", "")
    assert list(in_progress(tmp_path / "nowhere")) == []


def test_a_run_without_output_is_marked(tmp_path: Path) -> None:
    (tmp_path / "a.part").mkdir()
    then = time.time() - 3600
    os.utime(tmp_path / "a.part", (then, then))
    (run,) = in_progress(tmp_path)
    assert run.note == "no output for 1 h: a long step, or the run was killed"


def test_the_tail_of_a_file_has_whole_lines(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("first\nsecond\nthird\n")
    assert tail(tmp_path / "log", 9) == "third\n"
    assert tail(tmp_path / "log") == "first\nsecond\nthird\n"
    assert tail(tmp_path / "none") == ""
