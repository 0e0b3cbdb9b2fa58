"""What all tests share: the data root, a home of their own for caches, one thread, a seed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

DATA_ROOT = os.environ.get("BENCH_DATA")


def pytest_report_header() -> str:
    if DATA_ROOT:
        return f"data root: {DATA_ROOT}"
    return "data root: none; tests on real data are skipped (set BENCH_DATA to run them)"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data."""
    if not DATA_ROOT:
        pytest.skip("no real data: set BENCH_DATA to the folder that holds them")
    return Path(DATA_ROOT)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests share one array cache, and leave the user's alone."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["BENCH_CACHE"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has set in the environment does not reach a test."""
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.delenv("BENCH_RESULTS", raising=False)


@pytest.fixture(autouse=True)
def one_thread_and_seed() -> None:
    """Small tensors are slower with more threads; random numbers are the same in every order."""
    torch.set_num_threads(1)
    torch.manual_seed(20_260_101)
