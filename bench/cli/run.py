"""`bench run`: the grid of methods, data sets and seeds."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.errors import UsageError
from bench.paths import data_root, results_dir

if TYPE_CHECKING:
    from bench.child import Limits
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
    help="Time limit of a run, each time that it is started or taken up.",
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="Memory limit of a run [default: 90 % of the machine's].",
)
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two checkpoints of a run.",
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
    memory: float | None,
    checkpoint_every: float,
    test_rows: int | None,
    dry_run: bool,
    results: str | None,
    data: str | None,
) -> None:
    """Run methods on data sets, each with each seed, and show the comparison.

    With neither a method nor a data set: the quick study, which needs no download. What has a
    record is skipped; every run is a process of its own and leaves a record, however it ends.
    Ctrl-C stops after the step in hand, and the same command goes on from there; twice, at once.
    Several of these commands on one results folder share the work.

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
    from bench.child import Limits

    if not elsewhere:
        jobs, threads = _share_cores(jobs, threads)
    if not planned.todo:
        scheduler = cluster = None
    engine = _engine(
        *(scheduler, cluster, jobs, threads, device),
        Limits(memory=_memory(memory, elsewhere), checkpoint_every=checkpoint_every),
        again=only in ("failed", "all"),
    )
    done = _run(planned, folder, engine)
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


def _share_cores(jobs: int, threads: int | None) -> tuple[int, int]:
    """How many runs side by side, and the threads of each: no more in all than cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = max(1, (cores or 1) // (threads or 1))
    if jobs > most:
        each = f" of {threads} threads" if threads else ""
        click.echo(f"{jobs} runs{each} would share {cores} cores: {most} at a time.", err=True)
        jobs = most
    return jobs, threads or max(1, (cores or 1) // jobs)


def _memory(gib: float | None, elsewhere: bool) -> int | None:
    """The memory limit of a run in bytes; nothing is known of machines elsewhere."""
    import psutil

    if gib is None and elsewhere:
        return None
    return int(gib * 2**30 if gib else 0.9 * psutil.virtual_memory().total)


def _show(planned: Plan, folder: Path) -> None:
    todo = {spec.run for spec in planned.todo}
    for spec in planned.runs:
        mark = "run " if spec.run in todo else "skip"
        click.echo(f"{mark}  {spec.run}  {spec.minibatches} x {spec.batch_size}")
    click.echo(f"{len(todo)} of {len(planned.runs)} runs to make, in {folder}")


def _engine(
    scheduler: str | None,
    cluster: str | None,
    jobs: int,
    threads: int | None,
    device: str,
    limits: Limits,
    again: bool,
) -> AbstractContextManager[Engine]:
    """What makes the runs: child processes here, or a Dask cluster."""
    if scheduler or cluster:
        from bench.cluster import engine

        return engine(scheduler, cluster, jobs, threads, device, limits, again)
    from bench.grid import run_all

    limits = replace(limits, threads=threads or 1)
    gpus = _gpus() if device == "cuda" else ()
    return nullcontext(partial(run_all, jobs=jobs, limits=limits, gpus=gpus, again=again))


def _run(planned: Plan, folder: Path, engine: AbstractContextManager[Engine]) -> bool:
    """Make the runs that are to be made; whether all of the study ended well."""
    from bench import record
    from bench.progress import display

    skipped = len(planned.runs) - len(planned.todo)
    if skipped:
        click.echo(f"{skipped} of {len(planned.runs)} runs are done already.", err=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's way to say Ctrl-C
    told: dict[str, str] = {}  # why runs have ended that left no record
    try:
        with (
            engine as make,
            display(planned.todo) as show,
            closing(make(planned.todo, folder)) as events,
        ):
            for spec, event in events:
                show(spec, event)
                if event.get("reason"):
                    told[spec.run] = event["reason"]
    except KeyboardInterrupt:
        begun = sum(record.part(folder, spec.run).is_dir() for spec in planned.todo)
        click.echo(
            f"\nStopped. Finished runs are kept, {begun} begun; the same command goes on:\n"
            f"  {shlex.join(['bench', *sys.argv[1:]])}",
            err=True,
        )
        sys.exit(130)
    failed = False
    for spec in planned.runs:
        content = record.read(folder, spec.run)
        if content is None or content["status"] != "ok":
            failed = True
            status, reason = (
                (content["status"], content["reason"])
                if content
                else ("no record", told.get(spec.run, ""))
            )
            click.secho(f"{spec.run}: {status}: {reason}", fg="red", err=True)
    if failed:
        click.echo("Failed runs are repeated with --only failed.", err=True)
    return not failed


def _gpus() -> tuple[str, ...]:
    """The GPUs that runs are dealt: those that this process may see."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(visible.split(",") if visible else map(str, range(torch.cuda.device_count())))


def _table(planned: Plan, folder: Path) -> None:
    """The comparison of this study's runs alone."""
    from bench.tables.frame import records
    from bench.tables.render import comparison, render

    frame = records(folder)
    frame = frame[frame["run"].isin([spec.run for spec in planned.runs])]
    if len(frame):
        click.echo(render(comparison(frame, results=folder), "text"))
