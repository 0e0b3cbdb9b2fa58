"""A study on many machines, by Dask: each run is a task, made on a worker in a child process.

Here a cluster is found or started: a scheduler's address, this machine, or SLURM. `workers` checks
whether its workers can make the runs, `running` sends the runs and listens, `task` is what a worker
does. Dask is imported where it is used.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError
from bench.launch.dask.running import PATIENCE, run_on
from bench.launch.worker import Event
from bench.records.spec import Limits, RunSpec

if TYPE_CHECKING:
    from distributed import Client

#: Makes the runs of a study below a results folder, and yields their events.
Engine = Callable[[Sequence[RunSpec], Path], Generator[tuple[RunSpec, Event]]]

#: Seconds to wait for a scheduler.
CONNECT = 10.0

#: Seconds to wait for the first job: a queue may be long.
QUEUE = 7 * 86_400.0

#: A level of logging that no message has.
_SILENT = logging.CRITICAL + 1

#: Seconds between two looks whether jobs have ended (at their time limit) and are to be replaced.
REPLACE = 60.0


@contextmanager
def engine(
    scheduler: str | None,
    cluster: str | None,
    jobs: int,
    device: str,
    limits: Limits,
    again: bool = False,
) -> Iterator[Engine]:
    """What makes runs on a cluster: connected at first, closed at last.

    Args:
        scheduler: the address of a running scheduler, `tcp://host:8786`; or None.
        cluster: `local` or `slurm`: the cluster to start; None with a scheduler's address.
        jobs: the workers to start, each for one run at a time.
        device: the runs' device.
        limits: what a run may use; without threads one, or with `slurm` the cores of a job.
        again: whether runs that have records now are made again.

    Raises:
        UsageError: Dask is not installed, or the cluster is not to be had.
    """
    _need("distributed")
    import distributed

    with ExitStack() as stack:
        stack.enter_context(_quiet())
        threads, patience = limits.threads or 1, PATIENCE
        where: Any = scheduler
        if cluster == "local":
            local = distributed.LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                resources=_resources(threads, device),
                memory_limit=0,  # Dask does not see the child processes
                dashboard_address=None,
                silence_logs=_SILENT,
            )
            where = stack.enter_context(closing(local))
        elif cluster:
            _need("dask_jobqueue")
            threads, patience = limits.threads or _configured("cores") or 1, QUEUE
            where = stack.enter_context(_slurm(jobs, threads, device))
        client = stack.enter_context(closing(connect(where)))
        limits = replace(limits, threads=threads)
        yield partial(run_on, client, limits=limits, patience=patience, again=again)


def connect(where: Any) -> Client:
    """A client of the scheduler at an address, or of a cluster.

    Raises:
        UsageError: there is none.
    """
    from distributed import Client

    try:
        with _quiet():
            return Client(where, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise UsageError(
            f"No Dask scheduler answers at {where} (tried for {CONNECT:g} s).",
            "Start one (dask scheduler), and name it as it names itself: tcp://host:8786.",
        ) from error


def _quiet() -> AbstractContextManager[None]:
    """Have Dask print nothing: whoever finds out what is wrong says it in one line."""
    from distributed.utils import silence_logging_cmgr

    found: AbstractContextManager[None] = silence_logging_cmgr(_SILENT)
    return found


def _need(module: str) -> None:
    if find_spec(module) is None:
        raise UsageError(
            f"Runs on a cluster need {module.replace('_', '-')}, which is not installed.",
            "pip install 'cnf-bench[cluster]'",
        )


def _resources(threads: int, device: str) -> dict[str, float]:
    """What each worker that is started here announces: enough for one run."""
    return {"cores": float(threads)} | ({"GPU": 1.0} if device == "cuda" else {})


def _configured(name: str) -> Any:
    """The user's Dask configuration of SLURM jobs (~/.config/dask/jobqueue.yaml)."""
    import dask
    import dask_jobqueue  # noqa: F401  (its defaults)

    return dask.config.get(f"jobqueue.slurm.{name}", None)


@contextmanager
def _slurm(jobs: int, threads: int, device: str) -> Iterator[Any]:
    """SLURM jobs by the user's Dask configuration; those that end are asked for again."""
    if shutil.which("sbatch") is None:
        raise UsageError(
            "There is no sbatch here.", "Run it where jobs can be submitted: on a login node."
        )
    from dask_jobqueue import SLURMCluster

    announced = ",".join(f"{name}={units:g}" for name, units in _resources(threads, device).items())
    extra = [*(_configured("worker-extra-args") or []), "--resources", announced]
    options = {"dashboard_address": None} | (_configured("scheduler-options") or {})
    try:
        cluster = SLURMCluster(
            cores=threads,
            processes=1,
            memory=_configured("memory"),
            worker_extra_args=extra,
            scheduler_options=options,
        )
    except ValueError as error:
        raise UsageError(
            f"The SLURM jobs can't be described: {str(error).splitlines()[0]}",
            "Set at least jobqueue.slurm.memory in ~/.config/dask/jobqueue.yaml (docs/cluster.md).",
        ) from error
    over = threading.Event()

    def ask_again() -> None:
        while not over.wait(REPLACE):
            cluster.scale(jobs=jobs)

    with closing(cluster):
        cluster.scale(jobs=jobs)
        threading.Thread(target=ask_again, daemon=True).start()
        try:
            yield cluster
        finally:
            over.set()
