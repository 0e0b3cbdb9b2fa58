"""The score of a flow's density, along the flow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.api.method import Continuous, Piece
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver, State, integrate


def score(flow: Flow, x: Tensor) -> Tensor:
    r"""The score, the gradient of log p with respect to x, of rows `(n, d)`: `(n, d)`.

    Along a path of dx/dt = v(t, x) the score s of the density that moves with it obeys

    $$ds/dt = -J^T s - \nabla (\mathrm{div}\, v),$$

    J the Jacobian of v (the instantaneous change of score, which follows from the continuity
    equation). Rows are sent to the noise z, where s = -z, and come back with it. No gradient goes
    through the solver; memory is that of `flow.rows_at_once` rows.

    Raises:
        TypeError: the method is not continuous.
        SolverFailed: the solver gave up.
    """
    if not isinstance(flow.method, Continuous):
        raise TypeError(f"{type(flow.method).__name__} has no velocity to follow the score along")
    if flow.solver is None:
        raise TypeError("the score is followed by a reference solver, and this flow has none")
    z = flow.encode(x)
    pieces = list(reversed(flow.method.pieces()))
    parts = [_back(pieces, part, flow.solver) for part in torch.split(z, flow.rows_at_once)]
    return flow.method.affine.pull(torch.cat(parts))


def _back(pieces: list[Piece], z: Tensor, solver: Solver) -> Tensor:
    """The score at the data end, `(n, d)`, of noise `(n, d)`."""
    state: State = (z, -z)
    for piece in pieces:
        state = integrate(_change(piece), state, piece.t_noise, piece.t_data, solver)
    return state[1]


def _change(piece: Piece) -> Callable[[Tensor, State], State]:
    """d(x, s)/dt."""

    def derivative(t: Tensor, state: State) -> State:
        with torch.enable_grad():
            x = state[0].detach().requires_grad_()
            velocity, divergence = piece.field.with_divergence(t, x)
            total = (velocity * state[1].detach()).sum() + divergence.sum()
            (gradient,) = torch.autograd.grad(total, x)
        return velocity.detach(), -gradient

    return derivative
