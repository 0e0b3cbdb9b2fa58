"""The judge's solver and its clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver
from bench.records.spec import Judge

#: Is told of every step, validation and stage of a run.
Report = Callable[[dict[str, Any]], None]


def reference_solver(judge: Judge) -> Solver:
    """The solver that every continuous method is scored and sampled by."""
    return Solver(judge.solver, judge.rtol, judge.atol, judge.max_num_steps)


def now(flow: Flow) -> float:
    """Seconds of a monotonic clock, once the flow's device has done what it was given."""
    if flow.device.type == "cuda":
        torch.cuda.synchronize(flow.device)
    return time.perf_counter()
