"""Trained flows for figures: the one module here that asks torch, imported where it is used."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.records.store import Record

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api.method import Piece
    from bench.evaluation.flow import Flow
    from bench.numerics.ode import Solver

Array = NDArray[np.float64]


class Unusable(Exception):
    """A trained flow that can't be loaded or solved; the text says why."""


@dataclass(frozen=True)
class Paths:
    """Where rows went, `(points, n, d)`, in the data's own coordinates.

    `joints` are the points at which one piece of the flow ends and the next begins.
    """

    points: Array
    joints: tuple[int, ...]


def flow_of(record: Record, results: Path) -> Flow:
    """The flow that a run has learned.

    Raises:
        Unusable: it has no model that can be read, or its method is another one now.
    """
    from bench.training.run import load_flow

    try:
        return load_flow(record, results)
    except BenchError as error:
        raise Unusable(error.problem) from error


def density(flow: Flow, points: Array) -> Array:
    """The density `(n,)` at points `(n, d)`, by the run's reference solver.

    Raises:
        Unusable: the solver gave up.
    """
    import torch

    from bench.numerics.ode import SolverFailed

    try:
        log_prob = flow.log_prob(torch.from_numpy(points)).double().cpu()
    except SolverFailed as error:
        raise Unusable(f"Its density can't be solved for: {error}.") from error
    density: Array = np.exp(log_prob.numpy())
    return density


def noise(flow: Flow, n: int, seed: int) -> Array:
    """Standard normal draws `(n, d)`, the same for every method."""
    return flow.noise(n, seed).numpy()


def from_noise(flow: Flow, z: Array, points: int) -> Paths:
    """The way of noise `(n, d)` to data, in about so many steps, at least 8 in each piece.

    Raises:
        Unusable: the method has no velocity, or the solver gave up.
    """
    import torch

    legs = [(piece, piece.t_noise, piece.t_data) for piece in reversed(_pieces(flow))]
    return _paths(flow, torch.from_numpy(z).to(flow.dtype), legs, points)


def from_data(flow: Flow, rows: Array, points: int) -> Paths:
    """The way of rows `(n, d)` to noise, as `from_noise`."""
    import torch

    legs = [(piece, piece.t_data, piece.t_noise) for piece in _pieces(flow)]
    return _paths(flow, flow.method.affine(torch.from_numpy(rows).to(flow.dtype)), legs, points)


def _pieces(flow: Flow) -> list[Piece]:
    from bench.api.method import Continuous

    if not isinstance(flow.method, Continuous):
        raise Unusable("Its method has no velocity.")
    return list(flow.method.pieces())


def _paths(flow: Flow, x: Tensor, legs: list[tuple[Piece, float, float]], points: int) -> Paths:
    import torch

    from bench.numerics.ode import SolverFailed

    assert flow.solver is not None
    each = max(8, points // len(legs))
    states = [x]
    try:
        with torch.no_grad():
            for piece, start, end in legs:
                times = np.linspace(start, end, each + 1).tolist()
                for t0, t1 in itertools.pairwise(times):
                    states.append(_moved(piece, states[-1], t0, t1, flow.solver))
            rows = [flow.method.affine.inverse(state).double().numpy() for state in states]
    except SolverFailed as error:
        raise Unusable(f"Its paths can't be solved for: {error}.") from error
    return Paths(np.stack(rows), tuple(each * k for k in range(1, len(legs))))


def _moved(piece: Piece, x: Tensor, t0: float, t1: float, solver: Solver) -> Tensor:
    """Where rows are at `t1` that are at `x` at `t0`."""
    from bench.numerics.ode import integrate

    (end,) = integrate(lambda t, state: (piece.field(t, state[0]),), (x,), t0, t1, solver)
    return end
