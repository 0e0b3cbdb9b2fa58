"""`bench sample`: rows drawn from a trained flow."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.whole import write_whole
from bench.paths import results_dir


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "-n", "--number", type=click.IntRange(min=1), required=True, metavar="N", help="How many rows."
)
@click.option("-o", "--output", required=True, metavar="FILE", help="A .npy or .csv.")
@click.option("-s", "--seed", type=int, default=0, show_default=True, help="The noise's.")
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def sample(run: str, number: int, output: str, seed: int, results: str | None) -> None:
    """Draw rows from the flow that a run has learned, in preprocessed units, by its judge's solver.

    RUN is a run's name, or any unambiguous start of it. A seed gives the same noise for every
    method, and fewer rows of it are the first ones of more.

    \b
    Examples:
      bench sample flow-matching-moons-s0 -n 10000 -o moons.npy
      bench sample jko-power-s1 -n 1000 -s 7 -o power.csv
    """
    from bench.data.tables import form_of, writer

    path = Path(output)
    form_of(path)
    from bench.asking import drawn
    from bench.cli.flow import counted, flow_of

    name, flow = flow_of(run, results_dir(results))
    done: list[int] = []
    parts = counted(drawn(flow, number, seed), "rows drawn", number, done)
    columns = [f"x{column}" for column in range(flow.method.d)]
    write_whole(path, writer(path, parts, columns))
    click.echo(f"{done[0]:,} rows of {name}, seed {seed}: {path}")
