"""`bench score`: the log-density of rows under a trained flow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import include_option, write_whole
from bench.cli.units import IN_WORDS, units_of, units_option
from bench.errors import NothingMeasured

if TYPE_CHECKING:
    from bench.data.units import Units
    from bench.evaluation.flow import Flow


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("file", metavar="FILE")
@click.option("-o", "--output", metavar="FILE", required=True, help="A .npy or .csv.")
@units_option
@include_option
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def score(
    run: str, file: str, output: str, units: str, include: tuple[str, ...], results: str | None
) -> None:
    """Write the log-density of each row of FILE, in nats, in the order of the rows.

    FILE is a .npy or a .csv, which may name its columns on the first line. Its rows and the
    log-density are in the units of the data set as it was preprocessed (`bench info RUN` says how),
    or in the table's own with `--units own`: the lower the log-density, the less a row is like the
    data. The memory that this takes does not grow with the rows; the file is checked as a whole
    first.

    \b
    Examples:
      bench score flow-matching-moons-s0 rows.csv -o log_density.csv
      bench score flow-matching-wine new_wines.csv -o log_density.npy --units own
    """
    from bench.data.row_files import check_form, count, write

    rows, path = Path(file), Path(output)
    check_form(rows)
    check_form(path)
    import bench

    flow, own = bench.load(run, results, include), units_of(run, results, units)
    n = count(rows, flow.method.d)
    form = path.suffix.lower()
    write_whole(path, lambda to: write(to, form, _scored(flow, rows, own), n, ["log_prob"]))
    click.echo(f"The log-density of {n} rows, in nats, {IN_WORDS[units]}: {path}")


def _scored(flow: Flow, rows: Path, own: Units | None) -> Iterator[Any]:
    """The log-densities `(k,)` of each block of rows, which are preprocessed or in units `own`.

    Raises:
        NothingMeasured: the flow can't be solved for a row.
    """
    import torch

    from bench.data.row_files import blocks
    from bench.numerics.ode import SolverFailed

    done = 0
    for block in blocks(rows, flow.method.d):
        asked, gain = (own.preprocessed(block), own.log_det()) if own else (block, 0.0)
        try:
            yield flow.log_prob(torch.from_numpy(asked)).cpu().numpy() + gain
        except SolverFailed as error:
            place = f"rows {done + 1} to {done + len(block)}"
            raise NothingMeasured(f"The flow can't be solved for {place}: {error}.") from error
        done += len(block)
