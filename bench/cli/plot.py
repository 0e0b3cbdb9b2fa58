"""`bench plot`: a figure of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.options import (
    data_option,
    datasets_option,
    format_of,
    include_option,
    listed,
    methods_option,
    results_option,
    write_whole,
)
from bench.figures import KINDS, draw
from bench.terminal import echo

#: The formats of a figure, by the ending of the file's name.
FORMATS = {".pdf": "pdf", ".svg": "svg", ".png": "png"}


class _Help(click.Command):
    """A command whose help ends with the kinds of figures."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        with formatter.section("Kinds"):
            formatter.write_dl(list(KINDS.items()))


@click.command(cls=_Help)
@click.argument("kind")
@click.option(
    "-o", "--output", metavar="FILE", help="A .pdf, .svg or .png file [default: KIND.png]."
)
@click.option(
    "--metric",
    metavar="NAME",
    help="Metric of ranks and pareto; the value in the titles of samples, density and marginals.",
)
@click.option("-b", "--budget", metavar="NAME", help="Include only runs of this budget.")
@methods_option()
@datasets_option()
@click.option(
    "-s",
    "--seed",
    type=int,
    metavar="N",
    help="Seed of the run that represents a method, where a figure shows one run of each "
    "[default: the first that ended well].",
)
@listed("--columns", item=click.INT, metavar="I,J,...", help="Columns to show, counted from 0.")
@include_option()
@results_option()
@data_option
def plot(
    kind: str,
    output: str | None,
    results: Path,
    data: Path,
    **requested: Any,
) -> None:
    """Draw a figure, and print its caption. KIND is one of those below.

    \b
    Examples:
      bench plot ranks
      bench plot ranks -o ranks.pdf --metric mmd_m_u
      bench plot ranks -m ffjord,jko,gaussian -b table1 -o ranks.svg
      bench plot quality -d moons,8gaussians -o quality.pdf
      bench plot samples -d bsds300 -s 1 -o patches.png
      bench plot marginals -d power -m jko --columns 0,2,5 -o marginals.pdf
      bench plot trajectories -d moons -m jko,rectified-flow -o paths.svg
    """
    path = Path(output or f"{kind}.png")
    form = format_of(path, None, FORMATS)
    from bench.figures.request import Request
    from bench.figures.style import encoded

    drawn = draw(kind, Request(results, data=data, **requested))
    for sentence in drawn.left_out:
        echo(f"Left out: {sentence}.", err=True)
    content = encoded(drawn.figure, form)
    write_whole(path, lambda temporary: temporary.write_bytes(content))
    for line in drawn.lines:
        echo(line, lines=True)
    echo(f"Wrote {path}")
