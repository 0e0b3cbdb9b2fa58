"""`bench plot curves`: what is read of a curve, how it is smoothed, and what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.figures.curves import draw, outline, smoothed
from bench.figures.request import Request
from bench.records import run_files as reading
from bench.records.run_files import read_curve
from bench.registry.plugins import look

from .conftest import Call, Write, overlaps

Keep = Callable[..., None]


def curve(n: int = 40, blocks: int = 1, **last: Any) -> list[dict[str, Any]]:
    """Losses 1/k, half a second each, validated at every tenth mini-batch: NLL 3 - k/100."""
    lines = []
    for k in range(1, n + 1):
        line = {"minibatch": k, "seconds": k / 2, "loss": 1 / k, "block": (k - 1) * blocks // n}
        if k % 10 == 0:
            line["validation_nll"] = 3 - k / 100
        lines.append(line)
    lines[-1] |= last
    return lines


def test_a_running_mean_is_over_the_values_around() -> None:
    values = np.random.default_rng(0).standard_normal(23)
    for window in (1, 2, 5, 40):
        w = min(window, 23)
        expected = [
            values[max(0, i - (w - 1) // 2) : i + w // 2 + 1].mean() for i in range(len(values))
        ]
        assert smoothed(values, window) == pytest.approx(expected)
    assert smoothed(values, 1) == pytest.approx(values)


def test_an_outline_keeps_the_extremes() -> None:
    y = np.random.default_rng(0).standard_normal(5_000)
    y[1234], y[4321] = 99.0, -99.0
    x, kept = outline(np.arange(5_000.0), y, 400)
    assert len(kept) <= 400
    assert (np.diff(x) > 0).all()
    assert kept.max() == 99.0
    assert kept.min() == -99.0
    assert kept == pytest.approx(y[x.astype(int)])
    assert outline(x, kept, 400)[1] is kept


def test_what_is_read_of_a_curve(
    results: Path, write: Write, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write("jko", "moons")
    keep(run, curve=curve(blocks=4), tail='{"minibatch": 41, "sec')
    found = read_curve(results / run)
    assert found is not None
    assert found.minibatches.tolist() == list(range(1, 41))
    assert found.loss[:2].tolist() == [1.0, 0.5]
    assert found.stages == (11, 21, 31)
    assert found.stage == "block"
    assert found.validation[1] == pytest.approx([20, 10.0, 2.8])
    monkeypatch.setattr(reading, "MAX_BYTES", 500)
    part = read_curve(results / run)
    assert part is not None
    assert part.every > 3
    assert part.validation.tolist() == found.validation.tolist()
    assert len(part.loss) < 20


def test_no_curve(results: Path, write: Write) -> None:
    run = write("jko", "moons")
    assert read_curve(results / run) is None
    for text in ("", "not json\n", "[1, 2]\n", '{"minibatch": 1}\n'):
        (results / run / "curve.jsonl").write_text(text)
        assert read_curve(results / run) is None, text


def test_curves_are_drawn_with_the_state_that_was_kept(
    results: Path, write: Write, keep: Keep
) -> None:
    keep(write("jko", "moons", training__best_validation_nll=2.7), curve=curve(blocks=4))
    keep(
        write("ffjord", "moons", training__best_validation_nll=2.6),
        curve=curve(validation_nll=None),
    )
    write("gaussian", "moons")
    found = draw(Request(results))
    above, seconds, ffjord, jko = found.figure.axes[:4]
    lines = [line for line in above.lines if line.get_gid() != "best"]
    by_colour = {line.get_color(): line for line in lines}
    assert by_colour[look("jko").colour].get_xdata().tolist() == [10, 20, 30, 40]
    assert by_colour[look("jko").colour].get_ydata() == pytest.approx([2.9, 2.8, 2.7, 2.6])
    assert by_colour[look("ffjord").colour].get_xdata().tolist() == [10, 20, 30]
    on_seconds = [line for line in seconds.lines if line.get_gid() != "best"]
    assert on_seconds[0].get_xdata().tolist() == [5, 10, 15]
    assert seconds.get_xscale() == "log"
    kept = {line.get_markeredgecolor(): line for line in above.lines if line.get_gid() == "best"}
    assert kept[look("jko").colour].get_xdata().tolist() == [30]
    assert (jko.get_title(), ffjord.get_title()) == ("jko", "ffjord")
    stages = [line.get_xdata()[0] for line in jko.lines if line.get_gid() == "stage"]
    assert stages == [11, 21, 31]
    raw, smooth = jko.lines[:2]
    assert raw.get_ydata() == pytest.approx(1 / np.arange(1, 41))
    assert smooth.get_linewidth() > raw.get_linewidth()
    text = " ".join(" ".join(found.lines).split())
    assert "No curve on moons: gaussian." in text
    assert "Validations above the axis on moons: ffjord 2, jko 1." in text
    assert overlaps(found.figure) == []


def test_nothing_to_draw(call: Call, write: Write) -> None:
    write("jko", "moons")
    done = call("curves")
    assert done.exit_code == 3
    assert "keeps a curve that can be read" in done.stderr
    assert call("curves", "--metric", "nll").exit_code == 2
