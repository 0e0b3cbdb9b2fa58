"""How far each piece of a flow moves the rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.api.method import Continuous, Field
from bench.evaluation.flow import Flow
from bench.numerics.ode import SolverFailed, State, integrate


def movements(flow: Flow, x: Tensor) -> list[float] | None:
    """The W2 movement E|x_k+1 - x_k|^2 of each piece, from data to noise, over rows `(n, d)`.

    In squared units of what lies behind the affine layer; JKO-iFlow's reparametrisation evens them.
    None where a piece can't be solved.

    Raises:
        TypeError: the method is not continuous, or the flow has no solver.
    """
    method, solver = flow.method, flow.solver
    if not isinstance(method, Continuous) or solver is None:
        raise TypeError("movements need a continuous method and a reference solver")
    found = []
    with torch.no_grad():
        rows = method.affine(x.to(flow.device, flow.dtype))
        for piece in method.pieces():
            try:
                (moved,) = integrate(
                    _velocity(piece.field), (rows,), piece.t_data, piece.t_noise, solver
                )
            except SolverFailed:
                return None
            found.append((moved - rows).double().square().sum(1).mean().item())
            rows = moved
    return found


def _velocity(field: Field) -> Callable[[Tensor, State], State]:
    return lambda t, state: (field(t, state[0]),)
