"""`bench score`: log-densities of a user's rows under a trained flow."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.whole import write_whole
from bench.paths import results_dir


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("file", metavar="FILE")
@click.option("-o", "--output", required=True, metavar="FILE", help="A .npy or .csv.")
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def score(run: str, file: str, output: str, results: str | None) -> None:
    """The log-density in nats of each row of FILE under the flow that a run has learned.

    The rows are in preprocessed units, as `bench sample` gives them: a .npy of shape (n, d), or a
    .csv with a line a row. RUN is a run's name, or any unambiguous start of it. The density is by
    the run's reference solver, with the exact divergence.

    \b
    Examples:
      bench score flow-matching-moons-s0 moons.npy -o log_prob.npy
      bench score jko-power-s1 rows.csv -o log_prob.csv
    """
    from bench.data.tables import form_of, read_rows, writer

    source, path = Path(file), Path(output)
    form_of(source)
    form_of(path)
    from bench.asking import scored
    from bench.cli.flow import counted, flow_of

    name, flow = flow_of(run, results_dir(results))
    done: list[int] = []
    rows = read_rows(source, flow.method.d, flow.rows_at_once)
    parts = counted(scored(flow, rows), "rows scored", None, done)
    write_whole(path, writer(path, parts, ["log_prob"]))
    click.echo(f"{done[0]:,} log-densities (nats) by {name}: {path}")
