"""Evaluate a trained method: density of the test rows, samples, and what they say."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api.declarations import Evaluated
from bench.api.method import Continuous, Method
from bench.data.arrays import Loaded
from bench.errors import UsageError
from bench.evaluation.checks import check_formulas, integral, movements, round_trip
from bench.evaluation.flow import Flow, Report, choose, now, pick, reference_flow, reference_solver
from bench.evaluation.two_samples import evaluated, quality, sample_size, two_samples
from bench.metrics.flow_measures import nll, transport
from bench.numerics.ode import SolverFailed
from bench.records import catalogue
from bench.records.spec import Judge


@dataclass(frozen=True)
class Measurements:
    """The metrics and costs of a record, and the arrays that they rest on.

    Attributes:
        metrics, cost: by their names in the record.
        samples: the flow's samples, `(n, d)`.
        log_prob: its log-densities of the test rows in nats, `(rows,)`; the rows and their order
            are the same for every method, so that methods can be paired.
        groups: the groups of these rows, `(rows,)`, where the data have them.
    """

    metrics: dict[str, Any]
    cost: dict[str, Any]
    samples: NDArray[np.float32]
    log_prob: NDArray[np.float32]
    groups: NDArray[np.int64] | None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a run keeps, by name."""
        kept = {"samples": self.samples, "log_prob": self.log_prob, "groups": self.groups}
        return {name: array for name, array in kept.items() if array is not None}


def evaluate(method: Method, data: Loaded, judge: Judge, report: Report) -> Measurements:
    """Evaluate a trained method on the test split.

    Raises:
        SolverFailed: the reference solver gave up.
        ContractBroken: a divergence is not that of its field, or a density not that of the inverse.
    """
    flow = reference_flow(method, judge)
    few = torch.from_numpy(np.array(pick(data.test, judge.error_rows, judge.seed)))
    check_formulas(flow, few[:8], flow.noise(8, judge.seed))
    log_prob, metrics, cost = likelihood(flow, data, judge, report)
    report({"event": "stage", "stage": "sampling"})
    noise = flow.noise(sample_size(data, judge), judge.seed)
    start = now(flow)
    path = flow.decode(noise)
    cost |= {"sample_seconds": now(flow) - start, "nfe_sample": flow.nfe, "samples": len(noise)}
    if isinstance(method, Continuous):
        report({"event": "stage", "stage": "round trip"})
        metrics |= round_trip(flow, few)
        metrics["w2_movement"] = movements(flow, few)
    samples = path.rows.cpu()
    if method.d == 2:
        report({"event": "stage", "stage": "integral of the density"})
        points = torch.cat([samples.double(), few.double()])
        metrics |= integral(flow, points, judge.integral_cells)
    report({"event": "stage", "stage": "two-sample tests"})
    rows = evaluated(flow, samples, data, judge)
    metrics |= two_samples(rows, judge, report)
    if isinstance(method, Continuous):
        report({"event": "stage", "stage": "quality by evaluations"})
        n = min(judge.aggregated_n, len(samples))
        test = torch.from_numpy(np.array(pick(data.test, n, judge.seed)))
        drawn, gamma, nfe = rows.samples[:n], metrics["gamma_m"], cost["nfe_sample"]
        metrics["quality"] = quality(flow, path.start[:n], test, gamma, drawn, nfe)
    if path.kinetic is not None:
        moved = transport(path.start.to(path.end), path.end, path.kinetic)
        metrics |= {"transport_cost": moved.cost, "straightness": moved.straightness}
    metrics |= _catalogued(rows, report)
    scored = choose(len(data.test), judge.test_rows, judge.seed)
    return Measurements(
        metrics,
        cost,
        samples.float().numpy(),
        log_prob.float().cpu().numpy(),
        data.source.test_groups(scored) if data.source.test_groups else None,
    )


def _catalogued(rows: Evaluated, report: Report) -> dict[str, float]:
    """Return the values of the catalogue's metrics that are functions, and those of plug-ins.

    Raises:
        UsageError: a metric fails, or does not return a number for each of its columns.
    """
    found: dict[str, float] = {}
    for metric in catalogue.metrics():
        report({"event": "stage", "stage": metric.name})
        # Copies: what is kept of the run is not the metric's to edit.
        copies = {name: getattr(rows, name).clone() for name in ("test", "held_out", "samples")}
        try:
            values = dict(catalogue.function(metric)(replace(rows, **copies)))
            names = {column.name for column in metric.columns}
            if values.keys() != names:
                raise ValueError(f"expected values for {sorted(names)}, got {sorted(values)}")
            found |= {name: float(value) for name, value in values.items()}
            if broken := [name for name in values if not math.isfinite(found[name])]:
                raise ValueError(f"{broken[0]} is {found[broken[0]]}")
        except Exception as error:  # a plug-in can raise anything
            raise UsageError(
                f"The metric {metric.name!r} failed: {type(error).__name__}: {error}."
            ) from error
    return found


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
    groups = torch.from_numpy(data.source.test_groups(index)) if data.source.test_groups else None
    start = now(flow)
    log_prob = flow.log_prob(x)
    cost = {"density_seconds": now(flow) - start, "nfe_density": flow.nfe}
    metrics: dict[str, Any] = {"nll_solver_error": 0.0}
    if isinstance(flow.method, Continuous):
        metrics = _native(flow, x, report)
        log_prob, certificate = certify(flow, x, log_prob, judge, report)
        metrics |= certificate
    return log_prob, metrics | nll(log_prob, groups), cost


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
        "nll_native": nll(native.log_prob(x))["nll"],
        "native": [asdict(solver) for solver in solvers if solver],
    }
