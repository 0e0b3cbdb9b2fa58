"""Whether samples can be distinguished from test rows, and how good few evaluations make them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.api.declarations import Evaluated
from bench.data.arrays import Loaded, kept
from bench.evaluation.flow import Flow, Report, pick
from bench.metrics import mmd
from bench.metrics.kernel_sums import Sums
from bench.metrics.mmd import Null, discrepancy, median_distance, null_sums, two_sample
from bench.metrics.two_sample_tests import FACTORS, aggregated, classifier_test
from bench.numerics.ode import Solver, SolverFailed
from bench.records.spec import Judge
from bench.registry import plugins

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


def two_samples(
    rows: Evaluated, judge: Judge, report: Report = lambda event: None
) -> dict[str, Any]:
    """Return both MMDs of the samples, with tau from the same test rows against held-out ones.

    Of part of each sample, also the test over all bandwidths and the classifier test.
    """
    gammas, null = true_data(rows, judge, report)
    compared = two_sample(
        rows.test,
        rows.samples,
        rows.held_out,
        gammas,
        permutations=judge.permutations,
        alpha=judge.alpha,
        seed=judge.seed,
        null=null,
    )
    n = min(judge.aggregated_n, len(rows.test))
    # test rows lie in the order of the split
    order = torch.randperm(len(rows.test), generator=torch.Generator().manual_seed(judge.seed))
    x, samples = rows.test[order[:n]], rows.samples[:n]
    median = median_distance(torch.cat([x, samples]))
    return {
        "mmd_n": len(rows.samples),
        "permutations": judge.permutations,
        **compared,
        **aggregated(
            x,
            samples,
            [factor * median for factor in FACTORS],
            permutations=judge.permutations,
            seed=judge.seed,
        ),
        **classifier_test(x.numpy(), samples.numpy(), seed=judge.seed),
    }


def true_data(rows: Evaluated, judge: Judge, report: Report) -> tuple[dict[str, float], Null]:
    """Return what the real rows alone determine: the bandwidths, and the sums that tau rests on.

    They are kept beside the array cache, one file for the same rows, relabellings, source of the
    metrics, and arithmetic of this machine: with and without it the numbers are the same.
    """
    settings = {
        "permutations": judge.permutations,
        "seed": judge.seed,
        "source": plugins.version(EntryPoint("", mmd.__name__, "")),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
    state = hashlib.sha256(json.dumps(settings).encode())
    for each in (rows.test, rows.held_out):
        state.update(f"{each.dtype} {tuple(each.shape)}".encode())
        state.update(each.numpy().data)

    def make() -> Mapping[str, NDArray[Any]]:
        gamma = median_distance(rows.test)
        options = {"permutations": judge.permutations, "seed": judge.seed}
        null = null_sums(rows.test, rows.held_out, {"m": gamma, "1": 1.0}, **options)
        return {
            "gamma_m": np.array(gamma),
            "plain": null.within.plain.numpy(),
            "signed": null.within.signed.numpy(),
            "total": null.total.numpy(),
            "relabelled": null.relabelled.numpy(),
        }

    found = kept("tau", state.digest(), make, lambda note: report({"event": "note", "note": note}))
    plain, signed, total, relabelled = (
        torch.from_numpy(found[name]) for name in ("plain", "signed", "total", "relabelled")
    )
    gammas = {"m": float(found["gamma_m"]), "1": 1.0}
    return gammas, Null(Sums(plain, signed), total, relabelled)


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
