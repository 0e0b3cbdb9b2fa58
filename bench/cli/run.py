"""`bench run`: the grid of methods, data sets and seeds."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.errors import UsageError
from bench.paths import data_root, results_dir

if TYPE_CHECKING:
    from bench.planning import Only, Plan
    from bench.study import Study


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
    help="Runs side by side.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads a run [default: cores / jobs]."
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

    A study is a file: methods, datasets, seeds, budget, minibatches, batch_size, settings, judge.
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
      bench run --only failed
    """
    study = _study(study_name, methods, datasets, settings)
    study = _overridden(study, seeds, budget, minibatches, batch_size, test_rows)
    folder = results_dir(results)
    click.echo("Planning (the first time, data are read and cached) ...", err=True)
    from bench.planning import plan

    device = _device(device)
    planned = plan(study, folder, data_root(data), device, only, timeout)
    for spec in planned.damaged:
        click.secho(f"{spec.run}: its record can't be read.", fg="yellow", err=True)
    if dry_run:
        _show(planned, folder, jobs)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    _run(planned, folder, jobs, threads or max(1, (cores or 1) // jobs))
    sys.exit(0 if _outcome(planned, folder) else 1)


def _study(
    name: str | None,
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    settings: tuple[str, ...],
) -> Study:
    """The study that is asked for, with the methods, data sets and settings given beside it."""
    from bench.study import Study
    from bench.study_file import find

    methods, datasets = tuple(dict.fromkeys(methods)), tuple(dict.fromkeys(datasets))
    if name is None and methods and datasets:
        return Study(methods, datasets, settings=settings)
    if name is None and (methods or datasets):
        missing, option = ("a data set", "-d") if methods else ("a method", "-m")
        raise UsageError(f"Name {missing} too ({option}),", "or neither, for the quick study.")
    study = find(name or "quick")
    kept = study.settings
    if methods and kept:
        kept = _taken(kept, methods)
    return replace(
        study,
        methods=methods or study.methods,
        datasets=datasets or study.datasets,
        settings=(*kept, *settings),
    )


def _taken(settings: tuple[str, ...], methods: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a study's settings that one of these methods takes; the others are named."""
    from bench.presets import share

    kept = []
    for assignment in settings:
        try:
            share([assignment], methods)
            kept.append(assignment)
        except UsageError:
            click.echo(f"Left out: {assignment}, which none of the methods takes.", err=True)
    return tuple(kept)


def _overridden(
    study: Study,
    seeds: tuple[int, ...],
    budget: str | None,
    minibatches: int | None,
    batch_size: int | None,
    test_rows: int | None,
) -> Study:
    """The study with what is given in place of its own; a budget comes with its numbers."""
    if seeds:
        study = replace(study, seeds=tuple(dict.fromkeys(seeds)))
    if budget:
        study = replace(study, budget=budget, minibatches=None, batch_size=None)
    if minibatches is not None:
        study = replace(study, minibatches=minibatches)
    if batch_size is not None:
        study = replace(study, batch_size=batch_size)
    if test_rows:
        study = replace(study, judge=replace(study.judge, test_rows=test_rows))
    return study


def _device(asked: str) -> str:
    """The device to run on.

    Raises:
        UsageError: a GPU is asked for where there is none.
    """
    if asked == "cpu":
        return asked
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise UsageError("There is no CUDA device here.", "Use --device cpu, or auto.")
    return "cpu"


def _show(planned: Plan, folder: Path, jobs: int) -> None:
    """The plan, and what earlier records say of the time and the memory that it will take."""
    from bench.estimates import estimates, in_all
    from bench.tables.format import duration, memory

    names = [spec.run for spec in planned.todo]
    todo = dict(zip(names, estimates(planned.todo, folder), strict=True))
    for spec in planned.runs:
        estimate = todo.get(spec.run)
        line = (
            f"{'run ' if estimate else 'skip'}  {spec.run}  {spec.minibatches} x {spec.batch_size}"
        )
        if estimate:
            time = "unknown" if estimate.seconds is None else f"~{duration(estimate.seconds)}"
            most = "" if estimate.memory_bytes is None else f"  {memory(estimate.memory_bytes)}"
            line += f"  {time}{most}  ({estimate.basis})"
        click.echo(line)
    click.echo(f"{len(todo)} of {len(planned.runs)} runs to make, in {folder}")
    if not todo:
        return
    total = in_all(todo.values(), jobs)
    if total.unknown < len(todo):
        side = "one after the other" if jobs == 1 else f"{jobs} side by side"
        text = f"about {duration(total.seconds)}, {memory(total.memory_bytes)} at most, {side}"
        text += f"; {total.unknown} of them unknown" if total.unknown else ""
        click.echo(f"{text} (as measured where those records were made)")


def _run(planned: Plan, folder: Path, jobs: int, threads: int) -> None:
    """Make the runs that are to be made."""
    from bench import record
    from bench.grid import run_all
    from bench.progress import display

    skipped = len(planned.runs) - len(planned.todo)
    if skipped:
        click.echo(f"{skipped} of {len(planned.runs)} runs are done already.", err=True)
    todo = {spec.run for spec in planned.todo}
    for spec in planned.damaged:
        if spec.run in todo and (aside := record.set_aside(folder, spec.run)):
            click.echo(f"{spec.run} is set aside as {aside.name}, and made again.", err=True)
    try:
        with display(planned.todo) as show:
            for spec, event in run_all(planned.todo, folder, jobs, threads):
                show(spec, event)
    except KeyboardInterrupt:
        click.echo("\nStopped. Finished runs are kept; the same command goes on.", err=True)
        sys.exit(130)


def _outcome(planned: Plan, folder: Path) -> bool:
    """Show how the study's runs ended, and their comparison; whether all ended well."""
    from bench import record
    from bench.errors import DataError
    from bench.tables.frame import frame_of
    from bench.tables.render import comparison, render

    found, failed = [], []
    for spec in planned.runs:
        try:
            content = record.read(folder, spec.run)
        except DataError as error:
            failed.append(f"{spec.run}: its record can't be read: {error}")
            continue
        if content is None:
            failed.append(f"{spec.run}: no record")
            continue
        found.append(content)
        if content.get("status") != "ok":
            failed.append(f"{spec.run}: {content.get('status')}: {content.get('reason')}")
    for line in failed:
        click.secho(line, fg="red", err=True)
    if failed:
        click.echo("Failed runs are repeated with --only failed.", err=True)
    if found:
        found.sort(key=lambda content: str(content.get("run")))
        click.echo(render(comparison(frame_of(found), results=folder), "text"))
    return not failed
