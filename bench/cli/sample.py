"""`bench sample`: rows drawn from a trained flow."""

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
@click.option(
    "-n", "--number", "n", type=click.IntRange(min=1), required=True, help="How many rows."
)
@click.option("-o", "--output", metavar="FILE", required=True, help="A .npy or .csv.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise."
)
@units_option
@include_option
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
def sample(
    run: str,
    n: int,
    output: str,
    seed: int,
    units: str,
    include: tuple[str, ...],
    results: str | None,
) -> None:
    """Draw N rows from the flow that a run has trained, by the solver that it was judged with.

    They are in the units of the data set as it was preprocessed (`bench info RUN` says how), or in
    the table's own with `--units own`. The memory that this takes does not grow with N. A seed
    gives the same rows again.

    \b
    Examples:
      bench sample flow-matching-moons-s0 -n 10000 -o samples.npy
      bench sample flow-matching-wine -n 100 -o wines.csv --seed 1 --units own
    """
    from bench.data.row_files import check_form, write

    path = Path(output)
    check_form(path)
    import bench

    flow, own = bench.load(run, results, include), units_of(run, results, units)
    names = [f"x{k}" for k in range(flow.method.d)]
    form = path.suffix.lower()
    write_whole(path, lambda file: write(file, form, _drawn(flow, n, seed, own), n, names))
    click.echo(f"{n} rows of {flow.method.d} columns, {IN_WORDS[units]}: {path}")


def _drawn(flow: Flow, n: int, seed: int, own: Units | None) -> Iterator[Any]:
    """The rows in blocks, preprocessed or in units `own`; one block's are those of `flow.sample`.

    Raises:
        NothingMeasured: the flow can't be solved for them.
    """
    import torch

    from bench.data.row_files import BLOCK
    from bench.numerics.ode import SolverFailed

    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, BLOCK):
        shape = min(BLOCK, n - start), flow.method.d
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        try:
            rows = flow.decode(noise).rows.cpu().numpy()
        except SolverFailed as error:
            raise NothingMeasured(f"The flow can't be solved for its samples: {error}.") from error
        yield own.own(rows) if own else rows
