"""Checks of a trained flow: its own formulas, its integral, its way back, how far it moves rows."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from bench.api.method import Continuous, ContractBroken, Discrete, Field
from bench.evaluation.flow import HALF_LOG_TWO_PI, Flow
from bench.numerics.divergence import exact
from bench.numerics.ode import SolverFailed, integrate

#: The largest error of a closed-form divergence, absolute and relative.
TOLERANCE = 1e-4
#: The step of central differences.
STEP = 1e-3
#: The share of the points' range by which the box of `integral` is larger, on every side.
MARGIN = 0.25
#: Cells along a side at first, and the error that is small enough.
COARSE, ENOUGH = 64, 0.002
#: A density that would integrate to this over the whole box is not refined.
NEGLIGIBLE = 1e-4


def check_formulas(flow: Flow, x: Tensor, z: Tensor) -> None:
    """Check closed-form divergences, or a method's own density, on rows and noise, both `(n, d)`.

    Raises:
        ContractBroken: a divergence is not that of its field, or a discrete method's density is not
            that of its inverse.
    """
    if isinstance(flow.method, Continuous):
        _check_divergences(flow, flow.method, x)
    elif isinstance(flow.method, Discrete):
        _check_density(flow, flow.method, z)


def _check_divergences(flow: Flow, method: Continuous, x: Tensor) -> None:
    """Check each closed-form divergence at three times of its piece."""
    x = method.affine(x.to(flow.device, flow.dtype))
    for piece in method.pieces():
        if type(piece.field).trace is Field.trace:
            continue
        for share in (0.1, 0.5, 0.9):
            t = x.new_tensor(piece.t_data + share * (piece.t_noise - piece.t_data))
            own = piece.field.with_divergence(t, x)[1]
            true = exact(lambda y, t=t, f=piece.field: f(t, y), x)[1]  # type: ignore[misc]
            if not torch.allclose(own, true, rtol=TOLERANCE, atol=TOLERANCE):
                raise ContractBroken(
                    f"{type(piece.field).__name__} gives a divergence that is off by "
                    f"{(own - true).abs().max().item():.3g} at t = {t.item():.3g}"
                )


def _check_density(flow: Flow, method: Discrete, z: Tensor) -> None:
    """Check log p(x) = log N(z) - log |det dx/dz|, where x is the inverse of z.

    The Jacobian is taken by central differences, as an inverse may be a fixed point that can't be
    differentiated through.
    """
    method = copy.deepcopy(method, {id(method.optimizer): None}).double()
    z = z.to(flow.device, torch.float64)
    n, d = z.shape
    steps = STEP * torch.eye(d, dtype=z.dtype, device=z.device)
    with torch.no_grad():
        own = method.log_prob(method.inverse(z))
        ends = [method.inverse((z[:, None] + s * steps).flatten(0, 1)) for s in (1, -1)]
    jacobians = torch.unflatten((ends[0] - ends[1]) / (2 * STEP), 0, (n, d))
    gain = torch.linalg.slogdet(jacobians)[1]
    true = -0.5 * z.square().sum(-1) - d * HALF_LOG_TWO_PI - gain
    if not torch.allclose(own, true, rtol=1e-3, atol=1e-2):
        raise ContractBroken(
            f"{type(method).__name__} gives log-densities that are off by "
            f"{(own - true).abs().max().item():.3g} nat from those of its own inverse"
        )


def integral(flow: Flow, points: Tensor, cells: int) -> dict[str, Any]:
    """Return the integral of the flow's density over a box around points `(n, 2)`, and its error.

    By the midpoint rule on 64 x 64 cells, then on twice as many along each side until the error is
    below `ENOUGH` or there are `cells` of them (an even number). A cell keeps the density of the
    larger one that it is part of where that and its eight neighbours are negligible. The points are
    the flow's samples and test rows: the mass outside the box is at most about 1 / n, as none of n
    samples lies there.
    The error is the largest change when only one of the four interleaved grids of half the
    resolution is summed, an upper estimate for a density that the grid resolves. If the flow can't
    be solved at some point, there is only the reason.
    """
    low, high = points.double().amin(0), points.double().amax(0)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    area = float((high - low).prod())
    side, density = min(COARSE, cells), None
    while True:
        try:
            density = _midpoints(flow, low, high, side, density)
        except SolverFailed as failed:
            return {"density_integral_failed": str(failed)}
        whole = area * density.mean().item()
        parts = area * density.reshape(side // 2, 2, side // 2, 2).mean((0, 2))
        error = (parts - whole).abs().max().item()
        if error <= ENOUGH or side >= cells:
            return {"density_integral": whole, "density_integral_error": error}
        side = min(2 * side, cells)


def _midpoints(flow: Flow, low: Tensor, high: Tensor, cells: int, coarse: Tensor | None) -> Tensor:
    """Return the density at the middles of `cells` x `cells` cells, given that of larger ones."""
    share = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    points = torch.cartesian_prod(*(low[i] + (high[i] - low[i]) * share for i in (0, 1)))
    density, refined = torch.empty(cells, cells, dtype=torch.float64), torch.tensor(True)
    if coarse is not None:
        nearby = max_pool2d(coarse[None, None], 3, 1, 1)[0, 0]
        index = (2 * torch.arange(cells) + 1) * len(coarse) // (2 * cells)
        density = coarse[index][:, index]
        refined = (nearby * (high - low).prod() > NEGLIGIBLE)[index][:, index]
    refined = refined.expand(cells, cells)
    density[refined] = flow.log_prob(points[refined.flatten()]).cpu().double().exp()
    return density


def round_trip(flow: Flow, x: Tensor) -> dict[str, Any]:
    """Return |x - F^-1(F(x))| over rows `(n, d)`: median and maximum, in the units of the rows.

    `row_scale`, the root mean square of |x|, is their scale. A flow whose field is too stiff one
    way, or whose Lipschitz constant defeats the tolerance, shows here although its likelihood looks
    well. If the way back can't be solved, there is only the reason.
    """
    try:
        back = flow.decode(flow.encode(x)).rows
    except SolverFailed as failed:
        return {"round_trip_failed": str(failed)}
    x = x.to(back.device, back.dtype)
    distances = (back - x).double().norm(dim=1)
    return {
        "round_trip_median": distances.median().item(),
        "round_trip_max": distances.max().item(),
        "round_trip_rows": len(x),
        "row_scale": x.double().square().sum(1).mean().sqrt().item(),
    }


def movements(flow: Flow, x: Tensor) -> list[float] | None:
    """Return the W2 movement E|x_k+1 - x_k|^2 of each piece, from data to noise, for rows `(n, d)`.

    In squared units of the affine layer's output; JKO-iFlow's reparametrisation evens them. None if
    a piece can't be solved.

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
                    lambda t, state, f=piece.field: (f(t, state[0]),),  # type: ignore[misc]
                    (rows,),
                    piece.t_data,
                    piece.t_noise,
                    solver,
                )
            except SolverFailed:
                return None
            found.append((moved - rows).double().square().sum(1).mean().item())
            rows = moved
    return found
