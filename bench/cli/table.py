"""`bench table`: the comparison, for the terminal, a paper or a program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.whole import write_whole
from bench.errors import UsageError
from bench.paths import results_dir

if TYPE_CHECKING:
    import pandas as pd

    from bench.tables.comparison import Table


@click.command()
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["text", "latex", "markdown", "csv", "html"]),
    default="text",
    show_default=True,
)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to the terminal.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="A column; repeat it.")
@click.option("-m", "--method", "methods", multiple=True, metavar="M", help="Only it; repeat it.")
@click.option("-d", "--dataset", "datasets", multiple=True, metavar="D", help="Only it; repeat it.")
@click.option("--runs", "by_run", is_flag=True, help="One row a run, not one a method.")
@click.option(
    "--details", is_flag=True, help="What each figure rests on: n, seeds, error, flags. Text only."
)
@click.option(
    "--mixed", is_flag=True, help="Runs on older rows or by older metrics too, marked as such."
)
@click.option("--published", is_flag=True, help="The literature's figures in columns beside ours.")
@click.option("--standalone", is_flag=True, help="LaTeX: a document that compiles by itself.")
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def table(
    form: str,
    output: str | None,
    metrics: tuple[str, ...],
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    by_run: bool,
    details: bool,
    mixed: bool,
    published: bool,
    standalone: bool,
    results: str | None,
) -> None:
    """The comparison of methods on each data set, over the seeds, with its footnotes.

    Metrics are columns of the runs, such as nll, nll_native, mmd_m, mmd_1, mmd_m_u, mmd_1_u,
    train_seconds, sample_seconds, memory_bytes, peak_rss_bytes, nfe_sample.

    \b
    Examples:
      bench table
      bench table -d power --metric nll --metric mmd_m_u --metric nfe_sample
      bench table --details                         what each figure rests on
      bench table -d bsds300 --published            with the JKO-iFlow poster's Table 1 beside it
      bench table -f latex -o table.tex             for \\input; needs booktabs and graphicx
      bench table -f latex --standalone -o page.tex
      bench table -f csv --runs -o runs.csv         one row a run, every column
    """
    if standalone and form != "latex":
        raise UsageError(f"--standalone is for LaTeX, not for {form}.", "Add -f latex.")
    if details and (form != "text" or by_run or metrics or published):
        raise UsageError(
            "--details is text, and shows every figure of every method.",
            "Leave out -f, --runs, --metric and --published; -f csv --runs is for programs.",
        )
    if published and (form == "csv" or by_run):
        raise UsageError(
            "--published stands beside methods, in a table to read.", "Leave out -f csv and --runs."
        )
    from bench.tables.chosen import chosen, runs_in
    from bench.tables.measures import measure
    from bench.tables.versions import latest

    for name in metrics:
        measure(name)
    folder = results_dir(results)
    frame = chosen(runs_in(folder), folder, methods, datasets)
    if not mixed:
        frame, left_out = latest(frame)
        for sentence in left_out:
            click.echo(f"Left out: {sentence} (--mixed shows them).", err=True)
    if details:
        _details(frame, output, folder)
        return
    if output is None and form == "text" and sys.stdout.isatty():
        _show(frame, metrics, by_run, published, folder)
        return
    page = _page(frame, form, metrics, by_run, published, standalone, folder)
    if output is None:
        click.echo(page, nl=False)
    else:
        _write(Path(output), page)


def _details(frame: pd.DataFrame, output: str | None, folder: Path) -> None:
    import io

    from rich.console import Console

    from bench.tables.details import show

    if output is None and sys.stdout.isatty():
        show(frame, Console(), results=folder)
        return
    page = io.StringIO()
    show(frame, Console(file=page, width=100, color_system=None), results=folder)
    text = "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(Path(output), text)


def _show(
    frame: pd.DataFrame, metrics: tuple[str, ...], by_run: bool, published: bool, folder: Path
) -> None:
    from rich.console import Console

    from bench.tables.comparison import NARROW
    from bench.tables.render import text

    text(_compared(frame, metrics or NARROW, by_run, published, folder), Console())


def _page(
    frame: pd.DataFrame,
    form: str,
    metrics: tuple[str, ...],
    by_run: bool,
    published: bool,
    standalone: bool,
    folder: Path,
) -> str:
    if form == "csv":
        return _csv(frame, metrics, by_run)
    from bench.tables.comparison import NARROW, WIDE
    from bench.tables.render import render

    columns = metrics or (NARROW if form == "text" else WIDE)
    compared = _compared(frame, columns, by_run, published, folder)
    return render(compared, form, standalone=standalone)


def _compared(
    frame: pd.DataFrame, metrics: tuple[str, ...], by_run: bool, published: bool, folder: Path
) -> Table:
    from bench.tables.beside import with_published
    from bench.tables.comparison import comparison

    compared = comparison(frame, metrics, by_run=by_run, results=folder)
    return with_published(compared, frame) if published else compared


def _csv(frame: pd.DataFrame, metrics: tuple[str, ...], by_run: bool) -> str:
    """Every column, or those that say what ran and the metrics asked for."""
    from bench.tables.frame import summary
    from bench.tables.measures import AMOUNTS, MEASURES

    shown = frame if by_run else summary(frame)
    if metrics:
        others = set(MEASURES) - set(metrics) - set(AMOUNTS)
        left_out = others | {f"{name}{part}" for name in others for part in ("_mean", "_sd")}
        shown = shown[[name for name in shown.columns if name not in left_out]]
    return str(shown.to_csv(index=False, lineterminator="\n"))


def _write(path: Path, page: str) -> None:
    write_whole(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
