"""One scheduler and its workers for all tests of this folder, and a study made without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client

from bench.launch.dask import connect
from bench.launch.pool import run_all
from bench.records.spec import Limits, RunSpec
from bench.study.planning import plan
from bench.study.studies import Study

from ..harness.small import two_methods
from .processes import Cluster


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="session")
def cluster(folder: Path) -> Iterator[Cluster]:
    """A scheduler that itself gives a task up with the first worker that dies of it."""
    made = Cluster(folder, failures=0)
    try:
        made.start()
        for _ in range(2):
            made.add()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def client(cluster: Cluster) -> Iterator[Client]:
    with connect(cluster.address) as made:
        yield made


@pytest.fixture
def two(cluster: Cluster, client: Client) -> Cluster:
    cluster.ensure(client, 2)
    return cluster


@pytest.fixture(scope="session")
def study(folder: Path) -> Study:
    return two_methods(folder)


@pytest.fixture(scope="session")
def specs(study: Study, folder: Path) -> tuple[RunSpec, ...]:
    return plan(study, folder / "local", folder / "data").runs


@pytest.fixture(scope="session")
def middling(specs: tuple[RunSpec, ...]) -> RunSpec:
    """A run that takes some seconds: time enough to kill its worker."""
    return replace(specs[1], minibatches=1_500)


@pytest.fixture(scope="session")
def local(specs: tuple[RunSpec, ...], middling: RunSpec, folder: Path) -> Path:
    """The study, made without Dask."""
    list(run_all([*specs, middling], folder / "local", jobs=1, limits=Limits()))
    return folder / "local"
