"""Evaluate a trained method: density of the test rows, samples, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.api.declarations import Evaluated
from bench.api.method import Continuous, Method
from bench.data.arrays import Loaded
from bench.errors import UsageError
from bench.evaluation.checks import check_formulas, integral, movements, round_trip
from bench.evaluation.flow import Report, choose, now, pick, reference_flow
from bench.evaluation.log_density import likelihood
from bench.evaluation.two_samples import evaluated, quality, sample_size, two_samples
from bench.metrics.transport import transport
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
    metrics |= two_samples(rows, judge)
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
        data.test_groups(scored) if data.test_groups else None,
    )


def _catalogued(rows: Evaluated, report: Report) -> dict[str, float]:
    """Return the values of the catalogue's metrics that are functions, and those of plug-ins.

    Raises:
        UsageError: a metric fails, or does not return a number for each of its columns.
    """
    found: dict[str, float] = {}
    for metric in catalogue.metrics():
        report({"event": "stage", "stage": metric.name})
        try:
            values = dict(catalogue.function(metric)(rows))
            names = {column.name for column in metric.columns}
            if values.keys() != names:
                raise ValueError(f"expected values for {sorted(names)}, got {sorted(values)}")
            found |= {name: float(value) for name, value in values.items()}
        except Exception as error:  # a plug-in can raise anything
            raise UsageError(
                f"The metric {metric.name!r} failed: {type(error).__name__}: {error}."
            ) from error
    return found
