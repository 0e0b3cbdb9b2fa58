"""What a step costs, and whether the method learns on a GPU: where there is one."""

from __future__ import annotations

import statistics
import time

import torch

from bench.api.method import evaluations
from bench.conformance.outcome import Broken, NotTried
from bench.conformance.subject import BATCH, SOLVER, Subject, learn
from bench.evaluation.flow import Flow

#: Steps that are timed, after some that warm up.
TIMED, WARM = 20, 3


def check_device(subject: Subject) -> str:
    """On a GPU all that it makes lies there."""
    if not torch.cuda.is_available():
        raise NotTried("there is no CUDA device here")
    there = Subject(subject.name, subject.kind, subject.settings, subject.files, "cuda")
    method = there.make(2)
    try:
        learn(method, there.stream(2, 2))
        log_prob = Flow(method, SOLVER, torch.float32).log_prob(there.x(2, 5))
    except RuntimeError as error:
        if "device" not in str(error):
            raise
        raise Broken(
            f"On a GPU it mixes devices: {' '.join(str(error).split()):.150}.",
            "Make tensors like the input (x.new_zeros), and keep constants as buffers.",
        ) from error
    if log_prob.device.type != "cuda":
        raise Broken("On a GPU log_prob answers on the CPU.", "Call no .cpu() in it.")
    return torch.cuda.get_device_name()


def check_speed(subject: Subject) -> str:
    """Milliseconds a mini-batch: what it is, not what it has to be."""
    method, batches = subject.make(2), subject.stream(2, WARM + TIMED)
    seconds, before = [], evaluations(method)
    start = time.perf_counter()
    for _ in method.learn(batches):
        if subject.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    nfe = (evaluations(method) - before) / len(seconds)
    each = f", {nfe:.3g} evaluations of the velocity" if subject.is_continuous else ""
    median = statistics.median(seconds[WARM:]) * 1_000
    return (
        f"{median:.3g} ms a mini-batch of {BATCH} rows in 2-D (median of {TIMED}){each}; advisory"
    )
