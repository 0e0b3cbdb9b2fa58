"""Showing how runs go: bars on a terminal, plain lines elsewhere. All on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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

from bench.records.spec import RunSpec

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
    rates: dict[str, Rate] = {}

    def show(spec: RunSpec, event: Event) -> None:
        kind = event["event"]
        if kind == "start":
            if spec.run not in tasks:
                tasks[spec.run] = progress.add_task(_name(spec), total=spec.minibatches, note="")
            rates[spec.run] = Rate()
        elif kind == "step":
            note = f"{rates[spec.run].per_second(event):.3g}/s  {_figures(event)}"
            progress.update(tasks[spec.run], completed=event["minibatch"], note=note)
        elif kind == "stage":
            progress.update(tasks[spec.run], note=event["stage"])
        elif kind == "note":
            progress.console.print(f"{_name(spec)}: {event['note']}", highlight=False)
        elif kind == "end":
            if spec.run in tasks:
                progress.remove_task(tasks.pop(spec.run))
            progress.console.print(f"{_name(spec)}: {_ended(event)}", highlight=False)
            progress.advance(whole)

    return show


def _plain(count: int) -> Show:
    """A line when a run starts, is judged and ends, and now and then between."""
    began: dict[str, float] = {}
    said: dict[str, float] = {}
    rates: dict[str, Rate] = {}
    ended = 0

    def show(spec: RunSpec, event: Event) -> None:
        nonlocal ended
        kind, now = event["event"], time.monotonic()
        if kind == "start":
            began[spec.run] = now
            rates[spec.run] = Rate()
            text = "started"
        elif kind == "step":
            rate = rates[spec.run].per_second(event)
            if now - said[spec.run] < QUIET:
                return
            left = (event["total"] - event["minibatch"]) / rate if rate else float("inf")
            text = (
                f"{event['minibatch']}/{event['total']}  {rate:.3g}/s  {_figures(event)}  "
                f"{left:.0f} s left"
            )
        elif kind == "stage":
            if now - said[spec.run] < QUIET:
                return
            text = event["stage"]
        elif kind == "note":
            text = event["note"]
        else:
            ended += 1
            took = f" after {now - began[spec.run]:.0f} s" if spec.run in began else ""
            text = f"{_ended(event)}{took} ({ended}/{count})"
        said[spec.run] = now
        print(f"{_name(spec)}: {text}", file=sys.stderr, flush=True)

    return show


@dataclass
class Rate:
    """Mini-batches a second of a run since it was started or taken up, as its events tell."""

    first: tuple[float, int] | None = None

    def per_second(self, event: Event) -> float:
        """The rate up to a step event; 0 at the first one, which gives none yet."""
        now, minibatch = time.monotonic(), event["minibatch"]
        if self.first is None or minibatch <= self.first[1]:
            self.first = now, minibatch
        then, before = self.first
        return float((minibatch - before) / (now - then)) if now > then else 0.0


def _ended(event: Event) -> str:
    by = ", by another process" if event.get("elsewhere") else ""
    why = f": {event['reason']}" if event.get("reason") else ""
    return f"{event['status']}{by}{why}"


def _name(spec: RunSpec) -> str:
    return f"{spec.method} {spec.label} seed {spec.seed}"


def _figures(event: Event) -> str:
    text = f"loss {event['loss']:.4g}"
    if "validation_nll" in event:
        text += f"  validation NLL {event['validation_nll']:.4g}"
    return text
