"""CNF Bench: which continuous normalizing flow fits these data best, at what cost, how surely?

The Python side of the command line:

    frame = bench.run(methods=["gaussian", "flow-matching"], datasets=["moons"])
    flow = bench.load("flow-matching-moons-s0")
    flow.sample(1000), flow.log_prob(rows)
    bench.records()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from bench.evaluation.flow import Flow

__all__ = ["load", "records", "run"]


def run(
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    *,
    budget: str = "equal",
    minibatches: int | None = None,
    batch_size: int | None = None,
    settings: Sequence[str] = (),
    judge: dict[str, Any] | None = None,
    device: str = "cpu",
    jobs: int = 1,
    threads: int = 1,
    results: str | Path | None = None,
    data: str | Path | None = None,
    include: Sequence[str] = (),
) -> pd.DataFrame:
    """Run a grid, as `bench run` does, and return its rows of `bench.records()`.

    Args:
        methods: names of methods; with no data sets either, the quick study.
        datasets: names of data sets, or paths.
        seeds: the seeds.
        budget: a named budget; `minibatches` and `batch_size` override its numbers.
        settings: `KEY=VALUE` hyper-parameters, as `--set` takes them.
        judge: fields of `bench.records.spec.Judge` to change.
        device: cpu or cuda.
        jobs: runs side by side, each with `threads` threads.
        results: the results folder.
        data: the data root.
        include: Python files with methods or data sets that no distribution installs.

    Raises:
        bench.errors.UsageError: an unknown name or an impossible number.
        bench.errors.DataError: data that are not there.
    """
    from bench.launch.pool import run_all
    from bench.launch.process import Limits
    from bench.launch.progress import display
    from bench.paths import data_root
    from bench.records import store
    from bench.records.bundle import results_dir
    from bench.records.frame import records as frame_of
    from bench.study.planning import plan
    from bench.study.studies import Study, find

    if methods or datasets:
        study = Study(tuple(methods), tuple(datasets), tuple(seeds), budget)
    else:
        study = find("quick")
    study = replace(
        study,
        minibatches=minibatches,
        batch_size=batch_size,
        settings=tuple(settings),
        include=tuple(include),
        judge=replace(study.judge, **(judge or {})),
    )
    folder = results_dir(results, write=True)
    planned = plan(study, folder, data_root(data), device)
    for spec in planned.damaged:
        store.set_aside(folder, spec.run)
    with display(planned.todo) as show:
        for spec, event in run_all(planned.todo, folder, jobs, Limits(threads)):
            show(spec, event)
    frame = frame_of(folder)
    return frame[frame["run"].isin([spec.run for spec in planned.runs])]


def load(run: str, results: str | Path | None = None, include: Sequence[str] = ()) -> Flow:
    """The trained flow of a run: `.sample(n)` and `.log_prob(x)`, by the run's reference solver.

    Args:
        run: a run's name, or any unambiguous start of it.
        results: the results folder.
        include: the Python file of the run's method, where no distribution installs it.

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
    """All runs below the results folder, one row each."""
    from bench.records.bundle import results_dir
    from bench.records.frame import records as frame_of

    return frame_of(results_dir(results))
