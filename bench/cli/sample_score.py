"""`bench sample` and `bench score`: draw rows from a trained flow, or compute their log-density."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import format_of, include_option, results_option, write_whole
from bench.errors import NothingMeasured

if TYPE_CHECKING:
    from bench.evaluation.flow import Flow

UNITS = {"preprocessed": "in preprocessed units", "own": "in the table's own units"}
FORMATS = {".npy": ".npy", ".csv": ".csv"}


def _rows_file(ctx: click.Context, param: click.Parameter, value: str) -> Path:
    format_of(value, None, FORMATS)
    return Path(value)


_output_option = click.option(
    *("-o", "--output"),
    metavar="FILE",
    required=True,
    callback=_rows_file,
    help="A .npy or .csv file.",
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
@include_option()
@results_option()
def sample(run: str, n: int, output: Path, seed: int, units: str, results: Path) -> None:
    """Draw N rows from the flow of a run, by the solver that evaluated it.

    Rows are in the units of the preprocessed data set (see `bench info RUN`), or in those of your
    table with `--units own`. The same seed gives the same rows. Memory does not grow with N.

    \b
    Examples:
      bench sample flow-matching-moons-s0 -n 10000 -o samples.npy
      bench sample flow-matching-wine -n 100 -o wines.csv --seed 1 --units own
    """
    flow, shift, scale = _load(run, results, units)
    _write(
        output, _samples(flow, n, seed, shift, scale), n, [f"x{k}" for k in range(flow.method.d)]
    )
    click.echo(f"{n} rows of {flow.method.d} columns, {UNITS[units]}: {output}")


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("file", metavar="FILE", callback=_rows_file)
@_output_option
@_units_option
@include_option()
@results_option()
def score(run: str, file: Path, output: Path, units: str, results: Path) -> None:
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
    from bench.data.row_files import count

    flow, shift, scale = _load(run, results, units)
    n = count(file, flow.method.d)
    _write(output, _scores(flow, file, shift, scale), n, ["log_prob"])
    click.echo(f"Log-density of {n} rows, in nats, {UNITS[units]}: {output}")


def _load(run: str, results: Path, units: str) -> tuple[Flow, Any, Any]:
    """Return a run's flow, and what is added to and multiplies its rows in these units."""
    import bench
    from bench.data.row_files import units_of
    from bench.records import store

    flow = bench.load(run, results)
    if units == "preprocessed":
        return flow, 0.0, 1.0
    record = store.find(results, run)
    return flow, *units_of(record.run, record.dataset.d or 0, record.dataset.notes)


def _write(path: Path, blocks: Iterator[Any], n: int, names: Sequence[str]) -> None:
    from bench.data.row_files import write
    from bench.numerics.ode import SolverFailed

    try:
        write_whole(path, lambda file: write(file, path.suffix.lower(), blocks, n, names))
    except SolverFailed as error:
        raise NothingMeasured(f"The solver failed: {error}.") from error


def _samples(flow: Flow, n: int, seed: int, shift: Any, scale: Any) -> Iterator[Any]:
    """Yield the samples in blocks; the first is that of `flow.sample`."""
    import torch

    from bench.data.row_files import BLOCK

    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, BLOCK):
        shape = min(BLOCK, n - start), flow.method.d
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        yield flow.decode(noise).rows.cpu().numpy() * scale + shift


def _scores(flow: Flow, rows: Path, shift: Any, scale: Any) -> Iterator[Any]:
    """Yield the log-densities `(k,)` of each block of rows."""
    import numpy as np
    import torch

    from bench.data.row_files import blocks

    gain = -float(np.log(scale).sum())
    for block in blocks(rows, flow.method.d):
        yield flow.log_prob(torch.from_numpy((block - shift) / scale)).cpu().numpy() + gain
