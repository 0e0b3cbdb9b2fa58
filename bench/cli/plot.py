"""`bench plot`: a figure of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import include_all, include_option, write_whole
from bench.errors import UsageError, unknown
from bench.plots import KINDS
from bench.records.bundle import results_dir

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The forms of a figure's file, by the end of its name.
FORMS = ("pdf", "svg", "png")


class _Help(click.Command):
    """A command whose help goes on with the kinds of figures."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        with formatter.section("Kinds"):
            formatter.write_dl(list(KINDS.items()))


@click.command(cls=_Help)
@click.argument("kind")
@click.option("-o", "--output", metavar="FILE", help="A .pdf, .svg or .png [default: KIND.png].")
@click.option(
    "--metric",
    metavar="NAME",
    help="The score of ranks and pareto; the figure in the titles of samples and density.",
)
@click.option("-b", "--budget", metavar="NAME", help="Only runs under it.")
@click.option("-m", "--method", "methods", multiple=True, metavar="M", help="Only it; repeat it.")
@click.option("-d", "--dataset", "datasets", multiple=True, metavar="D", help="Only it; repeat it.")
@click.option("-s", "--seed", type=int, help="The run that stands for a method [default: first].")
@click.option("--columns", metavar="I,J,...", help="Columns to show, counted from 0.")
@include_option
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
@click.option("--data", metavar="DIR", help="The data root.")
def plot(
    kind: str,
    output: str | None,
    columns: str | None,
    results: str | None,
    data: str | None,
    include: tuple[str, ...],
    **asked: Any,
) -> None:
    """Draw a figure, and print what it shows. KIND is one of those below.

    \b
    Examples:
      bench plot ranks
      bench plot ranks -o ranks.pdf --metric mmd_m_u
      bench plot ranks -m ffjord -m jko -m gaussian -b table1 -o ranks.svg
      bench plot quality -d moons -d 8gaussians -o quality.pdf
      bench plot samples -d bsds300 -s 1 -o patches.png
      bench plot marginals -d power -m jko --columns 0,2,5 -o marginals.pdf
      bench plot trajectories -d moons -m jko -m rectified-flow -o paths.svg
    """
    if kind not in KINDS:
        raise unknown("kind of plot", kind, KINDS)
    path = Path(output or f"{kind}.png")
    if path.suffix.lower().lstrip(".") not in FORMS:
        raise UsageError(
            f"{path} has no form that a figure can have.",
            f"Let its name end in {', '.join(f'.{form}' for form in FORMS)}.",
        )
    from bench.plots import draw
    from bench.plots.asked import Asked

    include_all(include)
    root = Path(data) if data else None
    drawn = draw(kind, Asked(results_dir(results), columns=_columns(columns), data=root, **asked))
    for sentence in drawn.left_out:
        click.echo(f"Left out: {sentence}.", err=True)
    _write(path, drawn.figure)
    for line in drawn.lines:
        click.echo(line)
    click.echo(f"Drawn: {path}")


def _columns(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"--columns takes numbers, as in --columns 0,2,5, not {text!r}.") from None


def _write(path: Path, figure: Figure) -> None:
    """Write the figure whole, or not at all."""
    from bench.figures.saving import save

    form = path.suffix.lower().lstrip(".")
    write_whole(path, lambda temporary: save(figure, temporary, form))
