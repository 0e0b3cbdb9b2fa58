"""`bench check`: the regression gate."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.options import write_whole
from bench.errors import NothingMeasured, UsageError

if TYPE_CHECKING:
    from bench.gate.baseline import Baseline
    from bench.gate.comparison import Comparison, Rule
    from bench.gate.measured import Measured
    from bench.records.model import Record
    from bench.study.studies import Study

#: How many seeds a baseline has, if nothing else is asked for.
SEEDS = 8


@click.command()
@click.option(
    "--baseline",
    "file",
    metavar="FILE",
    help="The baseline [default: results/baseline/check.json].",
)
@click.option("--update", is_flag=True, help="Write a new baseline, and show what it changes.")
@click.option(
    "--seeds",
    type=click.IntRange(min=2),
    metavar="N",
    help=f"With --update: how many seeds its spread is over [default: {SEEDS}].",
)
@click.option("-m", "--method", "methods", multiple=True, metavar="M", help="Only it; repeat it.")
@click.option("-d", "--dataset", "datasets", multiple=True, metavar="D", help="Only it; repeat it.")
@click.option(
    "--rule",
    type=click.Choice(["auto", "exact", "seeds"]),
    default="auto",
    show_default=True,
    help="Quality to the bit, or within the seeds' spread; auto: as the machine allows.",
)
@click.option("--strict-cost", is_flag=True, help="Every cost that is noticed counts.")
@click.option("--all", "everything", is_flag=True, help="Show what is as it was too.")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
)
@click.option("-o", "--output", metavar="FILE", help="Write there as well as to the terminal.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Time limit of a run.",
)
@click.option("--study", "name", default="check", show_default=True, metavar="NAME|FILE.toml")
@click.option("--results", metavar="DIR", help="Keep the runs there; all are made anew.")
@click.option("--no-run", is_flag=True, help="Take the runs that are in --results.")
@click.option("--data", metavar="DIR", help="The data root.")
def check(
    file: str | None,
    update: bool,
    seeds: int | None,
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    rule: Rule,
    strict_cost: bool,
    everything: bool,
    form: str,
    output: str | None,
    jobs: int,
    timeout: float,
    name: str,
    results: str | None,
    no_run: bool,
    data: str | None,
) -> None:
    """Run a small fixed study and compare each figure with the baseline.

    Exits 0 where all is the same or better, 1 where something is worse, 2 where the call was wrong,
    3 where nothing could be compared. On the baseline's arithmetic (the same versions of the
    libraries, one thread, the same bits) quality must not be above it at all; elsewhere it may be
    as far above as seeds scatter. Costs are ratios: evaluations, a step's CPU time in passes of a
    computation of known work, memory. What is worse by less than half is shown and does not count,
    unless --strict-cost is given. A run that fails is worse.

    The runs are made anew each time, one thread each, in a folder that goes again, or in --results.
    --update makes more seeds, for their spread, and writes the baseline; it exits 0 when it is
    written, and 1 where a run failed and nothing is.

    \b
    Examples:
      bench check
      bench check -m ffjord -d moons                only this part of it
      bench check -f markdown -o comment.md         for a pull request
      bench check --rule seeds                      as on another machine
      bench check --update                          after a change that is meant
      bench check --update -m jko                   only its cells are replaced
      bench check --results mine --no-run --baseline mine.json --update
    """
    from bench.gate.baseline import DEFAULT, chosen, joined

    path = Path(file) if file else DEFAULT
    if no_run and not results:
        raise UsageError("--no-run takes the runs of a folder.", "Name it with --results.")
    if seeds and (no_run or not update):
        raise UsageError("--seeds is for --update, where it makes the runs.", "Leave it out.")
    if update:
        _writable(path)
    if output:
        _writable(Path(output))
    baseline = _baseline(path, update, bool(methods or datasets))
    if no_run:
        now = _there(results or "", methods, datasets)
    else:
        study = _study(name, methods, datasets, seeds or SEEDS if update else None)
        now = _made(study, results, jobs, timeout, data)
    if update and _any_failed(now):
        sys.exit(1)
    comparison = None
    if baseline:
        expected = replace(baseline, measured=chosen(baseline.measured, methods, datasets))
        comparison = _compared(now, expected, rule, strict_cost, update)
    if comparison:
        _show(comparison, form, output, everything)
    if update:
        whole = joined(baseline, now) if baseline and (methods or datasets) else now
        _write(path, whole)
        sys.exit(0)
    sys.exit(1 if comparison and comparison.worse else 0)


def _writable(path: Path) -> None:
    """Find out before minutes are spent whether a file can be written."""
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise UsageError(
            f"{path} can't be written: {error.strerror}.",
            "Name a file in a folder that is there and can be written.",
        ) from error


def _baseline(path: Path, update: bool, part: bool) -> Baseline | None:
    """The baseline; None where a new one takes the place of none, or of one that can't be read."""
    from bench.gate.baseline import Unreadable, read

    if update and not path.exists():
        return None
    try:
        return read(path)
    except Unreadable as error:
        if not update or part:
            raise
        click.echo(f"{error.problem} It is replaced.", err=True)
        return None


