"""`bench run`: the grid of methods, data sets and seeds."""

from __future__ import annotations

import shlex
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from bench.cli.options import (
    POSITIVE,
    data_option,
    datasets_option,
    include_option,
    listed,
    methods_option,
    results_option,
    settings_option,
)
from bench.errors import UsageError
from bench.terminal import echo

if TYPE_CHECKING:
    from bench.launch.driver import Prepared, StudyResult


@click.command()
@click.option(
    "--study", metavar="NAME|FILE.toml", help="A study (bench list studies), or your own in a file."
)
@methods_option("Run this method. Repeatable.")
@datasets_option("Run on this data set, or on the table in this file. Repeatable.")
@listed("--drop", metavar="COLUMNS", help="Leave columns of your table out.")
@listed("--dequantise", metavar="COLUMNS", help="Add uniform noise to columns of whole numbers.")
@click.option("--group", metavar="COLUMN", help="Keep the rows of one group in one split.")
@click.option("--header", type=click.Choice(["yes", "no"]), help="Has your table a header?")
@listed(
    "-s", "--seed", "seeds", item=click.INT, metavar="N", help="Run with this seed. Repeatable."
)
@click.option("-b", "--budget", metavar="NAME", help="A named budget (bench list budgets).")
@click.option("--minibatches", type=int, metavar="N", help="Override the budget's mini-batches.")
@click.option("--batch-size", type=int, metavar="B", help="Override the budget's batch size.")
@settings_option
@click.option(
    "--compile/--no-compile",
    default=None,
    help="Compile the methods' fields; needs a C++ compiler. Compiling is timed apart.",
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
    help="Runs at a time; with --scheduler its workers decide.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Threads per run [default: 1].",
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
    help="Which runs to make.",
)
@click.option(
    "--timeout",
    type=POSITIVE,
    metavar="SECONDS",
    help="Time limit per run, from the start of its process; counted anew when it resumes.",
)
@click.option(
    "--memory",
    type=POSITIVE,
    metavar="GIB",
    help="Memory limit per run [default: 90 % of the machine's].",
)
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two checkpoints of a run.",
)
@click.option(
    "--test-rows",
    type=click.IntRange(min=2),
    metavar="N",
    help="Score at most N test rows [default: 20,000; the quick study: 5,000].",
)
@include_option(register=False)
@click.option(
    "--dry-run", is_flag=True, help="Show the plan, run nothing; included files are imported."
)
@results_option(write=True)
@data_option
def run(dry_run: bool, **options: Any) -> None:
    """Run methods on data sets, each with each seed, and compare them.

    Without methods and data sets: the quick study, which needs no download. Runs that have a
    record are skipped. Each run is a process of its own and leaves a record, however it ends.
    Ctrl-C stops after the current step, and the same command resumes; a second Ctrl-C stops at
    once. Several of these commands can share the work of one results folder.

    A study is a file: methods, datasets, seeds, budget, minibatches, batch_size, settings,
    include, compile, judge.
    Options replace what the study says: -m, -d, -s, --test-rows, --minibatches, --batch-size,
    --compile; -b replaces its budget with all its numbers. Each --set is added to its settings and
    wins over them. The path of a data table in a study file is relative to that file.

    \b
    Examples:
      bench run
      bench run --study table1 -d bsds300 -s 0 --data ~/data --dry-run
      bench run --study my_study.toml -j 2
      bench run -m gaussian,flow-matching -d 8gaussians -s 0,1,2 -j 2
      bench run -m ffjord -d my_table.csv --minibatches 2000 --batch-size 256
      bench run -m jko -d my_table.csv --drop id,row --dequantise age --group patient
      bench run -m flow-matching -d power --set width=512 --data ~/data --dry-run
      bench run -m jko -d bsds300 -b table1 --test-rows 250000
      bench run --include my_flow.py -m my-flow,gaussian -d moons --minibatches 2000
      bench run -m ot-flow -d miniboone --compile
      bench run --only failed
      bench run -d power -m jko,ffjord --scheduler tcp://node1:8786 --threads 4
    """
    from bench.launch import driver
    from bench.launch.progress import display
    from bench.records import store

    columns = {name: options.pop(name) for name in ("drop", "dequantise", "group", "header")}
    options["datasets"] = _prepared(options["datasets"], **columns)
    notify = partial(echo, err=True)
    prepared = driver.prepare(driver.StudyRequest(**options), notify)
    if dry_run:
        _show_plan(prepared)
        return
    done = len(prepared.plan.runs) - len(prepared.plan.todo)
    if done:
        notify(f"{done} of {len(prepared.plan.runs)} runs are done already.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how a cluster says Ctrl-C
    try:
        result = driver.run(prepared, display, notify)
    except KeyboardInterrupt:
        started = sum(store.part(prepared.folder, s.run).is_dir() for s in prepared.plan.todo)
        echo(err=True)
        echo(f"Stopped. Finished runs are kept; {started} unfinished will resume with:", err=True)
        echo(f"  {shlex.join(['bench', *sys.argv[1:]])}", err=True)
        sys.exit(130)
    _show_result(prepared, result)
    sys.exit(1 if result.failures else 0)


def _prepared(
    datasets: tuple[str, ...],
    drop: tuple[str, ...],
    dequantise: tuple[str, ...],
    group: str | None,
    header: str | None,
) -> tuple[str, ...]:
    """Return the data sets, each path followed by what is done to its columns.

    Raises:
        UsageError: options of tables, but no table.
    """
    from bench.registry.plugins import looks_like_a_path

    values = {"drop": drop, "dequantise": dequantise, "group": [group], "header": [header]}
    parts = [
        f"{key}={','.join(quote(str(value), safe=' ') for value in given)}"
        for key, given in values.items()
        if any(given)
    ]
    if parts and not any(map(looks_like_a_path, datasets)):
        raise UsageError(
            f"--{parts[0].partition('=')[0]} is for a table of your own: name it by -d."
        )
    query = "&".join(parts)
    return tuple(
        f"{name}{'&' if '?' in name else '?'}{query}" if query and looks_like_a_path(name) else name
        for name in datasets
    )


def _show_plan(prepared: Prepared) -> None:
    from bench.records.format import duration, memory
    from bench.study.estimates import estimates, in_all

    todo, jobs = prepared.plan.todo, prepared.request.jobs
    expected = dict(zip([s.run for s in todo], estimates(todo, prepared.folder), strict=True))
    for spec in prepared.plan.runs:
        estimate = expected.get(spec.run)
        line = f"{spec.run}  {spec.minibatches} x {spec.batch_size}"
        if estimate is None:
            echo(f"skip  {line}")
            continue
        time = "unknown" if estimate.seconds is None else f"~{duration(estimate.seconds)}"
        most = "" if estimate.memory_bytes is None else f"  {memory(estimate.memory_bytes)}"
        echo(f"run   {line}  {time}{most}  ({estimate.basis})")
    echo(f"{len(todo)} of {len(prepared.plan.runs)} runs to make, in {prepared.folder}")
    total = in_all(expected.values(), jobs)
    if total.unknown < len(todo):
        at_a_time = "one at a time" if jobs == 1 else f"{jobs} at a time"
        text = f"about {duration(total.seconds)}, {at_a_time}"
        if total.memory_bytes:
            text += f", at most {memory(total.memory_bytes)}"
        text += f", not counting {total.unknown} unknown" if total.unknown else ""
        echo(f"{text} (as measured on the machines of those records)")


def _show_result(prepared: Prepared, result: StudyResult) -> None:
    from bench.records.frame import frame_of
    from bench.tables.comparison import comparison
    from bench.tables.render import render

    for failed in result.failures.values():
        text = ": ".join(filter(None, (failed.run, failed.status, failed.reason)))
        echo(" ".join(text.split()), fg="red", err=True)
    if result.failures:
        echo("Repeat the failed runs with --only failed.", err=True)
    if result.records:
        frame = frame_of([result.records[name] for name in sorted(result.records)])
        table = comparison(frame, results=prepared.folder, notes="short")
        echo(render(table, "text"), lines=True)
