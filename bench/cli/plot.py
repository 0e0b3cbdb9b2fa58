"""`bench plot`: a figure of what was measured."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.chosen import chosen
from bench.cli.whole import write_whole
from bench.errors import NothingMeasured, UsageError, unknown
from bench.paths import results_dir

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.stats.ranking import Ranking

#: The forms of a figure's file, by the end of its name.
FORMS = ("pdf", "svg", "png")


@dataclass(frozen=True)
class Asked:
    """What a figure shall show."""

    metric: str
    budget: str | None
    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    results: Path


@click.command()
@click.argument("kind")
@click.option("-o", "--output", metavar="FILE", help="A .pdf, .svg or .png [default: KIND.png].")
@click.option("--metric", default="nll", show_default=True, metavar="NAME", help="The score.")
@click.option("-b", "--budget", metavar="NAME", help="Only runs under it.")
@click.option("-m", "--method", "methods", multiple=True, metavar="M", help="Only it; repeat it.")
@click.option("-d", "--dataset", "datasets", multiple=True, metavar="D", help="Only it; repeat it.")
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def plot(
    kind: str,
    output: str | None,
    metric: str,
    budget: str | None,
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    results: str | None,
) -> None:
    """Draw a figure, and print what it shows. KIND is one of:

    ranks: average ranks of the methods over the data sets, and which of them are not told apart
    (critical-difference diagram).

    \b
    Examples:
      bench plot ranks
      bench plot ranks -o ranks.pdf --metric mmd_m_u
      bench plot ranks -m ffjord -m jko -m gaussian -b table1 -o ranks.svg
    """
    if kind not in KINDS:
        raise unknown("kind of plot", kind, KINDS)
    path = Path(output or f"{kind}.png")
    if path.suffix.lower().lstrip(".") not in FORMS:
        raise UsageError(
            f"{path} has no form that a figure can have.",
            f"Let its name end in {', '.join(f'.{form}' for form in FORMS)}.",
        )
    figure, lines = KINDS[kind](Asked(metric, budget, methods, datasets, results_dir(results)))
    _write(path, figure)
    for line in lines:
        click.echo(line)
    click.echo(f"Drawn: {path}")


def _ranks(asked: Asked) -> tuple[Figure, Iterator[str]]:
    """The critical-difference diagram, and its numbers and sentences."""
    from bench.figures.ranks import diagram
    from bench.stats.ranking import explain_pairs, too_few
    from bench.tables.frame import cells
    from bench.tables.standing import standings

    folder = asked.results
    frame = chosen(folder, asked.methods, asked.datasets)
    found = {one.budget: one for one in standings(cells(frame), asked.metric)}
    if asked.budget is not None and asked.budget not in found:
        raise NothingMeasured(
            f"No run in {folder} is under the budget {asked.budget!r}.",
            f"There are: {', '.join(found)}.",
        )
    asked_for = list(found.values()) if asked.budget is None else [found[asked.budget]]
    large = [one for one in asked_for if one.enough]
    if not large:
        sizes = (
            f"budget {one.budget}: {too_few(len(one.methods), len(one.datasets))}"
            for one in asked_for
        )
        raise NothingMeasured(f"There is nothing to rank in {folder}.", " ".join(sizes))
    if len(large) > 1:
        names = ", ".join(one.budget for one in large)
        raise UsageError("Ranks are of one budget, and there are several.", f"Add -b: {names}.")
    (standing,) = large
    ranking = standing.ranking

    def lines() -> Iterator[str]:
        yield from _numbers(ranking)
        yield ""
        yield _wrapped(standing.explain())
        yield _wrapped(" ".join(explain_pairs(ranking)))

    return diagram(ranking), lines()


def _numbers(ranking: Ranking) -> Iterator[str]:
    """A line for each method, the best first: its average rank, and its rank on each data set."""
    rows = [["method", "average", *ranking.datasets]]
    for j in ranking.order:
        each = [f"{rank:g}" for rank in ranking.ranks[:, j]]
        rows.append([ranking.methods[j], f"{ranking.average[j]:.2f}", *each])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *numbers in rows:
        shown = (text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *shown])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_on_hyphens=False)


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


#: kind -> what draws it and what is to be printed; see the help above
KINDS: dict[str, Callable[[Asked], tuple[Figure, Iterator[str]]]] = {"ranks": _ranks}