def _there(results: str, methods: Sequence[str], datasets: Sequence[str]) -> Measured:
    """What is in the folder."""
    from bench.gate.measured import gather
    from bench.records.store import read_all

    folder = Path(results).expanduser()
    found = gather(read_all(folder), folder, methods, datasets)
    if not found:
        raise NothingMeasured(
            f"There are no such runs in {folder}.", "Leave out --no-run to make them."
        )
    return found


def _made(
    study: Study, results: str | None, jobs: int, timeout: float, data: str | None
) -> Measured:
    """What the study measures, in the folder or in one that goes again."""
    from bench.gate.measured import gather

    with tempfile.TemporaryDirectory(prefix="bench-check-") as temporary:
        folder = Path(results or temporary).expanduser()
        found = gather(_make(study, folder, jobs, timeout, data), folder)
    assert found is not None
    return found


def _study(name: str, methods: Sequence[str], datasets: Sequence[str], seeds: int | None) -> Study:
    """The study, or a part of it; with so many seeds, those of its own first."""
    from bench.study.studies import find

    study = find(name)
    for asked, known, kind in (
        (methods, study.methods, "method"),
        (datasets, study.datasets, "data set"),
    ):
        for one in asked:
            if one not in known:
                raise UsageError(
                    f"The study {name} has no {kind} {one!r}.", f"It has {', '.join(known)}."
                )
    own = study.seeds
    if seeds is not None:
        more = (seed for seed in range(seeds + len(own)) if seed not in own)
        own = (*own, *more)[: max(seeds, len(own))]
    return replace(
        study,
        methods=tuple(m for m in study.methods if not methods or m in methods),
        datasets=tuple(d for d in study.datasets if not datasets or d in datasets),
        seeds=own,
    )


def _make(study: Study, folder: Path, jobs: int, timeout: float, data: str | None) -> list[Record]:
    """Make the study's runs anew, each with one thread and timed against the reference."""
    import msgspec

    from bench.launch import driver
    from bench.launch.progress import display
    from bench.records import store
    from bench.records.model import Record

    request = driver.StudyRequest(
        study=study,
        only="all",
        jobs=jobs,
        threads=1,
        timeout=timeout,
        results=folder,
        data=data,
        reference_timing=True,
        resume=False,
    )
    notify = partial(click.echo, err=True)
    prepared = driver.prepare(request, notify)
    try:
        result = driver.run(prepared, display, notify)
    except KeyboardInterrupt:
        click.echo("\nStopped; nothing was compared.", err=True)
        sys.exit(130)
    found = []
    for spec in prepared.plan.runs:
        record = result.records.get(spec.run)
        if record is None:
            reason = result.failures[spec.run].reason or "it left no record"
            record = msgspec.convert(store.outline(spec) | {"reason": reason}, Record)
        found.append(record)
    return found


def _any_failed(measured: Measured) -> bool:
    """Whether a run failed, of which no baseline is made; each is named."""
    failed = [
        f"{cell.name}, seed {seed}: {run.status}: {run.reason}"
        for cell in measured.cells
        for seed, run in sorted(cell.runs.items())
        if not run.ok
    ]
    for line in failed:
        click.secho(line, fg="red", err=True)
    if failed:
        click.echo("A baseline is of runs that ended well: nothing was written.", err=True)
    return bool(failed)


def _compared(
    now: Measured, expected: Baseline, rule: Rule, strict_cost: bool, update: bool
) -> Comparison | None:
    """The comparison; an update goes on where there is nothing to compare with."""
    from bench.gate.comparison import compare

    try:
        return compare(now, expected, rule, strict_cost)
    except NothingMeasured:
        if not update:
            raise
        click.echo("None of these cells was in the baseline.", err=True)
        return None


def _write(path: Path, measured: Measured) -> None:
    """Write the baseline, whole."""
    from bench.gate.baseline import text

    new = text(_signed(measured))
    write_whole(path, lambda temporary: temporary.write_text(new, encoding="utf-8"))
    click.echo(f"Written: {path}, {len(measured.cells)} cells", err=True)


def _signed(measured: Measured) -> Baseline:
    """The baseline, with what made it."""
    import datetime
    from importlib.metadata import version

    from bench.gate.baseline import Baseline
    from bench.paths import commit

    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = {"version": version("cnf-bench"), "commit": commit(), "date": today}
    return Baseline(made, measured)


def _show(comparison: Comparison, form: str, output: str | None, everything: bool) -> None:
    """Print the check, and write it where it is asked for."""
    from rich.console import Console

    from bench.gate import pages

    page = (pages.markdown if form == "markdown" else pages.text)(comparison, everything=everything)
    if form == "text" and sys.stdout.isatty():
        pages.show(comparison, Console(), everything=everything)
    else:
        click.echo(page, nl=False)
    if output:
        write_whole(Path(output), lambda file: file.write_text(page, encoding="utf-8"))
