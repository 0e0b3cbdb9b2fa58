"""`bench data`: what is on disk, downloading, checking."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.options import data_option
from bench.terminal import console, echo

if TYPE_CHECKING:
    from bench.data.fetch import Progress

_names = click.argument("names", nargs=-1, metavar="[NAME]...")


@click.group()
def data() -> None:
    """Show, download and check data sets.

    \b
    Examples:
      bench data status
      bench data fetch power gas
      bench data verify miniboone --data ~/data
    """


@data.command()
@_names
@data_option
def status(names: tuple[str, ...], data: Path) -> None:
    """Show what is on disk of data sets.

    \b
    Example:
      bench data status power --data ~/data
    """
    from bench.data import arrays
    from bench.data.fetch import named

    echo(f"Data folder: {data}")
    for dataset in named(names):
        source, archived = dataset.find(data), arrays.archived(dataset)
        if source is None:
            text = f"missing: {', '.join(archived.missing(data) if archived else ())}"
        elif not source.files:
            text = f"included ({source.note})"
        else:
            size = sum((data / name).stat().st_size for name in source.files)
            text = f"{source.kind}, {size / 2**20:.1f} MiB ({source.note})"
        echo(f"{dataset.name:14s}{text}")


@data.command()
@_names
@data_option
@click.option("--keep", is_flag=True, help="Keep the archive after extracting it.")
@click.option("--url", metavar="URL", help="Another address of the same archive.")
def fetch(names: tuple[str, ...], data: Path, keep: bool, url: str | None) -> None:
    """Download data sets: those named, or all.

    Those on disk are left alone. The archive (0.8 GB) is checked by its MD5 before it is opened.
    Repeat the command to resume an interrupted download.

    \b
    Examples:
      bench data fetch
      bench data fetch power miniboone --data ~/data
    """
    from bench.data import fetch as fetching

    with _progress() as progress:
        fetched = fetching.fetch(data, names, progress, url=url or fetching.URL, keep=keep)
    if fetched:
        echo(f"Fetched {', '.join(fetched)} to {data}.")
    else:
        echo(f"Nothing to fetch: all files are in {data}.")


@data.command()
@_names
@data_option
def verify(names: tuple[str, ...], data: Path) -> None:
    """Check the data sets on disk.

    Each is read in full, and compared with its cached rows; the exit code is 1 if one is damaged.

    \b
    Example:
      bench data verify
    """
    from bench.data import arrays, fetch
    from bench.errors import BenchError, NothingMeasured

    found = [(dataset, dataset.find(data)) for dataset in fetch.named(names)]
    wanted = [dataset for dataset, source in found if names or (source and source.files)]
    if not wanted:
        raise NothingMeasured(f"There are no data in {data}.", "Get them with `bench data fetch`.")
    damaged = False
    for dataset in wanted:
        try:
            loaded = fetch.verify(dataset, data)
        except (BenchError, OSError) as error:
            echo(f"{dataset.name}: {error}", fg="red", err=True)
            damaged = True
        else:
            rows = " / ".join(f"{len(getattr(loaded, name)):,}" for name in arrays.SPLITS)
            echo(f"{dataset.name}: ok, {rows} rows, revision {loaded.revision}")
    sys.exit(1 if damaged else 0)


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show bars on a terminal, and a line per step elsewhere; on standard error."""
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    shown, tasks = console(err=True), {}
    quiet = not shown.is_terminal
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=shown, disable=quiet) as bars:

        def show(step: str, done: int, total: int | None) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
                if quiet:
                    echo(f"{step} ...", err=True)
            bars.update(tasks[step], completed=done, total=total)

        yield show
