"""Trained flows for figures: the one module here that needs torch, imported where it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import BenchError
from bench.execution import load_flow
from bench.flow import Flow
from bench.method import Continuous, Field
from bench.numerics.ode import SolverFailed, State, integrate
from bench.record import Record

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
    try:
        return load_flow(record, results)
    except BenchError as error:
        raise Unusable(error.problem) from error
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        name = record.get("run")
        raise Unusable(
            f"The model of {name} does not fit the method as it is installed: "
            f"{type(error).__name__}."
        ) from error


def density(flow: Flow, points: Array) -> Array:
    """The density `(n,)` at points `(n, d)`, by the run's reference solver.

    Raises:
        Unusable: the solver gave up.
    """
    try:
        return np.exp(flow.log_prob(torch.from_numpy(points)).double().cpu().numpy())
    except SolverFailed as error:
        raise Unusable(f"Its density can't be solved for: {error}.") from error


def noise(flow: Flow, n: int, seed: int) -> Array:
    """Standard normal draws `(n, d)`, the same for every method."""
    return flow.noise(n, seed).numpy()


def from_noise(flow: Flow, z: Array, points: int) -> Paths:
    """The way of noise `(n, d)` to data, in about so many steps, at least 8 in each piece.

    Raises:
        Unusable: the method has no velocity, or the solver gave up.
    """
    return _paths(flow, torch.from_numpy(z), points, to_data=True)


def from_data(flow: Flow, rows: Array, points: int) -> Paths:
    """The way of rows `(n, d)` to noise, as `from_noise`."""
    x = torch.from_numpy(rows).to(flow.dtype)
    return _paths(flow, flow.method.affine(x), points, to_data=False)


def _paths(flow: Flow, start: Tensor, points: int, *, to_data: bool) -> Paths:
    if not isinstance(flow.method, Continuous) or flow.solver is None:
        raise Unusable("Its method has no velocity.")
    pieces = list(flow.method.pieces())
    each = max(8, points // len(pieces))
    x = start.to(flow.dtype)
    states = [x]
    try:
        with torch.no_grad():
            for piece in reversed(pieces) if to_data else pieces:
                ends = (piece.t_noise, piece.t_data) if to_data else (piece.t_data, piece.t_noise)
                times = np.linspace(*ends, each + 1)
                for t0, t1 in zip(times[:-1], times[1:], strict=True):
                    (x,) = integrate(_Motion(piece.field), (x,), t0, t1, flow.solver)
                    states.append(x)
            rows = [flow.method.affine.inverse(state).double().numpy() for state in states]
    except SolverFailed as error:
        raise Unusable(f"Its paths can't be solved for: {error}.") from error
    return Paths(np.stack(rows), tuple(each * k for k in range(1, len(pieces))))


class _Motion:
    """dx/dt = v(t, x)."""

    def __init__(self, field: Field) -> None:
        self.field = field

    def __call__(self, t: Tensor, state: State) -> State:
        return (self.field(t, state[0]),)
