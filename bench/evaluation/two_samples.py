"""Whether the flow's samples can be told from test rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.arrays import Loaded
from bench.evaluation.rows import pick
from bench.metrics.aggregated import FACTORS, aggregated
from bench.metrics.classifier import classifier_test
from bench.metrics.mmd import median_distance, two_sample
from bench.records.spec import Judge


def sample_size(data: Loaded, judge: Judge) -> int:
    """Rows a side of the two-sample tests: as many as the test split and the rest both have."""
    return min(judge.mmd_n, len(data.test), len(data.validation) + len(data.train))


def two_samples(samples: Tensor, data: Loaded, judge: Judge) -> dict[str, Any]:
    """Both MMDs of the samples against test rows; tau from the same test rows against real ones."""
    n = len(samples)
    x, held_out = real_rows(n, data, judge)
    results = two_sample(
        x,
        samples.float(),
        held_out,
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
            f"tau_{name}_se": result.tau_v_se,
            f"tau_{name}_u_se": result.tau_u_se,
            f"p_{name}": result.p,
            f"gamma_{name}": result.gamma,
        }
    return metrics | _others(x, samples.float(), judge)


def real_rows(n: int, data: Loaded, judge: Judge) -> tuple[Tensor, Tensor]:
    """`n` test rows and `n` other real rows, both `(n, d)`, the same for every method.

    The others are of the validation split, and of the training split where that is too small.
    """
    held_out = pick(data.validation, n, judge.seed)
    if len(held_out) < n:
        held_out = np.concatenate([held_out, pick(data.train, n - len(held_out), judge.seed)])
    test = np.array(pick(data.test, n, judge.seed))
    return torch.from_numpy(test), torch.from_numpy(np.array(held_out))


def _others(x: Tensor, samples: Tensor, judge: Judge) -> dict[str, Any]:
    """The tests of another kind, on the first rows of each sample."""
    n = min(judge.aggregated_n, len(x))
    x, samples = _shuffled(x, n, judge.seed), samples[:n]
    gammas = [factor * median_distance(torch.cat([x, samples])) for factor in FACTORS]
    over = aggregated(x, samples, gammas, permutations=judge.permutations, seed=judge.seed)
    told = classifier_test(x.numpy(), samples.numpy(), seed=judge.seed)
    return {
        "p_aggregated": over.p,
        "aggregated_gamma": over.gamma,
        "aggregated_n": over.n,
        "c2st": told.accuracy,
        "c2st_se": told.se,
        "p_c2st": told.p,
        "c2st_rows": told.rows,
    }


def _shuffled(x: Tensor, n: int, seed: int) -> Tensor:
    """`n` of the rows `(rows, d)`; the test rows lie in the order of the split."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]
