"""What `bench sample` and `bench score` share: a run's flow, and progress in rows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.flow import Flow


def flow_of(run: str, results: Path) -> tuple[str, Flow]:
    """The name of the run that is meant, and its trained flow.

    Raises:
        UsageError: no run's name starts so, or more than one's.
        DataError: it has no model that can be read.
    """
    from bench import record
    from bench.execution import load_flow

    content = record.find(results, run)
    return str(content["run"]), load_flow(content, results)


def counted(
    parts: Iterable[NDArray[np.floating[Any]]], what: str, total: int | None, done: list[int]
) -> Iterator[NDArray[np.floating[Any]]]:
    """The parts as they come, their rows counted in `done`, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    done.append(0)
    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=total)
        for part in parts:
            yield part
            done[0] += len(part)
            bars.update(task, completed=done[0])
