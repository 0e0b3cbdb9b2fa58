"""`bench data`: what is on disk, the download, the check."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from bench.paths import data_root

if TYPE_CHECKING:
    from bench.data.fetch import Progress

_names = click.argument("names", nargs=-1, metavar="[NAME]...")
_root = click.option("--data", "root", metavar="DIR", help="The data root [default: BENCH_DATA].")


@click.group()
def data() -> None:
    """See, fetch and check the data.

    \b
    Examples:
      bench data status
      bench data fetch power gas
      bench data verify miniboone --data ~/data
    """


@data.command()
@_names
@_root
def status(names: tuple[str, ...], root: str | None) -> None:
    """Show what is on disk of each data set, or of those named.

    \b
    Example:
      bench data status power --data ~/data
    """
    from bench.data import fetch

    folder = data_root(root)
    click.echo(f"data root: {folder}")
    for found in fetch.status(folder, names):
        if found.source is None:
            where = f"not there: needs {', '.join(found.missing)}"
        elif not found.source.files:
            where = f"comes with the program ({found.source.note})"
        else:
            where = f"{found.source.kind}, {found.bytes / 2**20:.1f} MiB ({found.source.note})"
        click.echo(f"{found.name:14s}{where}")


@data.command()
@_names
@_root
@click.option("--keep", is_flag=True, help="Keep the archive after it is unpacked.")
@click.option("--url", metavar="URL", help="Another address of the same archive.")
def fetch(names: tuple[str, ...], root: str | None, keep: bool, url: str | None) -> None:
    """Download the data sets named, or all; what is there is left alone.

    The archive (0.8 GB) is checked by its MD5 before it is opened. A download that breaks off goes
    on where it stopped when the same is typed again.

    \b
    Examples:
      bench data fetch
      bench data fetch power miniboone --data ~/data
    """
    from bench.data import archive
    from bench.data import fetch as fetching

    folder = data_root(root)
    with _progress() as progress:
        fetched = fetching.fetch(folder, names, progress, url=url or archive.URL, keep=keep)
    if fetched:
        click.echo(f"Fetched {', '.join(fetched)} to {folder}.")
    else:
        click.echo(f"All there already, in {folder}.")


@data.command()
@_names
@_root
def verify(names: tuple[str, ...], root: str | None) -> None:
    """Read the data sets on disk anew and check them; exit code 1 where one is damaged.

    \b
    Example:
      bench data verify
    """
    from bench.data import fetch
    from bench.errors import NothingMeasured

    folder = data_root(root)
    found = fetch.verify(folder, names)
    if not found:
        raise NothingMeasured(f"There are no data below {folder}.", "bench data fetch gets them.")
    for one in found:
        if one.problem:
            click.secho(f"{one.name}: {one.problem}", fg="red", err=True)
        else:
            rows = " / ".join(f"{n:,}" for n in one.rows or ())
            click.echo(f"{one.name}: ok, {rows} rows, revision {one.revision}")
    sys.exit(1 if any(one.problem for one in found) else 0)


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on a terminal, a line for each step elsewhere; on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        told = set()

        def lines(step: str, done: int, total: int | None) -> None:
            if step not in told:
                told.add(step)
                click.echo(f"{step} ...", err=True)

        yield lines
        return
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=console) as bars:
        ids = {}

        def draw(step: str, done: int, total: int | None) -> None:
            if step not in ids:
                ids[step] = bars.add_task(step, total=total)
            bars.update(ids[step], completed=done, total=total)

        yield draw
