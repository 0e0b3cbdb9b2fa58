"""Whether the flow's samples can be told from test rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.arrays import Loaded
from bench.judging.rows import pick
from bench.metrics.mmd import median_distance, two_sample
from bench.spec import Judge


def sample_size(data: Loaded, judge: Judge) -> int:
    """Rows a side of the two-sample tests: as many as the test split and the rest both have."""
    return min(judge.mmd_n, len(data.test), len(data.validation) + len(data.train))


def two_samples(samples: Tensor, data: Loaded, judge: Judge) -> dict[str, Any]:
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
