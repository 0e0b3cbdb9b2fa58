"""Pairs of noise and its image under a flow, and how straight the paths between them are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api import Field
from bench.numerics.ode import Solver, State, integrate

#: Rows solved together.
ROWS_AT_ONCE = 2_048


@dataclass(frozen=True)
class Pairs:
    """Start and end points of paths, and the cost and straightness of the paths.

    Attributes:
        x0: the start points, `(n, d)`.
        x1: the end points, `(n, d)`.
        cost: E|x1 - x0|^2.
        straightness: E int |v - (x1 - x0)|^2 dt, which is E int |v|^2 dt - cost, since v integrates
            to x1 - x0; 0 if all paths are straight and of constant speed (Liu et al. 2023,
            eq. 8). Solver error can make it slightly negative.
    """

    x0: Tensor
    x1: Tensor
    cost: float
    straightness: float


@torch.no_grad()
def follow(field: Field, x0: Tensor, solver: Solver) -> Pairs:
    """Follow x0 `(n, d)` at t = 0 along its paths to t = 1.

    Raises:
        SolverFailed: the solver failed.
    """

    def motion(t: Tensor, state: State) -> State:
        velocity = field(t, state[0])
        return velocity, velocity.square().sum(-1)

    ends, energies = zip(
        *(
            integrate(motion, (rows, rows.new_zeros(len(rows))), 0.0, 1.0, solver)
            for rows in torch.split(x0, ROWS_AT_ONCE)
        ),
        strict=True,
    )
    x1 = torch.cat(ends)
    cost = float((x1 - x0).double().square().sum(-1).mean())
    return Pairs(x0, x1, cost, float(torch.cat(energies).double().mean()) - cost)
