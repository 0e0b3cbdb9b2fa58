"""The log-density of the test rows, and its numerical error."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.api.method import Continuous
from bench.data.arrays import Loaded
from bench.evaluation.flow import Flow, Report, choose, now, reference_solver
from bench.metrics.likelihood import nll
from bench.numerics.ode import SolverFailed
from bench.records.spec import Judge


def likelihood(
    flow: Flow, data: Loaded, judge: Judge, report: Report
) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
    """Return log-densities `(rows,)` of the test rows in nats, metrics, and the cost.

    The metrics are the NLL with its standard error (over groups of rows where the data have them),
    its numerical error, and the NLL by the method's own steps. The cost is that of the reference
    solver at the judge's tolerance.
    """
    report({"event": "stage", "stage": "density"})
    index = choose(len(data.test), judge.test_rows, judge.seed)
    x = torch.from_numpy(np.array(data.test[index]))
    groups = torch.from_numpy(data.test_groups(index)) if data.test_groups else None
    start = now(flow)
    log_prob = flow.log_prob(x)
    cost = {"density_seconds": now(flow) - start, "nfe_density": flow.nfe}
    metrics: dict[str, Any] = {"nll_solver_error": 0.0}
    if isinstance(flow.method, Continuous):
        metrics = _native(flow, x, report)
        log_prob, certificate = certify(flow, x, log_prob, judge, report)
        metrics |= certificate
    score = nll(log_prob, groups)
    metrics |= {
        "nll": score.nll,
        "nll_se": score.se,
        "nll_se_rows": score.se_rows,
        "nll_rows": score.rows,
        "nll_groups": score.groups,
    }
    return log_prob, metrics, cost


def certify(
    flow: Flow, x: Tensor, log_prob: Tensor, judge: Judge, report: Report
) -> tuple[Tensor, dict[str, Any]]:
    """Tighten the solver until the numerical error of the mean log-density is below the bound.

    The numerical error is the change at a tolerance ten times tighter and in float64, so that it
    includes rounding. If it reaches `judge.error_bound`, all rows are scored by that tighter solver
    instead, and so on, `judge.tightenings` times at most.

    Args:
        flow: by the reference solver at the judge's tolerance.
        x: rows `(n, d)`.
        log_prob: the flow's log-densities of them, `(n,)`.

    Returns:
        The log-densities by the last solver, and as metrics, in nats: the change of their mean and
        the largest of one of them, None if the tighter solver gave up; the number of rows, evenly
        spaced, that it was measured on; the solver's relative tolerance; why the error is not below
        the bound, None if it is.
    """
    error_rows = slice(0, None, max(1, len(x) // judge.error_rows))
    solver, error, worst, reason = reference_solver(judge), None, None, None
    for tightening in range(judge.tightenings + 1):
        finer = solver.tighter(10)
        exact = Flow(flow.method, finer, torch.float64, flow.rows_at_once)
        report({"event": "stage", "stage": f"density, rtol {finer.rtol:g}"})
        try:
            change = exact.log_prob(x[error_rows]) - log_prob[error_rows]
        except SolverFailed as failed:
            error, worst = None, None
            reason = f"at rtol {finer.rtol:g} the solver gave up: {failed}"
            break
        error, worst = abs(change.mean().item()), change.abs().max().item()
        if error < judge.error_bound:
            break
        if tightening == judge.tightenings:
            reason = f"at rtol {solver.rtol:g} it is still {error:.2g} nat"
            break
        report({"event": "stage", "stage": f"density, all rows at rtol {finer.rtol:g}"})
        try:
            log_prob = exact.log_prob(x)
        except SolverFailed as failed:
            reason = f"at rtol {finer.rtol:g} the solver gave up on some rows: {failed}"
            break
        solver = finer
    return log_prob, {
        "nll_solver_error": error,
        "nll_solver_error_max": worst,
        "nll_solver_error_rows": len(x[error_rows]),
        "nll_rtol": solver.rtol,
        "nll_uncertified": reason,
    }


def _native(flow: Flow, x: Tensor, report: Report) -> dict[str, Any]:
    """Return the NLL by the method's own discretisation of each piece, if it has one."""
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
