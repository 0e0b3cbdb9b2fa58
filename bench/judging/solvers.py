"""The judge's solver and its clock."""

from __future__ import annotations

import time

import torch

from bench.flow import Flow
from bench.numerics.ode import Solver
from bench.spec import Judge


def reference_solver(judge: Judge) -> Solver:
    """The solver that every continuous method is scored and sampled by."""
    return Solver(judge.solver, judge.rtol, judge.atol, judge.max_num_steps)


def now(flow: Flow) -> float:
    """Seconds of a monotonic clock, once the flow's device has done what it was given."""
    if flow.device.type == "cuda":
        torch.cuda.synchronize(flow.device)
    return time.perf_counter()
