"""`bench run`: the grid of methods, data sets and seeds."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.errors import UsageError
from bench.paths import data_root, results_dir

if TYPE_CHECKING:
    from bench.cluster.connecting import Engine
    from bench.planning import Only, Plan
    from bench.study import Study


@click.command()
@click.option("-m", "--method", "methods", multiple=True, metavar="M", help="A method; repeat it.")
@click.option(
    "-d",
    "--dataset",
    "datasets",
    multiple=True,
    metavar="D",
    help="A data set or a path; repeat it.",
)
@click.option(
    "-s", "--seed", "seeds", multiple=True, type=int, metavar="N", help="A seed; repeat it."
)
@click.option("-b", "--budget", metavar="NAME", help="A named budget (bench list budgets).")
@click.option("--minibatches", type=int, metavar="N", help="Instead of the budget's number.")
@click.option("--batch-size", type=int, metavar="B", help="Instead of the budget's size.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A hyper-parameter; repeat it."
)
@click.option(
    "--device", type=click.Choice(["cpu", "cuda", "auto"]), default="cpu", show_default=True
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs side by side; with --scheduler its workers decide.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads a run [default: cores / jobs; on other machines 1].",
)
@click.option("--scheduler", metavar="ADDRESS", help="Run on the workers of this Dask scheduler.")
@click.option(
    "--cluster", type=click.Choice(["local", "slurm"]), help="Start Dask workers there, -j of them."
)
@click.option(
    "--only",
    type=click.Choice(["missing", "failed", "stale", "all"]),
    default="missing",
    show_default=True,
    help="Which cells to run.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Time limit of a run.",
)
@click.option(
    "--test-rows",
    type=click.IntRange(min=2),
    metavar="N",
    help="Test rows to score at most [default: 20,000; the quick study: 5,000].",
)
@click.option("--dry-run", is_flag=True, help="Show the plan, run nothing.")
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
@click.option("--data", metavar="DIR", help="The data root.")
def run(
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    seeds: tuple[int, ...],
    budget: str | None,
    minibatches: int | None,
    batch_size: int | None,
    settings: tuple[str, ...],
    device: str,
    jobs: int,
    threads: int | None,
    scheduler: str | None,
    cluster: str | None,
    only: Only,
    timeout: float | None,
    test_rows: int | None,
    dry_run: bool,
    results: str | None,
    data: str | None,
) -> None:
    """Run methods on data sets, each with each seed, and show the comparison.

    With neither a method nor a data set: the quick study, which needs no download. What has a
    record is skipped; every run is a process of its own and leaves a record, however it ends.

    \b
    Examples:
      bench run
      bench run -m gaussian -m flow-matching -d 8gaussians -s 0 -s 1 -s 2 -j 2
      bench run -m ffjord -d my_table.csv --minibatches 2000 --batch-size 256
      bench run -m flow-matching -d power --set width=512 --data ~/data --dry-run
      bench run -m jko -d bsds300 -b table1 --test-rows 250000
      bench run --only failed
      bench run -d power -m jko -m ffjord --scheduler tcp://node1:8786 --threads 4
    """
    if scheduler and cluster:
        raise UsageError("--scheduler names a cluster and --cluster starts one.", "Give one.")
    study = _study(methods, datasets, seeds, budget)
    study = replace(study, minibatches=minibatches, batch_size=batch_size, settings=settings)
    if test_rows:
        study = replace(study, judge=replace(study.judge, test_rows=test_rows))
    folder = results_dir(results)
    click.echo("Planning (the first time, data are read and cached) ...", err=True)
    from bench.planning import plan

    elsewhere = bool(scheduler or cluster == "slurm")
    device = _device(device, elsewhere)
    planned = plan(study, folder, data_root(data), device, only, timeout)
    if dry_run:
        _show(planned, folder)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not elsewhere:
        threads = threads or max(1, (cores or 1) // jobs)
    if not planned.todo:
        scheduler = cluster = None
    done = _run(planned, folder, _engine(scheduler, cluster, jobs, threads, device))
    _table(planned, folder)
    sys.exit(0 if done else 1)


def _study(
    methods: tuple[str, ...], datasets: tuple[str, ...], seeds: tuple[int, ...], budget: str | None
) -> Study:
    from bench.study import Study, shipped

    if methods and datasets:
        study = Study(tuple(dict.fromkeys(methods)), tuple(dict.fromkeys(datasets)))
    elif methods or datasets:
        missing, option = ("a data set", "-d") if methods else ("a method", "-m")
        raise UsageError(f"Name {missing} too ({option}),", "or neither, for the quick study.")
    else:
        study = shipped("quick")
    if seeds:
        study = replace(study, seeds=tuple(dict.fromkeys(seeds)))
    return replace(study, budget=budget) if budget else study


def _device(asked: str, elsewhere: bool) -> str:
    """The device to run on, here or `elsewhere`.

    Raises:
        UsageError: a GPU is asked for where there is none, or nobody can tell.
    """
    if elsewhere and asked == "auto":
        raise UsageError("What other machines have can't be told from here.", "Name a --device.")
    if asked == "cpu" or elsewhere:
        return asked
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise UsageError("There is no CUDA device here.", "Use --device cpu, or auto.")
    return "cpu"


def _show(planned: Plan, folder: Path) -> None:
    todo = {spec.run for spec in planned.todo}
    for spec in planned.runs:
        mark = "run " if spec.run in todo else "skip"
        click.echo(f"{mark}  {spec.run}  {spec.minibatches} x {spec.batch_size}")
    click.echo(f"{len(todo)} of {len(planned.runs)} runs to make, in {folder}")


def _engine(
    scheduler: str | None, cluster: str | None, jobs: int, threads: int | None, device: str
) -> AbstractContextManager[Engine]:
    """What makes the runs: child processes here, or a Dask cluster."""
    if scheduler or cluster:
        from bench.cluster import engine

        return engine(scheduler, cluster, jobs, threads, device)
    from bench.grid import run_all

    return nullcontext(partial(run_all, jobs=jobs, threads=threads or 1))


def _run(planned: Plan, folder: Path, engine: AbstractContextManager[Engine]) -> bool:
    """Make the runs that are to be made; whether all of the study ended well."""
    from bench import record
    from bench.progress import display

    skipped = len(planned.runs) - len(planned.todo)
    if skipped:
        click.echo(f"{skipped} of {len(planned.runs)} runs are done already.", err=True)
    try:
        with engine as make, display(planned.todo) as show:
            for spec, event in make(planned.todo, folder):
                show(spec, event)
    except KeyboardInterrupt:
        click.echo("\nStopped. Finished runs are kept; the same command goes on.", err=True)
        sys.exit(130)
    failed = []
    for spec in planned.runs:
        content = record.read(folder, spec.run)
        if content is None or content["status"] != "ok":
            failed.append((spec.run, content))
    for name, content in failed:
        status, reason = (content["status"], content["reason"]) if content else ("no record", "")
        click.secho(f"{name}: {status}: {reason}", fg="red", err=True)
    if failed:
        click.echo("Failed runs are repeated with --only failed.", err=True)
    return not failed


def _table(planned: Plan, folder: Path) -> None:
    """The comparison of this study's runs alone."""
    from bench.tables.frame import records
    from bench.tables.render import comparison, render

    frame = records(folder)
    frame = frame[frame["run"].isin([spec.run for spec in planned.runs])]
    if len(frame):
        click.echo(render(comparison(frame, results=folder), "text"))
