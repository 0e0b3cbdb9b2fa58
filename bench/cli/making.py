"""The work of `bench run`: showing its plan, making its runs, showing how they ended."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.launch.dask.connecting import Engine
    from bench.launch.process import Limits
    from bench.study.planning import Plan


def show_plan(planned: Plan, folder: Path, jobs: int) -> None:
    """The plan, and what earlier records say of the time and the memory that it will take."""
    from bench.records.format import duration, memory
    from bench.study.estimates import estimates, in_all

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


def engine_of(
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
        from bench.launch.dask import engine

        return engine(scheduler, cluster, jobs, threads, device, limits, again)
    from bench.launch.pool import run_all

    limits = replace(limits, threads=threads or 1)
    gpus = _gpus() if device == "cuda" else ()
    return nullcontext(partial(run_all, jobs=jobs, limits=limits, gpus=gpus, again=again))


def make_runs(
    planned: Plan, folder: Path, engine: AbstractContextManager[Engine]
) -> dict[str, str]:
    """Make the runs that are to be made; why those have ended that left no record."""
    from bench.launch.progress import display
    from bench.records import store

    skipped = len(planned.runs) - len(planned.todo)
    if skipped:
        click.echo(f"{skipped} of {len(planned.runs)} runs are done already.", err=True)
    todo = {spec.run for spec in planned.todo}
    for spec in planned.damaged:
        if spec.run in todo and (aside := store.set_aside(folder, spec.run)):
            click.echo(f"{spec.run} is set aside as {aside.name}, and made again.", err=True)
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
        begun = sum(store.part(folder, spec.run).is_dir() for spec in planned.todo)
        click.echo(
            f"\nStopped. Finished runs are kept, {begun} begun; the same command goes on:\n"
            f"  {shlex.join(['bench', *sys.argv[1:]])}",
            err=True,
        )
        sys.exit(130)
    return told


def _gpus() -> tuple[str, ...]:
    """The GPUs that runs are dealt: those that this process may see."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(visible.split(",") if visible else map(str, range(torch.cuda.device_count())))


def outcome(planned: Plan, folder: Path, told: Mapping[str, str]) -> bool:
    """Show how the study's runs ended, and their comparison; whether all ended well.

    `told` says of runs without a record why they have none.
    """
    from bench.errors import DataError
    from bench.records import store
    from bench.records.frame import frame_of
    from bench.tables.comparison import comparison
    from bench.tables.render import render

    found, failed = [], []
    for spec in planned.runs:
        try:
            content = store.read(folder, spec.run)
        except DataError as error:
            failed.append(f"{spec.run}: its record can't be read: {error}")
            continue
        if content is None:
            failed.append(f"{spec.run}: no record: {told.get(spec.run, '')}".rstrip(": "))
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
