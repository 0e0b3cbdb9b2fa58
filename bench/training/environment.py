"""On what a run ran: versions, processor, device, threads, commit, and the memory it took."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.paths import commit

PACKAGES = ("cnf-bench", "torch", "torchdiffeq", "numpy", "scipy", "scikit-learn", "pandas")


def describe(device: str, packages: Iterable[str] = ()) -> dict[str, Any]:
    """What a record says of the machine and the software, and of `packages` beside its own."""
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in (*PACKAGES, *packages)},
        "commit": commit(),
    }


def peak_rss_bytes() -> int:
    """The peak resident memory of this process so far.

    On Linux by VmHWM, that of the program that runs: `ru_maxrss` starts at what the parent had
    when it started this process.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
