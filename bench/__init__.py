"""CNF Bench: which continuous normalizing flow fits these data best, at what cost, how surely?

The Python side of the command line:

    frame = bench.run(methods=["gaussian", "flow-matching"], datasets=["moons"])
    flow = bench.load("flow-matching-moons-s0")
    flow.sample(1000), flow.log_prob(rows)
    bench.records()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Imported first, since a later import would put the package in place of the function `records`.
import bench.records  # noqa: F401

if TYPE_CHECKING:
    import pandas as pd

    from bench.evaluation.flow import Flow
    from bench.launch.driver import Cluster
    from bench.study.planning import Only

__all__ = ["load", "records", "run"]


def run(
    methods: Sequence[str] = (),
    datasets: Sequence[str | Path] = (),
    seeds: Sequence[int] = (),
    *,
    study: str | Path | None = None,
    budget: str | None = None,
    minibatches: int | None = None,
    batch_size: int | None = None,
    settings: Sequence[str] = (),
    compile: bool | None = None,
    judge: Mapping[str, Any] | None = None,
    test_rows: int | None = None,
    device: str = "cpu",
    jobs: int = 1,
    timeout: float | None = None,
    only: Only = "missing",
    scheduler: str | None = None,
    cluster: Cluster | None = None,
    results: str | Path | None = None,
    data: str | Path | None = None,
    include: Sequence[str | Path] = (),
    **limits: Any,
) -> pd.DataFrame:
    """Run methods on data sets, as `bench run` does, and return their rows of `bench.records()`.

    Args:
        methods: names of methods; with neither methods nor data sets, the quick study.
        datasets: names of data sets, or paths.
        seeds: the seeds; 0, or the study's own, by default.
        study: the name of a study or its file; all else that is given replaces its own.
        budget: a named budget; `minibatches` and `batch_size` override its numbers.
        settings: `KEY=VALUE` hyper-parameters, as `--set` takes them.
        compile: whether functions of the methods are compiled; by default as the study says.
        judge: fields of `bench.records.spec.Judge` to change; `test_rows` is one of them.
        device: `cpu`, `cuda` or `auto`.
        jobs: runs at a time.
        timeout: time limit per run in seconds.
        only: which runs to make: `missing`, `failed`, `stale` or `all`.
        scheduler, cluster: the Dask cluster to run on, as `--scheduler` and `--cluster`.
        results: the results folder.
        data: the data root.
        include: Python files with methods, data sets or metrics that no package installs.
        limits: fields of `bench.records.spec.Limits`: `threads` (by default the jobs share the
            cores) and `memory` in GiB per run, `checkpoint_every` seconds.

    Raises:
        bench.errors.UsageError: an unknown name or an impossible number.
        bench.errors.DataError: missing or damaged data.
    """
    options = locals() | limits | {"judge": judge or {}}
    del options["limits"]
    from functools import partial

    from bench.launch import driver
    from bench.launch.progress import display
    from bench.terminal import echo

    notify = partial(echo, err=True)
    prepared = driver.prepare(driver.StudyRequest(**options), notify)
    driver.run(prepared, display, notify)
    frame = records(prepared.folder)
    return frame[frame["run"].isin([spec.run for spec in prepared.plan.runs])]


def load(run: str, results: str | Path | None = None, include: Sequence[str] = ()) -> Flow:
    """Return the trained flow of a run: `.sample(n)`, `.log_prob(x)` by the run's reference solver.

    Args:
        run: a run's name, or any unambiguous start of it.
        results: the results folder.
        include: the Python file of the run's method, where no package installs it.

    Raises:
        bench.errors.UsageError: no such run.
        bench.errors.DataError: the run has no model that can be read.
    """
    from bench.records import store
    from bench.records.bundle import results_dir
    from bench.registry import plugins
    from bench.training.run import load_flow

    for file in include:
        plugins.include(file)
    folder = results_dir(results)
    return load_flow(store.find(folder, run), folder)


def records(results: str | Path | None = None) -> pd.DataFrame:
    """Return all runs below the results folder, one row each."""
    from bench.records.bundle import results_dir
    from bench.records.frame import records as frame_of

    return frame_of(results_dir(results))
