"""The integral of a density over the plane, which has to be one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.evaluation.flow import Flow
from bench.numerics.ode import SolverFailed

#: The box goes beyond the points by this share of their range, on every side.
MARGIN = 0.25
#: Cells along a side to begin with, and the error that is small enough.
COARSE, ENOUGH = 64, 0.002


def integral(flow: Flow, points: Tensor, cells: int) -> dict[str, Any]:
    """The integral of the flow's density over a box around points `(n, 2)`, and its error.

    By the midpoint rule on 64 x 64 cells, then on twice as many along each side until the error is
    below `ENOUGH` or there are `cells` of them, an even number. The points are the flow's samples
    and test rows: the mass outside the box is at most about 1 / n, as none of n samples lies there.
    The error is the largest change when only one of the four interleaved grids of half the
    resolution is summed, an upper estimate for a density that the grid resolves. Empty where some
    point of the grid can't be solved for; the reason is kept.
    """
    low, high = points.double().amin(0), points.double().amax(0)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    side = min(COARSE, cells)
    while True:
        try:
            whole, error = _midpoints(flow, low, high, side)
        except SolverFailed as failed:
            return {"density_integral_failed": str(failed)}
        if error <= ENOUGH or side >= cells:
            return {"density_integral": whole, "density_integral_error": error}
        side = min(2 * side, cells)


def _midpoints(flow: Flow, low: Tensor, high: Tensor, cells: int) -> tuple[float, float]:
    """The sum over `cells` x `cells` cells, and how far a quarter of them is off at most."""
    share = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    x, y = (low[i] + (high[i] - low[i]) * share for i in (0, 1))
    log_prob = flow.log_prob(torch.cartesian_prod(x, y)).cpu()
    density = log_prob.double().exp().reshape(cells // 2, 2, cells // 2, 2)
    area = float((high - low).prod())
    whole = area * density.mean().item()
    parts = area * density.mean((0, 2))
    return whole, (parts - whole).abs().max().item()
