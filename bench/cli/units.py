"""`--units`: what the rows of `bench sample` and `bench score` are measured in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.data.units import Units

IN_WORDS = {"preprocessed": "in preprocessed units", "own": "in the table's own units"}

units_option = click.option(
    "--units",
    type=click.Choice(list(IN_WORDS)),
    default="preprocessed",
    show_default=True,
    help="Of the rows, and of the density: as the flow learned them, or as the table has them.",
)


def units_of(run: str, results: str | None, units: str) -> Units | None:
    """What rows are to be converted by; None where they are preprocessed."""
    if units == "preprocessed":
        return None
    from bench.data.units import of_run
    from bench.paths import results_dir
    from bench.records import store

    return of_run(store.find(results_dir(results), run))
