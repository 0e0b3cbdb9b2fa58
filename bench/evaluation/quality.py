"""How good samples are after so many evaluations of the velocity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.evaluation.flow import Flow
from bench.metrics.mmd import discrepancy
from bench.numerics.ode import Solver, SolverFailed

#: Euler steps in each piece.
STEPS = (1, 2, 4, 8, 16, 32)


def quality(
    flow: Flow, z: Tensor, x: Tensor, gamma: float, samples: Tensor, nfe: float
) -> list[dict[str, Any]]:
    """The squared MMD at bandwidth `gamma` between test rows and samples by few Euler steps.

    A path that is straight needs one step (Liu et al. 2023, table 1, with FID there). Evaluations
    are counted, over all pieces; the last line is the reference solver's.

    Args:
        flow: by the reference solver.
        z: noise `(n, d)`, the same for every number of steps.
        x: test rows `(n, d)`.
        gamma: the bandwidth.
        samples: what the reference solver makes of the noise, `(n, d)`.
        nfe: the evaluations that it took.
    """
    lines = []
    for steps in STEPS:
        few = Flow(flow.method, Solver("euler", steps=steps), flow.dtype, flow.rows_at_once)
        try:
            rows = few.decode(z).rows.cpu().float()
        except SolverFailed:  # so few steps leave the numbers: a line that says so
            rows = torch.full_like(x, torch.nan)
        lines.append({"solver": "euler", "steps": steps, "nfe": few.nfe} | _against(x, rows, gamma))
    reference = {"solver": flow.solver.name if flow.solver else "", "nfe": nfe}
    return [*lines, reference | _against(x, samples, gamma)]


def _against(x: Tensor, rows: Tensor, gamma: float) -> dict[str, Any]:
    """The statistics V and U between test rows and samples; None where some are not finite."""
    if not torch.isfinite(rows).all():
        return {"mmd_m": None, "mmd_m_u": None}
    v, u = discrepancy(x, rows, gamma)
    return {"mmd_m": v, "mmd_m_u": u}
