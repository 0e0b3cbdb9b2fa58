"""A study on many machines, by Dask: each cell is a task, made on a worker in a child process.

`connecting` finds or starts the workers, `fitness` and `slots` look whether they can make the runs,
`running` sends the cells and listens, `cell` is what a worker does, `homecoming` brings the
records home. Dask is imported where a function needs it, so that nothing else needs it.
"""

from __future__ import annotations

from bench.launch.dask.connecting import engine
from bench.launch.dask.running import run_on

__all__ = ["engine", "run_on"]
