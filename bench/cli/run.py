"""`bench run`: the grid of methods, data sets and seeds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bench.cli.asked import device_of, memory_of, overridden, share_cores, study_of
from bench.cli.making import engine_of, make_runs, outcome, show_plan
from bench.cli.options import include_all, include_option
from bench.errors import UsageError
from bench.paths import data_root
from bench.records.bundle import results_dir

if TYPE_CHECKING:
    from bench.study.planning import Only


@click.command()
@click.option(
    "--study",
    "study_name",
    metavar="NAME|FILE.toml",
    help="A study (bench list studies), or one's own in a file.",
)
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
@include_option
@click.option("--dry-run", is_flag=True, help="Show the plan, run nothing.")
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
@click.option("--data", metavar="DIR", help="The data root.")
def run(
    study_name: str | None,
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
    include: tuple[str, ...],
    dry_run: bool,
    results: str | None,
    data: str | None,
) -> None:
    """Run methods on data sets, each with each seed, and show the comparison.

    With neither a method nor a data set: the quick study, which needs no download. What has a
    record is skipped; every run is a process of its own and leaves a record, however it ends.
    Ctrl-C stops after the step in hand, and the same command goes on from there; twice, at once.
    Several of these commands on one results folder share the work.

    A study is a file: methods, datasets, seeds, budget, minibatches, batch_size, settings,
    include, judge.
    What is given beside it takes the place of its own: -m, -d, -s, --test-rows, --minibatches,
    --batch-size; -b with that budget's numbers. Each --set is added to its settings and wins over
    them. A data table's path in a study file is relative to that file.

    \b
    Examples:
      bench run
      bench run --study table1 -d bsds300 -s 0 --data ~/data --dry-run
      bench run --study my_study.toml -j 2
      bench run -m gaussian -m flow-matching -d 8gaussians -s 0 -s 1 -s 2 -j 2
      bench run -m ffjord -d my_table.csv --minibatches 2000 --batch-size 256
      bench run -m flow-matching -d power --set width=512 --data ~/data --dry-run
      bench run -m jko -d bsds300 -b table1 --test-rows 250000
      bench run --include my_flow.py -m my-flow -m gaussian -d moons --minibatches 2000
      bench run --only failed
      bench run -d power -m jko -m ffjord --scheduler tcp://node1:8786 --threads 4
    """
    if scheduler and cluster:
        raise UsageError("--scheduler names a cluster and --cluster starts one.", "Give one.")
    include_all(include)
    study = study_of(study_name, methods, datasets, settings)
    study = overridden(study, seeds, budget, minibatches, batch_size, test_rows)
    folder = results_dir(results, write=True)
    click.echo("Planning (the first time, data are read and cached) ...", err=True)
    from bench.study.planning import plan

    elsewhere = bool(scheduler or cluster == "slurm")
    device = device_of(device, elsewhere)
    planned = plan(study, folder, data_root(data), device, only, timeout)
    for spec in planned.damaged:
        click.secho(f"{spec.run}: its record can't be read.", fg="yellow", err=True)
    if dry_run:
        show_plan(planned, folder, jobs)
        return
    from bench.launch.process import Limits

    if not elsewhere:
        jobs, threads = share_cores(jobs, threads)
    if not planned.todo:
        scheduler = cluster = None
    engine = engine_of(
        *(scheduler, cluster, jobs, threads, device),
        Limits(memory=memory_of(memory, elsewhere), checkpoint_every=checkpoint_every),
        again=only in ("failed", "all"),
    )
    told = make_runs(planned, folder, engine)
    sys.exit(0 if outcome(planned, folder, told) else 1)
