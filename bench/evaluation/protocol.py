"""What every evaluation shares: the reference solver, the rows, the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.api.method import Method
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver
from bench.records.spec import Judge

#: Called with every step, validation and stage of a run.
Report = Callable[[dict[str, Any]], None]


def reference_solver(judge: Judge) -> Solver:
    """Return the solver that evaluates every continuous method."""
    return Solver(judge.solver, judge.rtol, judge.atol, judge.max_num_steps)


def reference_flow(method: Method, judge: Judge) -> Flow:
    """Return the flow of a method by the reference solver, in the judge's precision."""
    return Flow(method, reference_solver(judge), getattr(torch, judge.dtype), judge.rows_at_once)


def choose(total: int, n: int, seed: int) -> NDArray[np.int64]:
    """Return the sorted indices of `n` of `total` rows, the same for every method; at most all."""
    if n >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, n, replace=False))


def pick(rows: NDArray[np.float32], n: int, seed: int) -> NDArray[np.float32]:
    """Return the rows that `choose` chooses."""
    return np.asarray(rows) if n >= len(rows) else rows[choose(len(rows), n, seed)]


def now(flow: Flow) -> float:
    """Return the seconds of a monotonic clock, after the flow's device has finished its work."""
    if flow.device.type == "cuda":
        torch.cuda.synchronize(flow.device)
    return time.perf_counter()
