"""`bench table`: the comparison, for the terminal, a paper or a program."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import (
    budgets_option,
    datasets_option,
    format_of,
    include_option,
    listed,
    methods_option,
    results_option,
    write_whole,
)
from bench.errors import NothingMeasured, UsageError, unknown
from bench.terminal import console, echo

if TYPE_CHECKING:
    import pandas as pd

#: The format of a file by its ending.
_ENDINGS = {".txt": "text", ".tex": "latex", ".md": "markdown", ".csv": "csv", ".html": "html"}

#: The options that arrange the rows and columns of a table, and the others that may be refused.
_ARRANGE = {
    "--metric or --columns": "columns",
    "--group-by": "by",
    "--transpose": "transpose",
    "--runs": "by_run",
}
_OPTIONS = _ARRANGE | {
    f"--{name}": name
    for name in (
        "details",
        "published",
        "sort",
        "notes",
        "standalone",
        "siunitx",
        "caption",
        "label",
    )
}

#: What these options are unless they are given.
_DEFAULTS = (None, False, "dataset", "nll")


@click.command()
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(list(_ENDINGS.values())),
    help="Format [default: by the ending of -o FILE, else text].",
)
@click.option("-o", "--output", metavar="FILE", help="Write to a file, not to the terminal.")
@listed("--metric", "metrics", metavar="NAME", help="Show this column. Repeatable.")
@click.option(
    "--columns",
    metavar="LIST",
    help="Columns or sets of them: narrow, wide, likelihood, samples, cost, all. +NAME adds to "
    "the usual ones, -NAME leaves one out.",
)
@click.option(
    "--sort", metavar="COLUMN", default="nll", show_default=True, help="Sort rows, best first."
)
@click.option(
    "--notes",
    type=click.Choice(["short", "full", "none"]),
    help="Notes below the table [default: short in text, else full].",
)
@methods_option()
@datasets_option()
@budgets_option()
@click.option(
    "--group-by",
    "by",
    type=click.Choice(["dataset", "method", "budget"]),
    default="dataset",
    show_default=True,
    help="Make a block of rows for each of these.",
)
@click.option("--transpose", is_flag=True, help="Show columns as rows, and methods as columns.")
@click.option("--runs", "by_run", is_flag=True, help="Show a row for each run.")
@click.option(
    "--details", is_flag=True, help="Show what each number rests on: n, seeds, error. Text only."
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Include runs on older data or by older metrics, in rows of their own.",
)
@click.option("--published", is_flag=True, help="Add columns of published results.")
@click.option("--standalone", is_flag=True, help="LaTeX: a document that compiles by itself.")
@click.option("--siunitx", is_flag=True, help="LaTeX: align numbers with siunitx's S columns.")
@click.option("--caption", metavar="TEXT", help="LaTeX, HTML: replace the generated caption.")
@click.option("--label", metavar="KEY", help="LaTeX: key for \\ref [default: tab:cnf-bench].")
@include_option()
@results_option()
def table(
    form: str | None,
    output: str | None,
    columns: str | None,
    metrics: tuple[str, ...],
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    budgets: tuple[str, ...],
    mixed: bool,
    results: Path,
    **given: Any,
) -> None:
    """Compare the methods on each data set, over seeds.

    Rows are sorted by NLL, the best first. A column is any measured column of the runs, such as
    nll, nll_native, mmd_m, mmd_1, train_seconds, memory_bytes, nfe_sample; `--columns all` shows
    all of them.

    \b
    Examples:
      bench table
      bench table --notes full                      all that the numbers rest on
      bench table --columns samples                 MMDs, their thresholds and all tests
      bench table -d power --metric nll,mmd_m_u,nfe_sample
      bench table --columns +nfe_sample,-memory_bytes --sort train_seconds
      bench table --columns cost,nll                a set of columns and one more
      bench table --group-by method                 one block per method, its data sets as rows
      bench table --transpose                       methods as columns
      bench table --details                         what each number rests on
      bench table -d bsds300 --published            with the JKO-iFlow poster's Table 1
      bench table -o table.tex                      for \\input; its first line names the packages
      bench table -o table.tex --siunitx --caption "On toys." --label tab:toys
      bench table -o page.tex --standalone
      bench table -o runs.csv --runs                one row per run, every column
      bench table --results bundle                  a bundle of bench export
    """
    form = format_of(output, form, _ENDINGS, "text")
    _refuse(form, columns=metrics or columns or None, **given)
    if metrics and columns:
        raise UsageError("--metric and --columns both choose the columns.", "Use one of them.")
    from bench.records.frame import chosen, latest, runs_in
    from bench.tables.comparison import measured_column
    from bench.tables.render import TableOptions, page, show, usual_columns

    for name in (*metrics, given["sort"]):
        measured_column(name)
    shown = parse_columns(columns, usual_columns(form)) if columns else metrics
    frame = chosen(runs_in(results), results, methods, datasets, budgets)
    if not mixed:
        frame, left_out = latest(frame)
        for sentence in left_out:
            echo(f"Left out: {sentence} (--mixed shows them).", err=True)
    if shown:
        _require(frame, shown)
    options = TableOptions(shown, **given)
    if output is None and form == "text" and sys.stdout.isatty():
        show(frame, options, results, console())
        return
    content = page(frame, form, options, results)
    if output is None:
        echo(content, nl=False, lines=True)
    else:
        write_whole(Path(output), lambda file: file.write_text(content, encoding="utf-8"))


def column_sets() -> dict[str, tuple[str, ...]]:
    """The sets of columns by name."""
    from bench.records import catalogue
    from bench.tables.comparison import NARROW, WIDE

    every = tuple(catalogue.measures())
    return {"narrow": NARROW, "wide": WIDE, **catalogue.sets(), "all": every}


def parse_columns(text: str, usual: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a list such as `nll,mmd_m`, `cost,+nll` or `+nfe_sample,-nll`.

    Each item is a column or a set of them. `+` adds it at the end, and so does no sign; `-` leaves
    it out. A list that begins with a sign begins with the usual columns.

    Raises:
        UsageError: an item has an unknown name, `-` names a column that isn't there, or no column
            is left.
    """
    sets = column_sets()
    items = [item.strip() for item in text.split(",") if item.strip()]
    found = list(usual) if items and items[0][0] in "+-" else []
    for item in items:
        name = item.lstrip("+-")
        if name not in sets and name not in sets["all"]:
            raise unknown("column or set of columns", name, [*sets, *sets["all"]])
        names = sets.get(name, (name,))
        if item[0] != "-":
            found += [each for each in names if each not in found]
        elif not set(names) & set(found):
            raise UsageError(
                f"--columns leaves out {name}, which is not shown.", f"Shown: {', '.join(found)}."
            )
        else:
            found = [each for each in found if each not in names]
    if not found:
        raise UsageError("--columns leaves no column.", f"Known: {', '.join(sets['all'])}.")
    return tuple(found)


