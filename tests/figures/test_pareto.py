"""`bench plot pareto`: the front, the points, and what is not on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.figures.pareto import draw
from bench.figures.request import Request
from bench.stats.ranking import pareto_front

from .conftest import Call, Write, overlaps


def test_the_front_is_what_no_other_point_beats() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = rng.integers(0, 6, (12, 2)).astype(float)
        expected = [
            not any((other <= point).all() and (other < point).any() for other in points)
            for point in points
        ]
        assert pareto_front(*points.T).tolist() == expected


def test_points_with_a_nan_are_not_on_the_front_and_beat_none() -> None:
    cost, loss = np.array([1.0, 2.0, np.nan, 3.0]), np.array([np.nan, 2.0, 0.0, 1.0])
    assert pareto_front(cost, loss).tolist() == [False, True, False, True]


def study(write: Write, **given: object) -> None:
    mib = 2**20
    for seed, change in enumerate((-0.1, 0.1)):
        write("jko", "moons", seed, nll=2.5 + change, cost__train_seconds=100.0 + 200 * change,
              cost__peak_rss_bytes=400 * mib, **given)  # fmt: skip
    write("ffjord", "moons", nll=2.6, cost__train_seconds=200.0, cost__peak_rss_bytes=300 * mib,
          **given)  # fmt: skip
    write("gaussian", "moons", nll=3.0, cost__train_seconds=0.5, cost__peak_rss_bytes=350 * mib,
          **given)  # fmt: skip


def test_means_of_seeds_and_the_front(results: Path, write: Write) -> None:
    study(write)
    found = draw(Request(results))
    seconds, memory = found.figure.axes
    points = {tuple(np.ravel(line.get_data())) for c in seconds.containers for line in c.lines[:1]}
    assert points == {(100.0, 2.5), (200.0, 2.6), (0.5, 3.0)}
    (front,) = [line for line in seconds.lines if line.get_gid() == "front"]
    assert np.array(front.get_data()).T.tolist() == [[0.5, 3.0], [100.0, 2.5]]
    (front,) = [line for line in memory.lines if line.get_gid() == "front"]
    assert np.array(front.get_data()).T.tolist() == [[300.0, 2.6], [400.0, 2.5]]
    (bars,) = [c for c in seconds.containers if c.lines[0].get_xdata()[0] == 100.0]
    ends = bars.lines[2][1].get_segments()[0][:, 1]
    assert ends == pytest.approx(2.5 + np.array([-1, 1]) * np.std([2.4, 2.6], ddof=1))
    assert (seconds.get_xscale(), seconds.get_yscale()) == ("log", "linear")
    assert seconds.get_ylabel() == "NLL (nats per row)"
    assert (seconds.get_xlabel(), memory.get_xlabel()) == ("train (s)", "memory (MiB)")
    text = " ".join(" ".join(found.lines).split())
    assert "seeds (1 to 2)" in text
    assert overlaps(found.figure) == []


def test_above_a_known_entropy_the_axis_is_logarithmic(results: Path, write: Write) -> None:
    study(write, dataset__entropy=2.25)
    seconds, _ = draw(Request(results)).figure.axes
    assert seconds.get_yscale() == "log"
    assert seconds.get_ylabel() == "NLL above the entropy (nats per row)"
    heights = sorted(c.lines[0].get_ydata()[0] for c in seconds.containers)
    assert heights == pytest.approx([0.25, 0.35, 0.75])


def test_failed_seeds_and_flags_keep_a_point_off_the_front(results: Path, write: Write) -> None:
    study(write)
    write("jko", "moons", 2, status="diverged")
    write("ot-flow", "moons", nll=1.0, nll_solver_error=0.5)
    found = draw(Request(results))
    (front,) = [line for line in found.figure.axes[0].lines if line.get_gid() == "front"]
    assert [y for _, y in np.array(front.get_data()).T.tolist()] == [3.0, 2.6]
    text = " ".join(" ".join(found.lines).split())
    assert "Not on the front on moons: jko, 2 of 3 runs" in text
    assert "Not on the front on moons: ot-flow, flagged ‡" in text


def test_nothing_to_draw(call: Call, write: Write) -> None:
    write("jko", "moons", cost__train_seconds=None)
    done = call("pareto")
    assert done.exit_code == 3
    assert done.stderr.count("\n") == 1
    for metric in ("c2st", "train_seconds", "nlll"):
        assert call("pareto", "--metric", metric).exit_code == 2
