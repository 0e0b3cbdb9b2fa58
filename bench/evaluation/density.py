"""The likelihood of test rows, certified: how wrong it is, and by what it was found out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.api.method import Continuous
from bench.data.arrays import Loaded
from bench.evaluation.flow import Flow
from bench.evaluation.rows import choose
from bench.evaluation.solvers import Report, now, reference_solver
from bench.metrics.likelihood import nll
from bench.numerics.ode import Solver, SolverFailed
from bench.records.spec import Judge


def likelihood(
    flow: Flow, data: Loaded, judge: Judge, report: Report
) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
    """The log-densities `(rows,)` of the test rows in nats; metrics; what the density cost.

    The metrics are the NLL with its standard error, over groups of rows where the data have them,
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
        certified = certify(flow, x, log_prob, judge, report)
        log_prob = certified.log_prob
        metrics |= {
            "nll_solver_error": certified.error,
            "nll_solver_error_max": certified.worst,
            "nll_solver_error_rows": certified.rows,
            "nll_rtol": certified.rtol,
            "nll_uncertified": certified.reason,
        }
    score = nll(log_prob, groups)
    metrics |= {
        "nll": score.nll,
        "nll_se": score.se,
        "nll_se_rows": score.se_rows,
        "nll_rows": score.rows,
        "nll_groups": score.groups,
    }
    return log_prob, metrics, cost


@dataclass(frozen=True)
class Certified:
    """Log-densities `(n,)` and their numerical error, in nats.

    Attributes:
        log_prob: by the tolerance `rtol`.
        error: how far their mean moves by a tolerance ten times tighter in float64, on `rows` of
            them; None where that could not be solved.
        worst: how far one of them moves at most.
        rows: the rows that the error was measured on, evenly over all.
        rtol: the relative tolerance of the solver that gave them.
        reason: why the error is not below the bound; None where it is.
    """

    log_prob: Tensor
    error: float | None
    worst: float | None
    rows: int
    rtol: float
    reason: str | None


def certify(flow: Flow, x: Tensor, log_prob: Tensor, judge: Judge, report: Report) -> Certified:
    """Tighten the solver until the mean log-density of rows `(n, d)` is known to the bound.

    The numerical error is the change under a tolerance ten times tighter and in float64, so that
    rounding is part of it. Where it reaches `judge.error_bound`, all rows are scored by that
    tighter solver instead, and so on, `judge.tightenings` times at most.

    Args:
        flow: by the reference solver at the judge's tolerance.
        x: rows `(n, d)`.
        log_prob: what it gave for them, `(n,)`.
        judge: its bound and how often to tighten.
        report: is told of every stage.
    """
    few = slice(0, None, max(1, len(x) // judge.error_rows))
    rows = len(x[few])
    solver, error, worst = reference_solver(judge), None, None
    for tightening in range(judge.tightenings + 1):
        finer = solver.tighter(10)
        report({"event": "stage", "stage": f"density, rtol {finer.rtol:g}"})
        try:
            change = _in_float64(flow, finer).log_prob(x[few]) - log_prob[few]
        except SolverFailed as failed:
            reason = f"at rtol {finer.rtol:g} the solver gave up: {failed}"
            return Certified(log_prob, None, None, rows, solver.rtol, reason)
        error, worst = abs(change.mean().item()), change.abs().max().item()
        if error < judge.error_bound:
            return Certified(log_prob, error, worst, rows, solver.rtol, None)
        if tightening == judge.tightenings:
            break
        report({"event": "stage", "stage": f"density, all rows at rtol {finer.rtol:g}"})
        try:
            log_prob = _in_float64(flow, finer).log_prob(x)
        except SolverFailed as failed:
            reason = f"at rtol {finer.rtol:g} the solver gave up on some rows: {failed}"
            return Certified(log_prob, error, worst, rows, solver.rtol, reason)
        solver = finer
    reason = f"at rtol {solver.rtol:g} it is still {error:.2g} nat"
    return Certified(log_prob, error, worst, rows, solver.rtol, reason)


def _in_float64(flow: Flow, solver: Solver) -> Flow:
    return Flow(flow.method, solver, torch.float64, flow.rows_at_once)


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
