"""What the harness adds to a step: flow matching through it, and the same loop written bare.

Both train the same network on the same rows with the same optimiser, one after the other in pairs;
the median ratio of their seconds a step is printed. Validation is not counted: the bare loop has
none.

    python tests/benchmarks/harness_cost.py [--pairs N] [--minibatches N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bench.data import arrays
from bench.records import store
from bench.records.spec import Judge, Limits, RunSpec
from bench.registry import plugins
from bench.study.planning import plan
from bench.study.studies import Study
from bench.training.run import build
from bench.training.session import Session
from bench_methods.networks import FourierMLP

#: The most that a step through the harness may take, in bare steps.
BOUND = 1.05


def through_the_harness(spec: RunSpec, root: Path) -> float:
    """Seconds a step of a run: the stream, the curve, reports and checkpoints with it."""
    data = arrays.load(plugins.dataset(spec.dataset), root)
    draft = store.outline(spec)
    folder = store.begin(root / "runs", spec.run)
    for path in folder.iterdir():
        path.unlink()
    method = build(spec, data.train.shape[1])
    session = Session(
        spec=spec,
        draft=draft,
        folder=folder,
        report=lambda event: None,
        limits=Limits(),
        stop=threading.Event(),
    )
    start = time.perf_counter()
    session.learn(method, data)
    seconds = time.perf_counter() - start - draft["cost"]["validation_seconds"]
    return seconds / spec.minibatches


def bare(spec: RunSpec, root: Path) -> float:
    """Seconds a step of the loop that a paper's repository would have."""
    rows = torch.from_numpy(np.array(arrays.load(plugins.dataset(spec.dataset), root).train))
    torch.manual_seed(spec.seed)
    field = FourierMLP(
        rows.shape[1],
        spec.config["width"],
        spec.config["frequencies"],
        spec.config["activation"],
        spec.config["scale"],
    )
    optimizer = torch.optim.Adam(field.parameters(), spec.config["learning_rate"])
    order = torch.randperm(len(rows))
    start = time.perf_counter()
    for k in range(spec.minibatches):
        at = k * spec.batch_size % (len(rows) - spec.batch_size)
        x1 = rows[order[at : at + spec.batch_size]]
        x0 = torch.randn_like(x1)
        t = torch.rand(len(x1))
        x_t = (1 - t)[:, None] * x0 + t[:, None] * x1
        loss = (field(t, x_t) - (x1 - x0)).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(field.parameters(), spec.config["clip"])
        for group in optimizer.param_groups:
            group["lr"] = spec.config["learning_rate"] * (1 - k / spec.minibatches)
        optimizer.step()
        loss.item()
    return (time.perf_counter() - start) / spec.minibatches


def main() -> None:
    """Time both in pairs; exit 1 where the median ratio is above the bound."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--minibatches", type=int, default=1_000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        study = Study(
            *(("flow-matching",), ("8gaussians",), (0,), "equal"),
            judge=Judge(validations=1, validation_rows=100),
            minibatches=asked.minibatches,
        )
        (spec,) = plan(study, root / "runs", root).runs
        ratios = []
        for pair in range(asked.pairs):
            both = [bare, through_the_harness]
            if pair % 2:
                both.reverse()
            seconds = {one: one(spec, root) for one in both}
            ratios.append(seconds[through_the_harness] / seconds[bare])
            print(
                f"bare {1e3 * seconds[bare]:.3f} ms, harness "
                f"{1e3 * seconds[through_the_harness]:.3f} ms a step: {ratios[-1]:.3f}",
                flush=True,
            )
    median = statistics.median(ratios)
    print(f"median ratio {median:.3f} of {len(ratios)} pairs; at most {BOUND}")
    sys.exit(0 if median <= BOUND else 1)


if __name__ == "__main__":
    main()
