"""`bench plot trajectories`: the paths of flows in closed form, and the plane they are seen in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.api.method import Continuous, Field, Log, Options, Piece
from bench.api.stream import Stream
from bench.data.arrays import Loaded
from bench.evaluation.flow import Flow
from bench.figures import density, trajectories
from bench.figures.request import Request, select
from bench.figures.trajectories import PATHS, draw, plane_of
from bench.numerics.ode import Solver, SolverFailed

from .conftest import Call, Write, overlaps


class Growth(Field):
    """v = rate x, whose paths are x(t) = x(0) exp(rate t)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.rate * x


class TwoBlocks(Continuous):
    """Data to noise: first by exp(-1), then by exp(-2)."""

    Config = Options

    def __init__(self, d: int) -> None:
        super().__init__(d, Options())
        self.first, self.second = Growth(-1.0), Growth(-2.0)

    def learn(self, batches: Stream) -> Iterator[Log]:
        raise NotImplementedError

    def pieces(self) -> Sequence[Piece]:
        return [Piece(self.first, 0.0, 1.0), Piece(self.second, 0.0, 1.0)]


@pytest.fixture
def flow() -> Flow:
    return Flow(TwoBlocks(2), Solver("dopri5", 1e-9, 1e-9), torch.float64)


def test_paths_pass_through_the_blocks_in_both_directions(flow: Flow) -> None:
    z = np.array([[1.0, -2.0], [0.5, 0.0]])
    forth = trajectories.paths_of(flow, z, 16, to_data=True)
    assert forth.shape == (2, 9, 2, 2)
    share = np.arange(9) / 8
    grown = np.stack([2 * share, 2 + share])  # exp(2) by the second block, then exp(1)
    assert forth == pytest.approx(np.exp(grown)[..., None, None] * z, rel=1e-6)
    back = trajectories.paths_of(flow, forth[-1, -1], 16, to_data=False)
    assert back[-1, -1] == pytest.approx(z, rel=1e-6)
    assert back[0, 8] == pytest.approx(np.exp(2) * z, rel=1e-6)


def test_its_density_is_that_of_the_gaussian_it_makes(flow: Flow) -> None:
    points = np.array([[0.0, 0.0], [10.0, -5.0]])
    scale = np.exp(3.0)
    expected = np.exp(-0.5 * (points**2).sum(1) / scale**2) / (2 * np.pi * scale**2)
    assert density.density(flow, points) == pytest.approx(expected, rel=1e-6)


def test_a_piece_that_can_not_be_solved_is_said(flow: Flow) -> None:
    flow.solver = Solver("dopri5", 1e-9, 1e-9, max_num_steps=1)
    with pytest.raises(SolverFailed):
        trajectories.paths_of(flow, np.ones((1, 2)), 8, to_data=True)


def test_the_plane_of_a_table_is_that_of_its_leading_axes(results: Path, write: Write) -> None:
    write("jko", "table", dataset__d=4)
    (group,) = select(Request(results), 1, 1).groups
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    rows = rng.standard_normal((4_000, 4)) * [5.0, 2.0, 0.5, 0.1] @ axes.T + 3.0
    plane = plane_of(group, rows)
    assert np.abs(np.diag(plane.directions.T @ axes[:, :2])) == pytest.approx([1, 1], abs=1e-3)
    assert plane.project(rows).mean(0) == pytest.approx([0, 0], abs=1e-9)
    assert "hold 99% of their variance in 4 dimensions" in plane.about


FEW = {"affine": "none"}


def test_paths_of_a_method_are_drawn_both_ways(
    results: Path, write: Write, keep_model: Callable[..., None], moons: Loaded
) -> None:
    given = {"dataset__revision": moons.revision}
    keep_model(
        write("flow-matching", "moons", straightness=1.25, **given),
        "flow-matching",
        2,
        {"width": 8},
    )
    write("gaussian", "moons", **given)
    write("ffjord", "moons", status="diverged", **given)
    found = draw(Request(results))
    above, below = found.figure.axes
    assert above.get_title() == "flow-matching\nstraightness 1.25"
    ways = [[line.get_xydata() for line in axes.lines[:PATHS]] for axes in (above, below)]
    assert [len(way) for way in ways] == [PATHS, PATHS]
    noise = torch.randn(PATHS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    starts = np.array([path[0] for path in ways[0]])
    assert starts == pytest.approx(noise.numpy(), rel=1e-5)
    rows = {tuple(row) for row in moons.test}
    assert all(tuple(np.float32(path[0])) in rows for path in ways[1])
    assert above.get_ylabel().startswith("noise → data")
    assert below.get_ylabel().startswith("data → noise")
    text = " ".join(" ".join(found.lines).split())
    assert f"moons: {PATHS} paths from noise" in text
    assert "Not shown on moons: ffjord (diverged)." in text
    assert overlaps(found.figure) == []


def test_nothing_to_draw(call: Call, write: Write, keep_model: Callable[..., None]) -> None:
    keep_model(write("gaussian", "moons"), "gaussian", 2, FEW)
    done = call("trajectories")
    assert done.exit_code == 3
    assert "Its method has no velocity" in done.stderr
    write("jko", "moons")
    done = call("trajectories", "-m", "jko")
    assert done.exit_code == 3
    assert "has no model that can be read" in done.stderr
    assert call("trajectories", "--metric", "nll").exit_code == 2
    assert call("trajectories", "--columns", "1", "-m", "jko").exit_code in (2, 3)
