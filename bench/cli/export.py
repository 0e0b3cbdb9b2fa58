"""`bench export`: records, tables and figures in one folder to take away."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import include_all, include_option
from bench.records.bundle import results_dir


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("-m", "--method", "methods", multiple=True, metavar="M", help="Only it; repeat it.")
@click.option("-d", "--dataset", "datasets", multiple=True, metavar="D", help="Only it; repeat it.")
@click.option("-b", "--budget", "budgets", multiple=True, metavar="B", help="Only it; repeat it.")
@click.option("--models", is_flag=True, help="With the trained flows (model.pt).")
@click.option("--no-figures", is_flag=True, help="Records and tables alone.")
@click.option("--force", is_flag=True, help="Replace an earlier bundle at DIR.")
@include_option
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def export(
    folder: str,
    methods: tuple[str, ...],
    datasets: tuple[str, ...],
    budgets: tuple[str, ...],
    models: bool,
    no_figures: bool,
    force: bool,
    include: tuple[str, ...],
    results: str | None,
) -> None:
    """Bundle runs, failed ones too, with their tables and figures, in the folder DIR.

    MANIFEST.json names every file, SHA256SUMS has their checksums. Commands that read runs take a
    bundle for a results folder, and verify its records first.

    \b
    Examples:
      bench export bundle
      bench export paper -b table1 --models         with the trained flows
      bench export bundle --force                   in place of an earlier one
      bench table --results bundle -f latex         the same table, on another machine
      cd bundle && sha256sum -c SHA256SUMS
    """
    from bench.records.selection import chosen, runs_in
    from bench.report.export import write_bundle

    include_all(include)
    source = results_dir(results)
    runs = chosen(runs_in(source), source, methods, datasets, budgets)
    written = write_bundle(
        Path(folder),
        source,
        runs,
        chosen={"methods": methods, "datasets": datasets, "budgets": budgets},
        models=models,
        figures=not no_figures,
        force=force,
    )
    for name, why in written.not_drawn.items():
        click.echo(f"Not drawn: {name}: {why}", err=True)
    with_models = f", {written.models} of them with their models" if models else ""
    figures = len(written.figures) // 2
    click.echo(f"{folder}: {_runs(written.runs)}{with_models}; figures: {figures}.")


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"
