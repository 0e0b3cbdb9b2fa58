"""A study on many machines, by Dask: each run is a task, made on a worker in a child process.

`connecting` finds or starts the workers, `workers` checks whether they can make the runs, `running`
sends the runs and listens, `task` is what a worker does. Dask is imported where it is used.
"""

from __future__ import annotations

from bench.launch.dask.connecting import engine
from bench.launch.dask.running import run_on

__all__ = ["engine", "run_on"]
