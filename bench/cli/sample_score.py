"""`bench sample` and `bench score`: draw rows from a trained flow, or compute their log-density."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import format_of, include_option, results_option, write_whole
from bench.errors import NothingMeasured
from bench.records.bundle import results_dir

if TYPE_CHECKING:
    from bench.data.row_files import Units
    from bench.evaluation.flow import Flow

UNITS = {"preprocessed": "in preprocessed units", "own": "in the table's own units"}
FORMATS = {".npy": ".npy", ".csv": ".csv"}

_output_option = click.option(
    "-o", "--output", metavar="FILE", required=True, help="A .npy or .csv file."
)
_units_option = click.option(
    "--units",
    type=click.Choice(list(UNITS)),
    default="preprocessed",
    show_default=True,
    help="Units of rows and density: as the flow learned them, or as in your table.",
)


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "-n", "--number", "n", type=click.IntRange(min=1), required=True, help="Number of rows."
)
@_output_option
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the noise."
)
@_units_option
@include_option
@results_option
def sample(
    run: str,
    n: int,
    output: str,
    seed: int,
    units: str,
    include: tuple[str, ...],
    results: str | None,
) -> None:
    """Draw N rows from the flow of a run, by the solver that evaluated it.

    Rows are in the units of the preprocessed data set (see `bench info RUN`), or in those of your
    table with `--units own`. The same seed gives the same rows. Memory does not grow with N.

    \b
    Examples:
      bench sample flow-matching-moons-s0 -n 10000 -o samples.npy
      bench sample flow-matching-wine -n 100 -o wines.csv --seed 1 --units own
    """
    path, form = Path(output), format_of(output, None, FORMATS)
    from bench.data.row_files import write

    flow, own = _load(run, results, include, units)
    names = [f"x{k}" for k in range(flow.method.d)]
    write_whole(path, lambda file: write(file, form, _samples(flow, n, seed, own), n, names))
    click.echo(f"{n} rows of {flow.method.d} columns, {UNITS[units]}: {path}")


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("file", metavar="FILE")
@_output_option
@_units_option
@include_option
@results_option
def score(
    run: str, file: str, output: str, units: str, include: tuple[str, ...], results: str | None
) -> None:
    """Write the log-density of each row of FILE, in nats, in the order of the rows.

    FILE is a .npy or a .csv; the first line of a .csv may name the columns. Rows and log-density
    are in the units of the preprocessed data set (see `bench info RUN`), or in those of your table
    with `--units own`. The lower the log-density, the less a row resembles the data. The whole file
    is checked before anything is written; memory does not grow with it.

    \b
    Examples:
      bench score flow-matching-moons-s0 rows.csv -o log_density.csv
      bench score flow-matching-wine new_wines.csv -o log_density.npy --units own
    """
    rows, path = Path(file), Path(output)
    format_of(rows, None, FORMATS)
    form = format_of(path, None, FORMATS)
    from bench.data.row_files import count, write

    flow, own = _load(run, results, include, units)
    n = count(rows, flow.method.d)
    write_whole(path, lambda to: write(to, form, _scores(flow, rows, own), n, ["log_prob"]))
    click.echo(f"Log-density of {n} rows, in nats, {UNITS[units]}: {path}")


def _load(
    run: str, results: str | None, include: tuple[str, ...], units: str
) -> tuple[Flow, Units | None]:
    """Return a run's flow, and the units to convert to; None for preprocessed rows."""
    import bench

    flow = bench.load(run, results, include)
    if units == "preprocessed":
        return flow, None
    from bench.data.row_files import units_of
    from bench.records import store

    record = store.find(results_dir(results), run)
    return flow, units_of(record.run, record.dataset.d or 0, record.dataset.notes)


def _samples(flow: Flow, n: int, seed: int, own: Units | None) -> Iterator[Any]:
    """Yield the samples in blocks; the first is that of `flow.sample`."""
    import torch

    from bench.data.row_files import BLOCK

    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, BLOCK):
        shape = min(BLOCK, n - start), flow.method.d
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        with _solver_failure(f"samples {start + 1} to {start + shape[0]}"):
            rows = flow.decode(noise).rows.cpu().numpy()
        yield rows * own[1] + own[0] if own else rows


def _scores(flow: Flow, rows: Path, own: Units | None) -> Iterator[Any]:
    """Yield the log-densities `(k,)` of each block of rows."""
    import numpy as np
    import torch

    from bench.data.row_files import blocks

    done, gain = 0, -float(np.log(own[1]).sum()) if own else 0.0
    for block in blocks(rows, flow.method.d):
        x = (block - own[0]) / own[1] if own else block
        with _solver_failure(f"rows {done + 1} to {done + len(block)}"):
            log_prob = flow.log_prob(torch.from_numpy(x)).cpu().numpy()
        yield log_prob + gain
        done += len(block)


@contextmanager
def _solver_failure(where: str) -> Iterator[None]:
    """Turn a failure of the solver into NothingMeasured."""
    from bench.numerics.ode import SolverFailed

    try:
        yield
    except SolverFailed as error:
        raise NothingMeasured(f"The solver failed on {where}: {error}.") from error
