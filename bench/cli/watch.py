"""`bench watch`: the report in a browser, while runs are made."""

from __future__ import annotations

import os
import signal
import sys

import click

from bench.cli.options import include_all, include_option
from bench.errors import UsageError
from bench.records.bundle import results_dir

#: How far this process steps back, so that the runs beside it are timed as if alone.
_NICE = 10


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    metavar="N",
    help="The port [default: any that is free].",
)
@include_option
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def watch(port: int, include: tuple[str, ...], results: str | None) -> None:
    """Serve the report on this machine alone (127.0.0.1), and renew it as records arrive.

    The page in the browser renews itself and keeps its place, its order and its filters; runs under
    way are listed with how far they have come. Nothing is written. Ctrl-C ends it.

    \b
    Examples:
      bench watch
      bench watch --port 8000 --results results/runs
    """
    from bench.report.watching import LOOPBACK, Watched, server
    from bench.report.watching import watch as serve

    include_all(include)
    folder = results_dir(results)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file.", "Name a results folder (--results).")
    if hasattr(os, "nice"):
        os.nice(_NICE)
    try:
        try:
            watched = Watched(folder)
            watched.look()
            serving = server(watched, port)
        except OSError as error:
            raise UsageError(
                f"Port {port} of {LOOPBACK} can't be served: {error.strerror or error}.",
                "Name another (--port), or none for any that is free.",
            ) from error
        click.echo(f"http://{LOOPBACK}:{serving.server_port}/ shows {folder}; Ctrl-C ends it.")
        # Where a shell started it in the background, it would not hear Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        serve(watched, serving, lambda line: click.echo(line, err=True))
    except KeyboardInterrupt:
        click.echo("\nEnded.", err=True)
        sys.exit(0)
