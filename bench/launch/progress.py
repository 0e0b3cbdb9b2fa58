"""Progress of the runs on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
)

from bench.records.format import duration
from bench.records.spec import RunSpec

Event = Mapping[str, Any]
Show = Callable[[RunSpec, Event], None]

#: Seconds between two plain lines of one run.
QUIET = 15.0


class Clock:
    """The times of a study's runs: when they started, how fast they are, what is left.

    Args:
        runs: the runs.
        seconds: what each is expected to take, None where that is not known.
        now: gives the time in seconds.
    """

    def __init__(
        self,
        runs: Sequence[RunSpec],
        seconds: Sequence[float | None] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now = now
        self.waiting = {spec.run: spec for spec in runs}  # and those under way
        self.started: dict[str, float] = {}
        self._steps: dict[str, tuple[float, int, int]] = {}  # time, first and last step
        self._expected = {
            self._cell(spec): each for spec, each in zip(runs, seconds, strict=False) if each
        }
        self._at_a_time = 1

    def update(self, spec: RunSpec, event: Event) -> None:
        """Take note of an event."""
        if event["event"] == "start":
            self.started[spec.run] = self.now()
            self._steps.pop(spec.run, None)
            self._at_a_time = max(self._at_a_time, len(self.started.keys() & self.waiting))
        elif event["event"] == "end":
            self.waiting.pop(spec.run, None)
            if spec.run in self.started and event["status"] == "ok":
                self._expected[self._cell(spec)] = self.now() - self.started[spec.run]

    def rate(self, spec: RunSpec, event: Event) -> float:
        """Return the mini-batches per second up to a step event; 0 at the first one."""
        now, minibatch = self.now(), event["minibatch"]
        then, first, last = self._steps.get(spec.run, (now, minibatch, minibatch))
        if minibatch < last:  # the run resumed
            then, first = now, minibatch
        self._steps[spec.run] = then, first, minibatch
        return float((minibatch - first) / (now - then)) if now > then else 0.0

    def left(self) -> float | None:
        """Return the seconds until all runs have ended, None where one's time is not known."""
        now, seconds = self.now(), []
        for run, spec in self.waiting.items():
            expected = self._expected.get(self._cell(spec))
            if expected is None:
                return None
            seconds.append(max(expected - (now - self.started.get(run, now)), 0))
        return max(*seconds, sum(seconds) / self._at_a_time, 0) if seconds else 0

    @staticmethod
    def _cell(spec: RunSpec) -> tuple[str, str]:
        return spec.method, spec.label


@contextmanager
def display(runs: Sequence[RunSpec], seconds: Sequence[float | None] = ()) -> Iterator[Show]:
    """A function that shows the events of these runs, as suits standard error.

    `seconds` are what each is expected to take, None where that is not known.
    """
    console, clock = Console(stderr=True), Clock(runs, seconds)
    if not console.is_terminal:
        yield _plain(clock, len(runs))
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )
    with progress:
        yield _bars(progress, clock, len(runs))


def _bars(progress: Progress, clock: Clock, count: int) -> Show:
    """A bar for each run under way and one for all."""
    study = progress.add_task("all runs", total=count, note="")
    tasks: dict[str, TaskID] = {}

    def show(spec: RunSpec, event: Event) -> None:
        kind = event["event"]
        clock.update(spec, event)
        if kind == "start" and spec.run not in tasks:
            tasks[spec.run] = progress.add_task(_name(spec), total=spec.minibatches, note="")
        elif kind == "step":
            note = _step(event, clock.rate(spec, event))
            progress.update(tasks[spec.run], completed=event["minibatch"], note=note)
        elif kind == "stage":
            progress.update(tasks[spec.run], note=event["stage"])
        elif kind == "note":
            progress.console.print(f"{_name(spec)}: {event['note']}", highlight=False)
        elif kind == "end":
            if spec.run in tasks:
                progress.remove_task(tasks.pop(spec.run))
            progress.console.print(f"{_name(spec)}: {_ended(event)}", highlight=False)
            progress.advance(study)
        progress.update(study, note=_left(clock))

    return show


def _plain(clock: Clock, count: int) -> Show:
    """A line when a run starts, is evaluated and ends, and now and then between."""
    printed: dict[str, float] = {}

    def show(spec: RunSpec, event: Event) -> None:
        kind, now = event["event"], clock.now()
        clock.update(spec, event)
        if kind == "start":
            text = "started"
        elif kind == "step":
            rate = clock.rate(spec, event)
            if now - printed[spec.run] < QUIET:
                return
            text = f"{event['minibatch']}/{event['total']}  {_step(event, rate)}"
        elif kind in ("stage", "note"):
            if kind == "stage" and now - printed[spec.run] < QUIET:
                return
            text = event[kind]
        else:
            started = clock.started.get(spec.run)
            took = "" if started is None else f" after {duration(now - started)}"
            left = f", {_left(clock)}" if clock.waiting and _left(clock) else ""
            text = f"{_ended(event)}{took} ({count - len(clock.waiting)}/{count}{left})"
        printed[spec.run] = now
        print(f"{_name(spec)}: {text}", file=sys.stderr, flush=True)

    return show


def _left(clock: Clock) -> str:
    left = clock.left()
    return f"about {duration(left)} left" if left else ""


def _step(event: Event, rate: float) -> str:
    """A step's numbers; the time left for training where the rate is known."""
    parts = [f"{rate:.3g}/s"] if rate else []
    parts.append(f"loss {event['loss']:.4g}")
    if "validation_nll" in event:
        parts.append(f"validation NLL {event['validation_nll']:.4g}")
    if rate and event["minibatch"] < event["total"]:
        parts.append(f"{duration((event['total'] - event['minibatch']) / rate)} left")
    return "  ".join(parts)


def _ended(event: Event) -> str:
    by = ", by another process" if event.get("elsewhere") else ""
    reason = f": {event['reason']}" if event.get("reason") else ""
    return f"{event['status']}{by}{reason}"


def _name(spec: RunSpec) -> str:
    return f"{spec.method} {spec.label} seed {spec.seed}"
