"""Whether a flow comes back to where it started."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bench.evaluation.flow import Flow
from bench.numerics.ode import SolverFailed


def round_trip(flow: Flow, x: Tensor) -> dict[str, Any]:
    """|x - F^-1(F(x))| over rows `(n, d)`: median and maximum, in the units of the rows.

    `row_scale`, the root mean square of |x|, is what they are to be held against. A flow whose
    field is too stiff one way, or whose Lipschitz constant defeats the tolerance, shows here while
    its likelihood looks well. Empty where the way back can't be solved; the reason is kept.
    """
    try:
        there = flow.encode(x)
        back = flow.decode(there).rows
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