def _require(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Refuse columns for which no run that ended well has a value."""
    ok = frame[(frame["status"] == "ok").fillna(False)]
    if len(ok) and not any(ok[name].notna().any() for name in names):
        known = [name for name in column_sets()["all"] if ok[name].notna().any()]
        raise NothingMeasured(
            f"No run has a value for {' or '.join(names)}.", f"Known: {', '.join(known)}."
        )


def _refuse(form: str, **given: Any) -> None:
    """Refuse options that do not fit the format or each other, before anything is read."""
    used = [option for option, name in _OPTIONS.items() if given[name] not in _DEFAULTS]
    one = "Use one of them."

    def refuse(why: str, hint: str, *options: str) -> None:
        for option in options:
            if option in used:
                raise UsageError(f"{option} {why}", hint)

    if form == "text" and "--details" in used:
        others = ("--sort", "--notes", "--published")
        refuse("can't be combined with --details.", one, *_ARRANGE, *others)
    if form != "latex":
        latex = ("--standalone", "--siunitx", "--label")
        refuse(f"is for LaTeX; the format is {form}.", "Add -f latex.", *latex)
    if form != "text":
        refuse(f"is text; the format is {form}.", "Use -f csv --runs instead.", "--details")
    if form not in ("latex", "html"):
        hint = "Use -f latex or -f html."
        refuse(f"is for LaTeX and HTML; a table in {form} has no caption.", hint, "--caption")
    if form == "csv":
        no = ("--notes", "--published", "--transpose", "--group-by")
        refuse("is not for CSV.", "Use another format.", *no)
    if "--published" in used:
        refuse("can't be combined with --published.", one, "--runs", "--group-by")
    if "--siunitx" in used:
        why = "has no columns of one measure, which --siunitx aligns."
        refuse(why, one, "--transpose")
