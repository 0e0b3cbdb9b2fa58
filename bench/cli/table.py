"""`bench table`: the comparison, for the terminal, a paper or a program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import write_whole
from bench.errors import UsageError
from bench.records.bundle import results_dir

if TYPE_CHECKING:
    import pandas as pd

    from bench.tables.render import TableOptions


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
@click.option(
    "--columns",
    metavar="LIST",
    help="Columns or sets of them: narrow, wide, likelihood, samples, cost, all; +NAME adds to "
    "the usual ones, -NAME leaves out.",
)
@click.option("-m", "--method", "methods", multiple=True, metavar="M", help="Only it; repeat it.")
@click.option("-d", "--dataset", "datasets", multiple=True, metavar="D", help="Only it; repeat it.")
@click.option("-b", "--budget", "budgets", multiple=True, metavar="B", help="Only it; repeat it.")
@click.option(
    "--group-by",
    "by",
    type=click.Choice(["dataset", "method", "budget"]),
    default="dataset",
    show_default=True,
    help="What a block of rows is.",
)
@click.option("--transpose", is_flag=True, help="Measures down, what were rows across.")
@click.option("--runs", "by_run", is_flag=True, help="One row a run, not one a method.")
@click.option(
    "--details", is_flag=True, help="What each figure rests on: n, seeds, error, flags. Text only."
)
@click.option(
    "--mixed", is_flag=True, help="Runs on older rows or by older metrics too, marked as such."
)
@click.option("--published", is_flag=True, help="The literature's figures in columns beside ours.")
@click.option("--standalone", is_flag=True, help="LaTeX: a document that compiles by itself.")
@click.option("--siunitx", is_flag=True, help="LaTeX: siunitx's S columns align the numbers.")
@click.option("--caption", metavar="TEXT", help="LaTeX, HTML: in place of the one that is made.")
@click.option("--label", metavar="KEY", help="LaTeX: for \\ref [default: tab:cnf-bench].")
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def table(
    form: str,
    output: str | None,
    columns: str | None,
    metrics: tuple[str, ...],
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    budgets: tuple[str, ...],
    details: bool,
    mixed: bool,
    results: str | None,
    **options: Any,
) -> None:
    """The comparison of methods on each data set, over the seeds, with its footnotes.

    Columns are those of the runs, such as nll, nll_native, mmd_m, mmd_1, mmd_m_u, mmd_1_u,
    train_seconds, sample_seconds, memory_bytes, peak_rss_bytes, nfe_sample.

    \b
    Examples:
      bench table
      bench table -d power --metric nll --metric mmd_m_u --metric nfe_sample
      bench table --columns +nfe_sample,-memory_bytes   the usual ones, and but for
      bench table --columns cost,nll                a set of columns and one more
      bench table --group-by method                 a block a method, its data sets below
      bench table --transpose                       methods across, measures down
      bench table --details                         what each figure rests on
      bench table -d bsds300 --published            with the JKO-iFlow poster's Table 1 beside it
      bench table -f latex -o table.tex             for \\input; its first line says what it needs
      bench table -f latex --siunitx --caption "On toys." --label tab:toys -o table.tex
      bench table -f latex --standalone -o page.tex
      bench table -f csv --runs -o runs.csv         one row a run, every column
      bench table --results bundle                  what `bench export bundle` wrote
    """
    _refuse(form, details, bool(metrics or columns), **options)
    if metrics and columns:
        raise UsageError("--metric and --columns both name the columns.", "Leave out one of them.")
    from bench.records.measures import measure
    from bench.records.selection import chosen, latest, runs_in
    from bench.tables.columns_asked import asked, require
    from bench.tables.render import TableOptions, details_page, page, usual

    for name in metrics:
        measure(name)
    shown = asked(columns, usual(form)) if columns else metrics
    folder = results_dir(results)
    frame = chosen(runs_in(folder), folder, methods, datasets, budgets)
    if not mixed:
        frame, left_out = latest(frame)
        for sentence in left_out:
            click.echo(f"Left out: {sentence} (--mixed shows them).", err=True)
    if shown:
        require(frame, shown)
    chosen_options = TableOptions(shown, **options)
    if output is None and form == "text" and sys.stdout.isatty():
        _show(frame, chosen_options, details, folder)
        return
    content = details_page(frame, folder) if details else page(frame, form, chosen_options, folder)
    if output is None:
        click.echo(content, nl=False)
    else:
        _write(Path(output), content)


def _show(frame: pd.DataFrame, options: TableOptions, details: bool, folder: Path) -> None:
    """On a terminal, in its width and its colours."""
    from rich.console import Console

    from bench.tables.details import show
    from bench.tables.render import table_of, text

    if details:
        show(frame, Console(), results=folder)
    else:
        text(table_of(frame, "text", options, folder), Console())


def _refuse(
    form: str,
    details: bool,
    columns: bool,
    *,
    by: str,
    transpose: bool,
    by_run: bool,
    published: bool,
    standalone: bool,
    siunitx: bool,
    caption: str | None,
    label: str | None,
) -> None:
    """Refuse what does not go together, before anything is read."""
    latex = {"--standalone": standalone, "--siunitx": siunitx, "--label": label is not None}
    for option, given in latex.items():
        if given and form != "latex":
            raise UsageError(f"{option} is for LaTeX, not for {form}.", "Add -f latex.")
    if caption is not None and form not in ("latex", "html"):
        raise UsageError(f"A table in {form} has no caption.", "Add -f latex or -f html.")
    arranged = transpose or by != "dataset"
    if details and (form != "text" or by_run or columns or published or arranged):
        raise UsageError(
            "--details is text, and shows every figure of every method.",
            "Leave out -f, --runs, --metric, --columns, --published, --transpose and --group-by; "
            "-f csv --runs is for programs.",
        )
    if published and (form == "csv" or by_run or by != "dataset"):
        raise UsageError(
            "--published stands beside methods on a data set, in a table to read.",
            "Leave out -f csv, --runs and --group-by.",
        )
    if siunitx and transpose:
        raise UsageError(
            "siunitx aligns the numbers of a column, and --transpose sets a measure in a row.",
            "Leave out one of them.",
        )
    if form == "csv" and arranged:
        raise UsageError(
            "A CSV is for programs: a row for each method and data set.",
            "Leave out --transpose and --group-by.",
        )


def _write(path: Path, page: str) -> None:
    write_whole(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
