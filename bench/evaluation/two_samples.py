"""Whether samples can be distinguished from test rows, and how good few evaluations make them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.api.declarations import Evaluated
from bench.data.arrays import Loaded
from bench.evaluation.flow import Flow, pick
from bench.metrics.mmd import discrepancy, median_distance, two_sample
from bench.metrics.two_sample_tests import FACTORS, aggregated, classifier_test
from bench.numerics.ode import Solver, SolverFailed
from bench.records.spec import Judge

#: Euler steps in each piece.
STEPS = (1, 2, 4, 8, 16, 32)


def sample_size(data: Loaded, judge: Judge) -> int:
    """Return the rows per side of the two-sample tests: as many as both sides have."""
    return min(judge.mmd_n, len(data.test), len(data.validation) + len(data.train))


def evaluated(flow: Flow, samples: Tensor, data: Loaded, judge: Judge) -> Evaluated:
    """Return what metrics of samples are given, with as many real rows as there are samples.

    The held-out rows come from the validation split, and from the training split if that is too
    small.
    """
    n = len(samples)
    held_out = pick(data.validation, n, judge.seed)
    if len(held_out) < n:
        held_out = np.concatenate([held_out, pick(data.train, n - len(held_out), judge.seed)])
    return Evaluated(
        test=torch.from_numpy(np.array(pick(data.test, n, judge.seed))),
        held_out=torch.from_numpy(np.array(held_out)),
        samples=samples.float(),
        log_prob=flow.log_prob,
        seed=judge.seed,
    )


def two_samples(rows: Evaluated, judge: Judge) -> dict[str, Any]:
    """Return both MMDs of the samples, with tau from the same test rows against held-out ones.

    Of part of each sample, also the test over all bandwidths and the classifier test.
    """
    compared = two_sample(
        rows.test,
        rows.samples,
        rows.held_out,
        {"m": median_distance(rows.test), "1": 1.0},
        permutations=judge.permutations,
        alpha=judge.alpha,
        seed=judge.seed,
    )
    n = min(judge.aggregated_n, len(rows.test))
    # test rows lie in the order of the split
    order = torch.randperm(len(rows.test), generator=torch.Generator().manual_seed(judge.seed))
    x, samples = rows.test[order[:n]], rows.samples[:n]
    gammas = [factor * median_distance(torch.cat([x, samples])) for factor in FACTORS]
    return {
        "mmd_n": len(rows.samples),
        "permutations": judge.permutations,
        **compared,
        **aggregated(x, samples, gammas, permutations=judge.permutations, seed=judge.seed),
        **classifier_test(x.numpy(), samples.numpy(), seed=judge.seed),
    }


def quality(
    flow: Flow, z: Tensor, x: Tensor, gamma: float, samples: Tensor, nfe: float
) -> list[dict[str, Any]]:
    """Return the squared MMD between test rows and samples by few Euler steps, a line for each.

    A straight path needs one step (Liu et al. 2023, table 1, with FID there). Evaluations are
    counted over all pieces; the last line is the reference solver's.

    Args:
        flow: by the reference solver.
        z: noise `(n, d)`, the same for every number of steps.
        x: test rows `(n, d)`.
        gamma: the bandwidth.
        samples: the reference solver's samples from that noise, `(n, d)`.
        nfe: the evaluations that they took.
    """
    lines: list[tuple[dict[str, Any], Tensor]] = []
    for steps in STEPS:
        euler = Flow(flow.method, Solver("euler", steps=steps), flow.dtype, flow.rows_at_once)
        try:
            rows = euler.decode(z).rows.cpu().float()
        except SolverFailed:  # values overflow with so few steps
            rows = torch.full_like(x, torch.nan)
        lines.append(({"solver": "euler", "steps": steps, "nfe": euler.nfe}, rows))
    lines.append(({"solver": flow.solver.name if flow.solver else "", "nfe": nfe}, samples))
    for line, rows in lines:
        known = bool(torch.isfinite(rows).all())
        line["mmd_m"], line["mmd_m_u"] = discrepancy(x, rows, gamma) if known else (None, None)
    return [line for line, _ in lines]
