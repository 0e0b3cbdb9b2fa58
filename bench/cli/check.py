"""`bench check`: the regression gate."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import (
    data_option,
    datasets_option,
    format_of,
    include_option,
    methods_option,
    write_whole,
    written,
)
from bench.errors import NothingMeasured, UsageError, unknown
from bench.terminal import echo

if TYPE_CHECKING:
    from bench.gate.findings import Rule
    from bench.gate.measured import Measured

#: How many seeds a baseline has by default.
SEEDS = 8

#: How the runs are made: anew, with one thread each, timed against the reference.
HOW: dict[str, Any] = {"only": "all", "threads": 1, "reference_timing": True, "resume": False}

#: The ending of a file and its format.
ENDINGS = {".txt": "text", ".md": "markdown"}


@click.command()
@click.option("--baseline", "file", metavar="FILE", help="[default: results/baseline/check.json]")
@click.option("--update", is_flag=True, help="Write a new baseline, and show what changes.")
@click.option("--seeds", type=click.IntRange(2), help=f"Seeds of --update [default: {SEEDS}].")
@methods_option("Check only this method. Repeatable.")
@datasets_option("Check only this data set. Repeatable.")
@click.option(
    "--rule",
    type=click.Choice(["auto", "exact", "seeds"]),
    default="auto",
    show_default=True,
    help="Quality to the bit, or within the spread of seeds; auto: as the machine allows.",
)
@click.option("--strict-cost", is_flag=True, help="Fail on any cost regression, however small.")
@click.option("--all", "everything", is_flag=True, help="Show unchanged numbers too.")
@click.option("-f", "--format", "form", type=click.Choice(["text", "markdown"]))
@click.option("-o", "--output", metavar="FILE", help="Also write to this file (.txt or .md).")
@click.option("-j", "--jobs", type=click.IntRange(1), default=2, show_default=True)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=300, show_default=True)
@click.option("--study", "name", default="check", show_default=True, metavar="NAME|FILE.toml")
@include_option()
@click.option("--results", metavar="DIR", help="Keep the runs in this folder.")
@click.option("--no-run", is_flag=True, help="Compare the runs in --results; run nothing.")
@data_option
def check(
    file: str | None,
    update: bool,
    seeds: int | None,
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    rule: Rule,
    strict_cost: bool,
    everything: bool,
    form: str | None,
    output: str | None,
    name: str,
    results: str | None,
    no_run: bool,
    **running: Any,
) -> None:
    """Run a small fixed study and compare its numbers with the baseline.

    Exits with 0 if nothing is worse, 1 if something is, 2 if the call was wrong, 3 if nothing could
    be compared. On the baseline's arithmetic (the same library versions, threads and bits) quality
    must not be worse at all; elsewhere it may vary as much as between seeds. Costs are ratios: of
    evaluations, CPU time per step, memory. A cost less than half as much again is shown but does
    not count, unless --strict-cost is given. A failed run is worse.

    All runs are made anew, with one thread each, in a temporary folder or in --results. --update
    runs more seeds, to know their spread, and writes the baseline; if a run failed, it writes
    nothing and exits with 1.

    \b
    Examples:
      bench check
      bench check -m ffjord -d moons                only a part of it
      bench check -o comment.md                     for a pull request
      bench check --rule seeds                      as on another machine
      bench check --update                          after an intended change
      bench check --update -m jko                   replace only its cells
      bench check --results mine --no-run --baseline mine.json --update
    """
    import datetime
    from importlib.metadata import version

    from bench.gate import pages
    from bench.gate.baseline import DEFAULT, Unreadable, joined, read, text
    from bench.gate.findings import compare
    from bench.gate.measured import gather
    from bench.paths import commit
    from bench.records.store import read_all

    path, part = Path(file) if file else DEFAULT, bool(methods or datasets)
    file_form = format_of(output, form, ENDINGS, "text")
    if no_run and not results:
        raise UsageError("--no-run compares the runs of a folder.", "Name it with --results.")
    if seeds and (no_run or not update):
        raise UsageError("--seeds is only for --update without --no-run.", "Leave it out.")
    for target in ([path] if update else []) + ([Path(output)] if output else []):
        with written(target):  # find out before minutes are spent
            tempfile.TemporaryFile(dir=target.absolute().parent).close()
    try:
        baseline = read(path) if path.exists() or not update else None
    except Unreadable as error:
        if not update or part:
            raise
        echo(f"{error.problem} It will be replaced.", err=True)
        baseline = None
    if no_run:
        folder = Path(results or "").expanduser()
        now = gather(read_all(folder), folder, methods, datasets)
    else:
        running |= {"methods": methods, "datasets": datasets}
        with tempfile.TemporaryDirectory(prefix="bench-check-") as temporary:
            at_least = (seeds or SEEDS) if update else 0
            now = _run(name, at_least, results=results or temporary, **running)
    failed = [f"{cell.name}, {reason}" for cell in now.cells for reason in cell.failed.values()]
    if update and failed:  # a baseline holds none
        for line in failed:
            echo(line, fg="red", err=True)
        echo("Runs failed, so no baseline was written.", err=True)
        sys.exit(1)
    if baseline:
        try:
            comparison = compare(now, baseline.part(methods, datasets), rule, strict_cost)
        except NothingMeasured:
            if not update:
                raise
            echo("The baseline had none of these cells.", err=True)
        else:
            pages.show(comparison, form or "text", everything)
            if output:
                page = pages.page(comparison, file_form, everything)
                write_whole(Path(output), lambda at: at.write_text(page, encoding="utf-8"))
            if not update:
                sys.exit(1 if comparison.worse else 0)
    new = joined(baseline, now) if baseline and part else now
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = {"version": version("cnf-bench"), "commit": commit(), "date": today}
    content = text(replace(new, made=made))
    write_whole(path, lambda at: at.write_text(content, encoding="utf-8"))
    echo(f"Written: {path}, {len(new.cells)} cells", err=True)


def _run(name: str, seeds: int, **given: Any) -> Measured:
    """Run the study anew, or a part of it, with that many seeds at least, its own ones first."""
    import msgspec

    from bench.gate.measured import gather
    from bench.launch import driver
    from bench.launch.progress import display
    from bench.records import store
    from bench.records.model import Record
    from bench.study.studies import find

    notify = partial(echo, err=True)
    study = find(name, notify)
    known = {"method": study.methods, "data set": study.datasets}
    for kind, names in {"method": given["methods"], "data set": given["datasets"]}.items():
        for each in set(names).difference(known[kind]):
            raise unknown(kind, each, known[kind], f"in the study {name}")
    every = tuple(dict.fromkeys((*study.seeds, *range(seeds))))[: max(seeds, len(study.seeds))]
    request = driver.StudyRequest(study=study, seeds=every, **HOW, **given)
    prepared = driver.prepare(request, notify)
    try:
        result = driver.run(prepared, display, notify)
    except KeyboardInterrupt:
        echo("\nStopped; nothing was compared.", err=True, lines=True)
        sys.exit(130)
    records = list(result.records.values())
    for spec in prepared.plan.runs:
        if spec.run not in result.records:
            reason = result.failures[spec.run].reason or "it left no record"
            records.append(msgspec.convert(store.outline(spec) | {"reason": reason}, Record))
    return gather(records, prepared.folder)
