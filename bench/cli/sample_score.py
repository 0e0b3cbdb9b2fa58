"""`bench sample` and `bench score`: draw rows from a trained flow, or compute their log-density."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bench.cli.options import format_of, include_option, results_option, write_whole
from bench.errors import NothingMeasured
from bench.terminal import echo

if TYPE_CHECKING:
    from bench.data.row_files import TrainedColumns
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
    help="Units of rows and density: as the flow learned them, or as in your table [default: own "
    "for a table of your own, else preprocessed].",
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
def sample(run: str, n: int, output: Path, seed: int, units: str | None, results: Path) -> None:
    """Draw N rows from the flow of a run, by the solver that evaluated it.

    Rows of a table of your own are in its units and have its columns' names; others are in the
    units of the preprocessed data set (see `bench info RUN`). The same seed gives the same rows.
    Memory does not grow with N.

    \b
    Examples:
      bench sample flow-matching-moons-s0 -n 10000 -o samples.npy
      bench sample flow-matching-wine -n 100 -o wines.csv --seed 1
    """
    trained = _load(run, results, units)
    d, names = trained.columns.d, trained.columns.names
    _write(output, _samples(trained, n, seed), n, names or [f"x{k}" for k in range(d)])
    echo(f"{n} rows of {d} columns, {UNITS[trained.units]}: {output}")


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("file", metavar="FILE", callback=_rows_file)
@_output_option
@_units_option
@include_option()
@results_option()
def score(run: str, file: Path, output: Path, units: str | None, results: Path) -> None:
    """Write the log-density of each row of FILE, in nats, in the order of the rows.

    FILE is a .npy or a .csv. The header of a .csv may name your table's columns, in any order;
    without one they come in the table's order. Rows and log-density are in the units of your table;
    for other data sets in those of the preprocessed one (see `bench info RUN`). The lower the
    log-density, the less a row resembles the data. The whole file is checked before anything is
    written; memory does not grow with it.

    \b
    Examples:
      bench score flow-matching-moons-s0 rows.csv -o log_density.csv
      bench score flow-matching-wine new_wines.csv -o log_density.npy
    """
    from bench.data.row_files import count

    trained = _load(run, results, units)
    n = count(file, trained.columns)
    _write(output, _scores(trained, file), n, ["log_prob"])
    echo(f"Log-density of {n} rows, in nats, {UNITS[trained.units]}: {output}")


class _Trained(NamedTuple):
    """A run's flow, its columns, and the units of rows: `preprocessed * scale + shift`."""

    flow: Flow
    columns: TrainedColumns
    units: str
    shift: Any = 0.0
    scale: Any = 1.0


def _load(run: str, results: Path, units: str | None) -> _Trained:
    import bench
    from bench.data.row_files import TrainedColumns, units_of
    from bench.records import store

    flow = bench.load(run, results)
    record = store.find(results, run)
    notes, d = record.dataset.notes, flow.method.d
    units = units or ("own" if record.dataset.kind == "own" else "preprocessed")
    moved = units_of(record.run, d, notes) if units == "own" else ()
    return _Trained(flow, TrainedColumns.of(d, notes), units, *moved)


def _write(path: Path, blocks: Iterator[Any], n: int, names: Sequence[str]) -> None:
    from bench.data.row_files import write
    from bench.numerics.ode import SolverFailed

    try:
        write_whole(path, lambda file: write(file, path.suffix.lower(), blocks, n, names))
    except SolverFailed as error:
        raise NothingMeasured(f"The solver failed: {error}.") from error


def _samples(trained: _Trained, n: int, seed: int) -> Iterator[Any]:
    """Yield the samples in blocks; the first is that of `flow.sample`."""
    import torch

    from bench.data.row_files import BLOCK

    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n, BLOCK):
        shape = min(BLOCK, n - start), trained.columns.d
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        yield trained.flow.decode(noise).rows.cpu().numpy() * trained.scale + trained.shift


def _scores(trained: _Trained, rows: Path) -> Iterator[Any]:
    """Yield the log-densities `(k,)` of each block of rows."""
    import numpy as np
    import torch

    from bench.data.row_files import blocks

    gain = -float(np.log(trained.scale).sum())
    for block in blocks(rows, trained.columns):
        x = torch.from_numpy((block - trained.shift) / trained.scale)
        yield trained.flow.log_prob(x).cpu().numpy() + gain
