"""Dask's workers: how many runs they can make at once, and whether they can make them at all.

A worker must have the same program, the same methods and the same rows as the driver.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import paths
from bench.errors import BenchError, UsageError
from bench.records.spec import RunSpec
from bench.registry import plugins

if TYPE_CHECKING:
    from distributed import Client

#: Seconds between two looks at the workers.
LOOK = 1.0

#: Held while sources are parsed: Python 3.11 must not do that in two threads at once.
_PARSING = threading.Lock()

_SAME = "Install the same cnf-bench ({}) there and start it again."

#: Workers by address, each with its `nthreads` and its `resources`.
Workers = Mapping[str, Mapping[str, Any]]

#: Dask resources that a run needs, such as `{"cores": 2, "GPU": 1}`.
Resources = Mapping[str, float]

#: Why a worker can't make a run, and the remedy.
Unfit = tuple[str, str]


def slots(worker: Mapping[str, Any], resources: Resources) -> int:
    """How many runs that need these resources the worker can make at once."""
    have = worker["resources"]
    counts = [int(have.get(name, 0) // units) for name, units in resources.items()]
    return min([int(worker["nthreads"]), *counts])


def wait(client: Client, device: str, threads: int, patience: float) -> dict[str, float]:
    """Wait for a worker that can make a run; return the resources that a run asks for.

    A run on a GPU asks for one `GPU`. It asks for `threads` of the `cores` too where workers
    announce any; where none does, a worker makes as many runs at once as it has threads.

    Raises:
        UsageError: no worker can make such a run within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        found: Workers = client.scheduler_info()["workers"]
        resources: dict[str, float] = {"GPU": 1} if device == "cuda" else {}
        if any("cores" in worker["resources"] for worker in found.values()):
            resources["cores"] = threads
        if any(slots(worker, resources) for worker in found.values()):
            return resources
        if time.monotonic() > deadline:
            raise UsageError(*lacking(found, resources, client.scheduler.address, patience))
        time.sleep(LOOK / 4)


def lacking(found: Workers, resources: Resources, address: str, patience: float) -> Unfit:
    """What no worker has, and how to start one that has it."""
    wanted = " ".join(f"{name}={units:g}" for name, units in resources.items())
    start = f"dask worker {address}" + (f' --nthreads 1 --resources "{wanted}"' if wanted else "")
    waited = f"(waited {patience:g} s)"
    if not found:
        return f"No worker has joined the scheduler {address} {waited}.", f"Start one: {start}"
    for name, units in resources.items():
        most = max(worker["resources"].get(name, 0) for worker in found.values())
        if most < units:
            return (
                f"A run needs {units:g} of the resource {name}; the {len(found)} workers of "
                f"{address} announce {most:g} at most {waited}.",
                f"Start one that has it: {start}",
            )
    return f"No worker of {address} has all that a run needs ({wanted}) {waited}.", start


@cache
def program() -> tuple[str, str]:
    """Return the version of this package, and a hash of its source: Python and settings."""
    top = Path(paths.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(p for p in top.rglob("*") if p.suffix in (".py", ".toml")):
        digest.update(f"{path.relative_to(top).as_posix()} ".encode() + path.read_bytes())
    return version("cnf-bench"), digest.hexdigest()[:12]


def unfit(planned_by: tuple[str, str], specs: Sequence[RunSpec]) -> Unfit | None:
    """Why this machine can't make runs that a program has planned; None where it can."""
    with _PARSING:
        (package, source), (here, source_here) = planned_by, program()
        same = _SAME.format(package)
        if here != package:
            return f"it has cnf-bench {here}, and the study was planned by {package}", same
        if source_here != source:
            return f"its cnf-bench {here} has a different source than the driver's", same
        for file in sorted({file for spec in specs for file in spec.include}):
            try:
                plugins.include(file)
            except UsageError as error:
                what = f"it can't include a file of the study: {error.problem.rstrip('.')}"
                return what, "Put the file where the workers see it under the same path."
        for name, wanted in sorted({(spec.method, spec.version) for spec in specs}):
            if name not in plugins.methods():
                return f"the method {name!r} is not installed there", same
            found = plugins.version(plugins.methods()[name])
            if found != wanted:
                return f"its source of {name} is version {found}, and the study's {wanted}", same
        for rows in sorted({(s.label, s.dataset, s.revision, s.data_root) for s in specs}):
            try:
                root(*rows)
            except BenchError as error:
                return error.problem.rstrip("."), error.remedy
        return None


@cache
def root(label: str, dataset: str, revision: str, driver_root: str) -> Path:
    """The data root with the rows of this revision: the driver's, or else this machine's own.

    Raises:
        BenchError: neither has them.
    """
    from bench.data import arrays

    roots = dict.fromkeys([Path(driver_root), paths.data_root()])
    missing = other = ""
    for folder in roots:
        try:
            found = arrays.load(plugins.dataset(dataset), folder).revision
        except BenchError as error:
            missing = missing or error.problem
            continue
        if found == revision:
            return folder
        other = f"Its rows of {label} below {folder} are revision {found}, the study's {revision}."
    if other:
        raise UsageError(other, "Put the same files there.")
    raise UsageError(
        f"It has no {label} of revision {revision} below {' or '.join(map(str, roots))}: {missing}",
        "Put the data there, or start it with BENCH_DATA set to the folder that holds them.",
    )


def examine(client: Client, specs: Sequence[RunSpec]) -> None:
    """Check the scheduler, which unpacks every task, and every worker.

    Raises:
        UsageError: one of them can't make the runs.
    """
    address = client.scheduler.address
    try:
        problem = client.run_on_scheduler(unfit, program(), ())
    except Exception as error:  # whatever another program does with ours
        problem = _unexpected(error)
    if problem:
        raise UsageError(f"The scheduler {address} can't be used: {problem[0]}.", problem[1])
    # In a thread of each worker: reading rows may take minutes.
    found: Mapping[str, Unfit | Exception | None] = client.run(
        asyncio.to_thread, unfit, program(), specs, on_error="return"
    )
    problems = [
        (worker, _unexpected(answer) if isinstance(answer, Exception) else answer)
        for worker, answer in sorted(found.items())
        if answer is not None
    ]
    if problems:
        worker, (what, remedy) = problems[0]
        others = f" (and {len(problems) - 1} others)" if problems[1:] else ""
        raise UsageError(f"The worker {worker}{others} can't make these runs: {what}.", remedy)


def _unexpected(error: Exception) -> Unfit:
    if isinstance(error, ImportError | AttributeError):
        return f"it has no cnf-bench, or another version ({error})", _SAME.format(program()[0])
    return f"{type(error).__name__}: {error}".rstrip("."), "See its log."
