"""`bench plot`: a figure of what was measured."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.chosen import Asked
from bench.cli.whole import write_whole
from bench.errors import UsageError, unknown
from bench.paths import results_dir

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The forms of a figure's file, by the end of its name.
FORMS = ("pdf", "svg", "png")

#: Each is drawn by `draw` of the module `bench.cli.plot_KIND`; see the help below.
KINDS = ("ranks", "quality")


@click.command()
@click.argument("kind")
@click.option("-o", "--output", metavar="FILE", help="A .pdf, .svg or .png [default: KIND.png].")
@click.option("--metric", metavar="NAME", help="The score of the ranks [default: nll].")
@click.option("-b", "--budget", metavar="NAME", help="Only runs under it.")
@click.option("-m", "--method", "methods", multiple=True, metavar="M", help="Only it; repeat it.")
@click.option("-d", "--dataset", "datasets", multiple=True, metavar="D", help="Only it; repeat it.")
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def plot(
    kind: str,
    output: str | None,
    metric: str | None,
    budget: str | None,
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    results: str | None,
) -> None:
    """Draw a figure, and print what it shows. KIND is one of:

    ranks: average ranks of the methods over the data sets, and which of them are not told apart
    (critical-difference diagram).

    quality: MMD-m of the samples against evaluations of the velocity, by 1, 2, 4, ... Euler steps
    and by the judge's solver; a panel for each data set.

    \b
    Examples:
      bench plot ranks
      bench plot ranks -o ranks.pdf --metric mmd_m_u
      bench plot ranks -m ffjord -m jko -m gaussian -b table1 -o ranks.svg
      bench plot quality -d moons -d 8gaussians -o quality.pdf
    """
    if kind not in KINDS:
        raise unknown("kind of plot", kind, KINDS)
    path = Path(output or f"{kind}.png")
    if path.suffix.lower().lstrip(".") not in FORMS:
        raise UsageError(
            f"{path} has no form that a figure can have.",
            f"Let its name end in {', '.join(f'.{form}' for form in FORMS)}.",
        )
    draw = importlib.import_module(f"bench.cli.plot_{kind}").draw
    figure, lines = draw(Asked(metric, budget, methods, datasets, results_dir(results)))
    _write(path, figure)
    for line in lines:
        click.echo(line)
    click.echo(f"Drawn: {path}")


def _write(path: Path, figure: Figure) -> None:
    """Write the figure whole, or not at all; the same numbers give the same bytes."""
    import matplotlib

    form = path.suffix.lower().lstrip(".")
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}

    def write(temporary: Path) -> None:
        with matplotlib.rc_context({"svg.hashsalt": "bench", "pdf.fonttype": 42}):
            figure.savefig(
                temporary, format=form, dpi=200, bbox_inches="tight", metadata=undated[form]
            )

    write_whole(path, write)
