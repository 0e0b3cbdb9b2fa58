"""Progress of the runs on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import terminal
from bench.records.format import duration
from bench.records.spec import RunSpec

Event = Mapping[str, Any]
Show = Callable[[RunSpec, Event], None]

#: Seconds between two plain lines of one run.
QUIET = 15.0


class StudyClock:
    """When the runs of a study started, how fast they are, and how long they will take.

    Made of the runs, the seconds that each is expected to take (None if not known), and a function
    that gives the time.
    """

    def __init__(
        self,
        runs: Sequence[RunSpec],
        seconds: Sequence[float | None] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now = now
        self.count = len(runs)
        self.unfinished = {spec.run: spec for spec in runs}
        self.started: dict[str, float] = {}
        self._steps: dict[str, tuple[float, int, int]] = {}  # time, first and last mini-batch
        self._expected = {_cell(r): each for r, each in zip(runs, seconds, strict=False) if each}
        self._at_a_time = 1

    def update(self, spec: RunSpec, event: Event) -> str:
        """Take note of an event, and return it in words."""
        run, kind, now = spec.run, event["event"], self.now()
        if kind == "start":
            self.started[run] = now
            self._steps.pop(run, None)
            self._at_a_time = max(self._at_a_time, len(self.started.keys() & self.unfinished))
            return "started"
        if kind == "step":
            rate, left = self.rate(spec, event), event["total"] - event["minibatch"]
            parts = [f"{event['minibatch']}/{event['total']}", f"loss {event['loss']:.4g}"]
            if "validation_nll" in event:
                parts.append(f"validation NLL {event['validation_nll']:.4g}")
            if rate:
                parts.append(f"{rate:.3g}/s")
            if rate and left:
                parts.append(f"{duration(left / rate)} left")
            return "  ".join(parts)
        if kind == "end":
            self.unfinished.pop(run, None)
            took = ""
            if run in self.started:
                seconds = now - self.started[run]
                took = f" after {duration(seconds)}"
                if event["status"] == "ok":
                    self._expected[_cell(spec)] = seconds
            by = ", by another process" if event.get("elsewhere") else ""
            reason = f": {' '.join(event['reason'].split())}" if event.get("reason") else ""
            return f"{event['status']}{by}{reason}{took} ({self.summary()})"
        return str(event[kind])

    def rate(self, spec: RunSpec, event: Event) -> float:
        """Return the mini-batches per second up to a step event; 0 at the first one."""
        now, minibatch = self.now(), event["minibatch"]
        then, first, last = self._steps.get(spec.run, (now, minibatch, minibatch))
        if minibatch < last:  # the run resumed
            then, first = now, minibatch
        self._steps[spec.run] = then, first, minibatch
        return float((minibatch - first) / (now - then)) if now > then else 0.0

    def left(self) -> float | None:
        """Return the seconds until all runs have ended; None if that of any run is not known."""
        now, seconds = self.now(), [0.0]
        for run, spec in self.unfinished.items():
            expected = self._expected.get(_cell(spec))
            if expected is None:
                return None
            seconds.append(max(expected - (now - self.started.get(run, now)), 0))
        return max(max(seconds), sum(seconds) / self._at_a_time)

    def summary(self) -> str:
        """Return how many runs have ended, and the time left for the others if it is known."""
        left = self.left()
        about = f", about {duration(left)} left" if left else ""
        return f"{self.count - len(self.unfinished)}/{self.count}{about}"


@contextmanager
def display(runs: Sequence[RunSpec], seconds: Sequence[float | None] = ()) -> Iterator[Show]:
    """Return a function that shows the events of these runs, as suits standard error.

    `seconds` are what each is expected to take, None if not known.
    """
    console, clock = terminal.console(err=True), StudyClock(runs, seconds)
    if not console.is_terminal:
        yield _lines(clock)
        return
    name, note = (
        TextColumn(f"{{task.{part}}}", markup=False) for part in ("description", "fields[note]")
    )
    with Progress(name, BarColumn(), TimeElapsedColumn(), note, console=console) as progress:
        terminal.guard()  # rich has put streams of its own in place, which take colours from texts
        yield _bars(progress, clock)


def _bars(progress: Progress, clock: StudyClock) -> Show:
    """A bar for each run in progress and one for all; what should stay is printed above them."""
    study = progress.add_task("all runs", total=clock.count, note="")
    tasks: dict[str, Any] = {}

    def show(spec: RunSpec, event: Event) -> None:
        kind, text = event["event"], clock.update(spec, event)
        if kind == "start" and spec.run not in tasks:
            tasks[spec.run] = progress.add_task(_name(spec), total=spec.minibatches, note="")
        elif kind in ("step", "stage"):
            progress.update(tasks[spec.run], completed=event.get("minibatch"), note=text)
        elif kind in ("note", "end"):
            progress.console.print(terminal.visible(f"{_name(spec)}: {text}", keep=""))
        if kind == "end":
            if spec.run in tasks:
                progress.remove_task(tasks.pop(spec.run))
            progress.advance(study)
        progress.update(study, note=clock.summary())

    return show


def _lines(clock: StudyClock) -> Show:
    """A line when a run starts, is evaluated and ends, and now and then between."""
    printed: dict[str, float] = {}

    def show(spec: RunSpec, event: Event) -> None:
        text, now = clock.update(spec, event), clock.now()
        if event["event"] in ("step", "stage") and now - printed[spec.run] < QUIET:
            return
        printed[spec.run] = now
        terminal.echo(f"{_name(spec)}: {text}", err=True)

    return show


def _cell(spec: RunSpec) -> tuple[str, str]:
    return spec.method, spec.label


def _name(spec: RunSpec) -> str:
    return f"{spec.method} {spec.label} seed {spec.seed}"
