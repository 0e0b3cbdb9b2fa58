"""`bench report`, `bench watch` and `bench export`: a page, the page served, a bundle."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

import click

from bench.cli.options import (
    budgets_option,
    datasets_option,
    include_option,
    methods_option,
    results_option,
    write_whole,
    written,
)
from bench.errors import NothingMeasured, UsageError
from bench.terminal import echo

#: The name of the page in its folder.
PAGE = "index.html"

#: The niceness of `bench watch`, so that it takes no time from runs that are being timed.
_NICE = 10


@click.command()
@click.option("-o", "--output", metavar="DIR", help="Folder of the page [default: results/report].")
@click.option("--title", metavar="TEXT", help="Title of the page.")
@click.option("--published", is_flag=True, help="Add columns with the literature's numbers.")
@include_option()
@results_option()
def report(
    output: str | None,
    title: str | None,
    published: bool,
    results: Path,
) -> None:
    """Write the whole comparison as one HTML page, DIR/index.html, that needs no other file.

    It begins with one sentence for each data set. The table, the figures, the setting and every
    run with its settings, its curve and the checks of its likelihood follow, then the failed runs
    with their reasons, and the commands that reproduce the runs.

    \b
    Examples:
      bench report
      bench report -o pages/first --results results/runs
      bench report --title "Five flows on moons"
      bench report --published                      with the JKO-iFlow poster's numbers
      bench watch                                   the same page while runs are made
    """
    folder = Path(output or Path("results") / "report").expanduser()
    existing = next(filter(Path.exists, (folder, *folder.parents)))
    if not existing.is_dir():
        raise UsageError(f"{existing} is a file.", "Name a folder (-o).")
    from bench.report.page import page
    from bench.report.setting import gather

    gathered = gather(results)
    if not gathered.records:
        raise NothingMeasured(
            f"There are no runs in {results}.",
            "Type `bench run`, or name their folder (--results).",
        )
    for sentence in gathered.left_out:
        echo(f"Left out of the comparison: {sentence}.", err=True)
    text, bugs = page(gathered, published=published, title=title or "")
    for line in bugs:
        echo(line, err=True)
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / PAGE, lambda temporary: temporary.write_bytes(text))
    echo(f"Written: {folder / PAGE} ({len(text) / 2**20:.1f} MiB)")


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    metavar="N",
    help="Port [default: any that is free].",
)
@include_option()
@results_option()
def watch(port: int, results: Path) -> None:
    """Serve the report to this machine alone (127.0.0.1) and update it as runs finish.

    The page in the browser updates itself and keeps its place, its order and its filters; it lists
    runs in progress with how far they have come. Nothing is written. Ctrl-C ends it.

    \b
    Examples:
      bench watch
      bench watch --port 8000 --results results/runs
    """
    from bench.report.watch import LOOPBACK, ReportServer

    if results.exists() and not results.is_dir():
        raise UsageError(f"{results} is a file.", "Name a results folder (--results).")
    if hasattr(os, "nice"):
        os.nice(_NICE)
    try:
        try:
            server = ReportServer(results, port)
        except OSError as error:
            raise UsageError(
                f"Port {port} of {LOOPBACK} can't be used: {error.strerror or error}.",
                "Name another (--port), or none for any that is free.",
            ) from error
        server.look()
        echo(f"http://{LOOPBACK}:{server.server_port}/ shows {results}; Ctrl-C ends it.")
        # A shell starts background commands with SIGINT ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        server.watch(partial(echo, err=True))
    except KeyboardInterrupt:
        echo("\nEnded.", err=True, lines=True)
        sys.exit(0)


@click.command()
@click.argument("folder", metavar="DIR")
@methods_option()
@datasets_option()
@budgets_option()
@click.option("--models", is_flag=True, help="Include the trained flows (model.pt).")
@click.option("--no-figures", is_flag=True, help="Leave out the figures.")
@click.option("--force", is_flag=True, help="Replace an earlier bundle at DIR.")
@include_option()
@results_option()
def export(
    folder: str,
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    budgets: tuple[str, ...],
    models: bool,
    no_figures: bool,
    force: bool,
    results: Path,
) -> None:
    """Bundle runs, failed ones too, with their tables and figures in the folder DIR.

    MANIFEST.json lists every file, SHA256SUMS their checksums. Every command that reads runs also
    reads a bundle (--results DIR), after verifying its records.

    \b
    Examples:
      bench export bundle
      bench export paper -b table1 --models         with the trained flows
      bench export bundle --force                   replaces an earlier one
      bench table --results bundle -f latex         the same table on another machine
      cd bundle && sha256sum -c SHA256SUMS
    """
    from bench.records.frame import chosen, runs_in
    from bench.report.export import write_bundle

    runs = chosen(runs_in(results), results, methods, datasets, budgets)
    bundle = write_bundle(
        Path(folder),
        results,
        runs,
        chosen={"methods": methods, "datasets": datasets, "budgets": budgets},
        models=models,
        figures=not no_figures,
        force=force,
    )
    for name, why in bundle["not_drawn"].items():
        echo(f"Not drawn: {name}: {why}", err=True)
    number = "1 run" if bundle["runs"] == 1 else f"{bundle['runs']} runs"
    with_models = f", {bundle['models']} of them with their models" if models else ""
    echo(f"{folder}: {number}{with_models}; figures: {len(bundle['figures']) // 2}.")
