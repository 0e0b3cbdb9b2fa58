"""What a cell asks of a worker, and how many cells the workers can make at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError

if TYPE_CHECKING:
    from distributed import Client

#: Seconds between two looks at the workers.
LOOK = 1.0

#: Workers by address, each with its `nthreads` and its `resources`.
Workers = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Ask:
    """The Dask resources of one cell: `cores`, `GPU`, or none."""

    resources: Mapping[str, float]

    def slots(self, worker: Mapping[str, Any]) -> int:
        """The cells that the worker can make at once."""
        have = worker["resources"]
        counts = [int(have.get(name, 0) // units) for name, units in self.resources.items()]
        return min([int(worker["nthreads"]), *counts])


def workers(client: Client) -> Workers:
    """The workers that there are now."""
    found: Workers = client.scheduler_info()["workers"]
    return found


def wait(client: Client, device: str, threads: int, patience: float) -> Ask:
    """What a cell is to ask for, when there is a worker that has it.

    A run on a GPU asks for one `GPU`. It asks for `threads` of the `cores` too where workers
    announce any; where none does, a worker makes as many runs at once as it has threads.

    Args:
        client: a connected Dask client.
        device: the runs' device.
        threads: the threads of a run.
        patience: the seconds to wait for a worker.

    Raises:
        UsageError: no worker can make such a run, and none has come in time.
    """
    deadline = time.monotonic() + patience
    while True:
        found = workers(client)
        asked: dict[str, float] = {"GPU": 1} if device == "cuda" else {}
        if any("cores" in w["resources"] for w in found.values()):
            asked["cores"] = threads
        ask = Ask(asked)
        if any(ask.slots(w) for w in found.values()):
            return ask
        if time.monotonic() > deadline:
            raise UsageError(*lacking(found, ask, client.scheduler.address, patience))
        time.sleep(LOOK / 4)


def lacking(found: Workers, ask: Ask, address: str, patience: float) -> tuple[str, str]:
    """What no worker has, and how to start one that has it."""
    wanted = " ".join(f"{name}={units:g}" for name, units in ask.resources.items())
    start = f"dask worker {address}" + (f' --nthreads 1 --resources "{wanted}"' if wanted else "")
    waited = f"(waited {patience:g} s)"
    if not found:
        return f"No worker has joined the scheduler {address} {waited}.", f"Start some: {start}"
    for name, units in ask.resources.items():
        most = max(w["resources"].get(name, 0) for w in found.values())
        if most < units:
            have = f"the most that one announces is {most:g}" if most else "none announces any"
            return (
                f"A run needs {units:g} of the resource {name}, and none of the {len(found)} "
                f"workers of {address} has so much: {have} {waited}.",
                f"Start some so: {start}",
            )
    return (
        f"No worker of {address} has all that a run needs ({wanted}) {waited}.",
        f"Start: {start}",
    )
