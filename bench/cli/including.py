"""The option `--include`: files with methods or data sets that no distribution installs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

include_option: Callable[[Any], Any] = click.option(
    "--include",
    "include",
    multiple=True,
    metavar="FILE.py",
    help="A Python file with methods or data sets; repeat it.",
)


def include_all(files: tuple[str, ...]) -> None:
    """Make the methods and data sets of these files known.

    Raises:
        UsageError: one of them can't be imported; says why.
    """
    if not files:
        return
    from bench.registry import plugins

    for file in files:
        plugins.include(file)
