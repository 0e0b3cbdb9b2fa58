"""What can go wrong with a cluster when runs have been sent."""

from __future__ import annotations

from bench.errors import BenchError


class ClusterLost(BenchError):
    """The study can't go on; finished runs are kept."""

    exit_code = 1
