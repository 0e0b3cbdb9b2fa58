"""`bench.api`: one flat face, quick to import for those that need no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bench.api

QUICK = "import sys; from bench.api import Column, Dataset, Look, Metric; print(*sys.modules)"


def test_every_name_is_there() -> None:
    for name in bench.api.__all__:
        assert getattr(bench.api, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        bench.api.nothing  # noqa: B018


def test_a_data_set_imports_neither_torch_nor_numpy() -> None:
    done = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, check=True)
    assert "bench.api.dataset" in done.stdout.split()
    assert not {"torch", "numpy", "bench.api.method"} & set(done.stdout.split())
