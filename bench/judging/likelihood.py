"""The likelihood of test rows, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.flow import Flow
from bench.judging.rows import pick
from bench.judging.solvers import now, reference_solver
from bench.method import Continuous, Field
from bench.metrics.likelihood import nll
from bench.numerics.divergence import exact
from bench.spec import Judge
from bench.training import ContractBroken, Report


def likelihood(
    flow: Flow, test: NDArray[np.float32], judge: Judge, report: Report
) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
    """The log-densities of the test rows; NLL, its standard error and its numerical error; cost.

    The numerical error is the change when both the tolerance and the rounding get tighter: ten
    times, and float64.
    """
    report({"event": "stage", "stage": "density"})
    x = torch.from_numpy(np.array(pick(test, judge.test_rows, judge.seed)))
    _check_traces(flow, x[:8])
    start = now(flow)
    log_prob = flow.log_prob(x)
    cost = {"density_seconds": now(flow) - start, "nfe_density": flow.nfe}
    score = nll(log_prob)
    metrics: dict[str, Any] = {"nll": score.nll, "nll_se": score.se, "nll_rows": score.rows}
    metrics["nll_solver_error"] = 0.0
    if isinstance(flow.method, Continuous):
        metrics |= _native(flow, x, report)
        report({"event": "stage", "stage": "density, tighter"})
        few = slice(0, None, max(1, len(x) // judge.error_rows))  # evenly over the rows
        solver = reference_solver(judge).tighter(10)
        tighter = Flow(flow.method, solver, torch.float64, flow.rows_at_once)
        change = tighter.log_prob(x[few]) - log_prob[few]
        metrics["nll_solver_error"] = abs(change.mean().item())
        metrics["nll_solver_error_rows"] = len(change)
    return log_prob, metrics, cost


def _native(flow: Flow, x: Tensor, report: Report) -> dict[str, Any]:
    """NLL by the method's own discretisation of each piece, where it has one."""
    assert isinstance(flow.method, Continuous)
    solvers = [piece.native for piece in flow.method.pieces()]
    if not solvers or None in solvers:
        return {}
    report({"event": "stage", "stage": "density, own steps"})
    native = Flow(flow.method, None, flow.dtype, flow.rows_at_once)
    return {
        "nll_native": nll(native.log_prob(x)).nll,
        "native": [asdict(solver) for solver in solvers if solver],
    }


def _check_traces(flow: Flow, x: Tensor) -> None:
    """Hold each field's own divergence against differentiation, on a few test rows."""
    if not isinstance(flow.method, Continuous):
        return
    x = flow.method.affine(x.to(flow.device, flow.dtype))
    for piece in flow.method.pieces():
        if type(piece.field).trace is Field.trace:
            continue
        for share in (0.1, 0.5, 0.9):
            t = x.new_tensor(piece.t_data + share * (piece.t_noise - piece.t_data))
            own = piece.field.with_divergence(t, x)[1]
            true = exact(lambda y, t=t, f=piece.field: f(t, y), x)[1]  # type: ignore[misc]
            if not torch.allclose(own, true, rtol=1e-4, atol=1e-4):
                raise ContractBroken(
                    f"{type(piece.field).__name__} gives a divergence that is off by "
                    f"{(own - true).abs().max().item():.3g} at t = {t.item():.3g}"
                )
