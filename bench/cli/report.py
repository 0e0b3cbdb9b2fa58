"""`bench report`: one HTML page with all of it."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import include_all, include_option, write_whole
from bench.errors import UsageError
from bench.records.bundle import results_dir

#: The name of the page in its folder.
PAGE = "index.html"


@click.command()
@click.option(
    "-o", "--output", metavar="DIR", help="The folder of the page [default: results/report]."
)
@click.option("--published", is_flag=True, help="The literature's figures in columns beside ours.")
@include_option
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def report(
    output: str | None, published: bool, include: tuple[str, ...], results: str | None
) -> None:
    """One HTML page with all of it: DIR/index.html, which needs no network and no other file.

    The setting, the comparison (to be sorted and filtered), the figures, a section for each data
    set, every run with its configuration, its curve and what vouches for its likelihood, the failed
    runs with their reasons, the commands that make the runs again, the revisions of the data.

    \b
    Examples:
      bench report
      bench report -o pages/first --results results/runs
      bench report --published                      with the JKO-iFlow poster's figures beside ours
      bench watch                                   the same page, while runs are made
    """
    folder = Path(output or Path("results") / "report").expanduser()
    _refuse_a_file(folder)
    from bench.errors import NothingMeasured
    from bench.report.gathered import gather
    from bench.report.page import page

    include_all(include)
    source = results_dir(results)
    gathered = gather(source)
    if not gathered.records:
        raise NothingMeasured(
            f"There are no runs in {source}.", "Type `bench run`, or name their folder (--results)."
        )
    for sentence in gathered.left_out:
        click.echo(f"Left out of the comparison: {sentence}.", err=True)
    text = page(gathered, published=published).encode("utf-8", "backslashreplace")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The folder {folder} can't be made: {error.strerror or error}.", "Name another (-o)."
        ) from error
    write_whole(folder / PAGE, lambda temporary: temporary.write_bytes(text))
    click.echo(f"Written: {folder / PAGE} ({len(text) / 2**20:.1f} MiB)")


def _refuse_a_file(folder: Path) -> None:
    """Before anything is drawn: a page lies in a folder."""
    for each in (folder, *folder.parents):
        if each.exists():
            if not each.is_dir():
                raise UsageError(f"{each} is a file.", "Name a folder (-o).")
            return
