"""Judging a trained flow: the one place that reads the test split, the same way for all."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.arrays import Loaded
from bench.flow import Flow, Path
from bench.method import Continuous, Field, Method
from bench.metrics.likelihood import nll
from bench.metrics.mmd import median_distance, two_sample
from bench.metrics.transport import transport
from bench.numerics.divergence import exact
from bench.numerics.ode import Solver
from bench.spec import Judge
from bench.training import ContractBroken, Report


@dataclass(frozen=True)
class Verdict:
    """The metrics and costs of a record, and what they were measured on.

    `samples` are the flow's, `(n, d)`; `log_prob` its log-densities of the test rows, `(rows,)`, in
    nats: the same rows in the same order for every method, so that methods can be paired.
    """

    metrics: dict[str, Any]
    cost: dict[str, Any]
    samples: NDArray[np.float32]
    log_prob: NDArray[np.float32]


def reference_solver(judge: Judge) -> Solver:
    """The solver that every continuous method is scored and sampled by."""
    return Solver(judge.solver, judge.rtol, judge.atol, judge.max_num_steps)


def judge_method(method: Method, data: Loaded, judge: Judge, report: Report) -> Verdict:
    """Score a trained method on the test split.

    Raises:
        SolverFailed: the reference solver gave up.
        ContractBroken: a closed-form divergence that is not the field's.
    """
    flow = Flow(method, reference_solver(judge), getattr(torch, judge.dtype), judge.rows_at_once)
    log_prob, likelihood, density_cost = _likelihood(flow, data.test, judge, report)
    path, sample_cost = _sample(flow, judge, report, _sample_size(data, judge))
    report({"event": "stage", "stage": "two-sample tests"})
    samples = path.rows.cpu()
    metrics = likelihood | _mmd(samples, data, judge)
    if path.kinetic is not None:
        moved = transport(path.start.to(path.end), path.end, path.kinetic)
        metrics |= {"transport_cost": moved.cost, "straightness": moved.straightness}
    cost = density_cost | sample_cost
    return Verdict(metrics, cost, samples.float().numpy(), log_prob.float().cpu().numpy())


def pick(rows: NDArray[np.float32], n: int, seed: int) -> NDArray[np.float32]:
    """`n` rows without replacement, by the seed alone; all of them where there are no more."""
    if n >= len(rows):
        return np.asarray(rows)
    index = np.random.default_rng(seed).choice(len(rows), n, replace=False)
    chosen: NDArray[np.float32] = rows[np.sort(index)]
    return chosen


def _likelihood(
    flow: Flow, test: NDArray[np.float32], judge: Judge, report: Report
) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
    """The log-densities of the test rows; NLL, its standard error and its numerical error; cost.

    The numerical error is the change when both the tolerance and the rounding get tighter: ten
    times, and float64.
    """
    report({"event": "stage", "stage": "density"})
    x = torch.from_numpy(np.array(pick(test, judge.test_rows, judge.seed)))
    _check_traces(flow, x[:8])
    start = _now(flow)
    log_prob = flow.log_prob(x)
    cost = {"density_seconds": _now(flow) - start, "nfe_density": flow.nfe}
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


def _sample_size(data: Loaded, judge: Judge) -> int:
    """Rows a side of the two-sample tests: as many as the test split and the rest both have."""
    return min(judge.mmd_n, len(data.test), len(data.validation) + len(data.train))


def _sample(flow: Flow, judge: Judge, report: Report, n: int) -> tuple[Path, dict[str, Any]]:
    report({"event": "stage", "stage": "sampling"})
    noise = flow.noise(n, judge.seed)
    start = _now(flow)
    path = flow.decode(noise)
    return path, {"sample_seconds": _now(flow) - start, "nfe_sample": flow.nfe, "samples": n}


def _mmd(samples: Tensor, data: Loaded, judge: Judge) -> dict[str, Any]:
    """Both MMDs of the samples against test rows; tau from the same test rows against true data.

    The second sample of true data comes from the validation split, and from the training split
    where that is too small.
    """
    n = len(samples)
    x = torch.from_numpy(np.array(pick(data.test, n, judge.seed)))
    held_out = pick(data.validation, n, judge.seed)
    if len(held_out) < n:
        held_out = np.concatenate([held_out, pick(data.train, n - len(held_out), judge.seed)])
    results = two_sample(
        x,
        samples.float(),
        torch.from_numpy(np.array(held_out)),
        {"m": median_distance(x), "1": 1.0},
        permutations=judge.permutations,
        alpha=judge.alpha,
        seed=judge.seed,
    )
    metrics: dict[str, Any] = {"mmd_n": n, "permutations": judge.permutations}
    for name, result in results.items():
        metrics |= {
            f"mmd_{name}": result.v,
            f"mmd_{name}_u": result.u,
            f"tau_{name}": result.tau_v,
            f"tau_{name}_u": result.tau_u,
            f"p_{name}": result.p,
            f"gamma_{name}": result.gamma,
        }
    return metrics


def _now(flow: Flow) -> float:
    if flow.device.type == "cuda":
        torch.cuda.synchronize(flow.device)
    return time.perf_counter()
