"""Showing how runs go: bars on a terminal, plain lines elsewhere. All on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench.spec import RunSpec

Event = dict[str, Any]
Show = Callable[[RunSpec, Event], None]

#: Seconds between two plain lines of one run.
QUIET = 15.0


@contextmanager
def display(runs: Sequence[RunSpec]) -> Iterator[Show]:
    """A function that shows the events of these runs, as suits standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(len(runs))
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )
    with progress:
        yield _bars(progress, len(runs))


def _bars(progress: Progress, count: int) -> Show:
    """A bar for each run under way and one for all."""
    whole = progress.add_task("all runs", total=count, note="")
    tasks: dict[str, TaskID] = {}

    def show(spec: RunSpec, event: Event) -> None:
        kind = event["event"]
        if kind == "start":
            tasks[spec.run] = progress.add_task(_name(spec), total=spec.minibatches, note="")
        elif kind == "step":
            progress.update(tasks[spec.run], completed=event["minibatch"], note=_figures(event))
        elif kind == "stage":
            progress.update(tasks[spec.run], note=event["stage"])
        elif kind == "end":
            progress.remove_task(tasks.pop(spec.run))
            progress.console.print(f"{_name(spec)}: {event['status']}", highlight=False)
            progress.advance(whole)

    return show


def _plain(count: int) -> Show:
    """A line when a run starts, validates and ends, and now and then between."""
    began: dict[str, float] = {}
    said: dict[str, float] = {}
    ended = 0

    def show(spec: RunSpec, event: Event) -> None:
        nonlocal ended
        kind, now = event["event"], time.monotonic()
        if kind == "start":
            began[spec.run] = said[spec.run] = now
            text = "started"
        elif kind == "step":
            if now - said[spec.run] < QUIET:
                return
            share = event["minibatch"] / event["total"]
            left = (now - began[spec.run]) * (1 - share) / share
            text = f"{event['minibatch']}/{event['total']}  {_figures(event)}  {left:.0f} s left"
        elif kind == "stage":
            if now - said[spec.run] < QUIET:
                return
            text = event["stage"]
        else:
            ended += 1
            text = f"{event['status']} after {now - began[spec.run]:.0f} s ({ended}/{count})"
        said[spec.run] = now
        print(f"{_name(spec)}: {text}", file=sys.stderr, flush=True)

    return show


def _name(spec: RunSpec) -> str:
    return f"{spec.method} {spec.label} seed {spec.seed}"


def _figures(event: Event) -> str:
    text = f"loss {event['loss']:.4g}"
    if "validation_nll" in event:
        text += f"  validation NLL {event['validation_nll']:.4g}"
    return text
