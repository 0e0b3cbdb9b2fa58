"""The judge's round: density of the test rows, samples, what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api.declarations import Evaluated
from bench.api.method import Continuous, Method
from bench.data.arrays import Loaded
from bench.errors import UsageError
from bench.evaluation.claims import check_claims
from bench.evaluation.density import likelihood
from bench.evaluation.flow import Flow, Path
from bench.evaluation.integral import integral
from bench.evaluation.movement import movements
from bench.evaluation.quality import quality
from bench.evaluation.round_trip import round_trip
from bench.evaluation.rows import choose, pick
from bench.evaluation.solvers import Report, now, reference_solver
from bench.evaluation.two_samples import real_rows, sample_size, two_samples
from bench.metrics.transport import transport
from bench.records import catalogue
from bench.records.spec import Judge


@dataclass(frozen=True)
class Verdict:
    """The metrics and costs of a record, and what they were measured on.

    `samples` are the flow's, `(n, d)`; `log_prob` its log-densities of the test rows, `(rows,)`, in
    nats: the same rows in the same order for every method, so that methods can be paired; `groups`
    are those of the rows, `(rows,)`, where they come in groups.
    """

    metrics: dict[str, Any]
    cost: dict[str, Any]
    samples: NDArray[np.float32]
    log_prob: NDArray[np.float32]
    groups: NDArray[np.int64] | None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is kept of them, by name."""
        kept = {"samples": self.samples, "log_prob": self.log_prob, "groups": self.groups}
        return {name: array for name, array in kept.items() if array is not None}


def judge_method(method: Method, data: Loaded, judge: Judge, report: Report) -> Verdict:
    """Score a trained method on the test split.

    Raises:
        SolverFailed: the reference solver gave up.
        ContractBroken: a divergence that is not the field's, or a density not of the own inverse.
    """
    flow = Flow(method, reference_solver(judge), getattr(torch, judge.dtype), judge.rows_at_once)
    few = torch.from_numpy(np.array(pick(data.test, judge.error_rows, judge.seed)))
    check_claims(flow, few[:8], flow.noise(8, judge.seed))
    log_prob, metrics, density_cost = likelihood(flow, data, judge, report)
    path, sample_cost = _sample(flow, judge, report, sample_size(data, judge))
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
    metrics |= two_samples(samples, data, judge)
    if isinstance(method, Continuous):
        report({"event": "stage", "stage": "quality by evaluations"})
        n = min(judge.aggregated_n, len(samples))
        rows = torch.from_numpy(np.array(pick(data.test, n, judge.seed)))
        noise, nfe = path.start[:n], sample_cost["nfe_sample"]
        gamma = metrics["gamma_m"]
        metrics["quality"] = quality(flow, noise, rows, gamma, samples[:n].float(), nfe)
    if path.kinetic is not None:
        moved = transport(path.start.to(path.end), path.end, path.kinetic)
        metrics |= {"transport_cost": moved.cost, "straightness": moved.straightness}
    metrics |= _catalogued(flow, samples.float(), data, judge, report)
    cost = density_cost | sample_cost
    scored = choose(len(data.test), judge.test_rows, judge.seed)
    return Verdict(
        metrics,
        cost,
        samples.float().numpy(),
        log_prob.float().cpu().numpy(),
        data.test_groups(scored) if data.test_groups else None,
    )


def _catalogued(
    flow: Flow, samples: Tensor, data: Loaded, judge: Judge, report: Report
) -> dict[str, Any]:
    """The values of the metrics that the catalogue and plug-ins name by their functions.

    Raises:
        UsageError: a metric fails, or returns something else than a number for each column.
    """
    found: dict[str, Any] = {}
    test, held_out = real_rows(len(samples), data, judge)
    for metric in catalogue.metrics():
        report({"event": "stage", "stage": metric.name})
        given = Evaluated(test, held_out, samples, flow.log_prob, judge.seed)
        try:
            values = dict(catalogue.function(metric)(given))
            names = {column.name for column in metric.columns}
            if values.keys() != names:
                raise ValueError(f"it fills {sorted(values)}, and its columns are {sorted(names)}")
            found |= {name: float(value) for name, value in values.items()}
        except Exception as error:  # a plug-in can raise anything
            raise UsageError(
                f"The metric {metric.name!r} failed: {type(error).__name__}: {error}."
            ) from error
    return found


def _sample(flow: Flow, judge: Judge, report: Report, n: int) -> tuple[Path, dict[str, Any]]:
    report({"event": "stage", "stage": "sampling"})
    noise = flow.noise(n, judge.seed)
    start = now(flow)
    path = flow.decode(noise)
    return path, {"sample_seconds": now(flow) - start, "nfe_sample": flow.nfe, "samples": n}
