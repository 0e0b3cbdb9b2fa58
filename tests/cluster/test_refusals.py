"""What a cluster can't do is said before anything is sent, or in bounded time."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from bench.errors import UsageError
from bench.launch.dask import connect, run_on
from bench.launch.pool import ClusterLost
from bench.records.spec import Limits, RunSpec
from bench.study.planning import plan
from bench.study.studies import Study

from ..harness.small import table
from .processes import WAIT, Cluster, long_run, until

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("cluster")]


def refused(client: Client, spec: RunSpec, results: Path, **options: Any) -> str:
    """What is said when nothing is sent."""
    with pytest.raises(UsageError) as error:
        next(iter(run_on(client, [spec], results, **{"patience": 0.5, **options})))
    assert error.value.exit_code == 2
    assert not list(results.glob("*/record.json"))
    return str(error.value)


def test_workers_that_have_not_what_a_run_needs(
    two: Cluster, client: Client, specs: tuple[RunSpec, ...], folder: Path
) -> None:
    said = refused(client, specs[0], folder / "none", limits=Limits(threads=99))
    assert "needs 99 of the resource cores" in said
    assert "announce 1 at most" in said
    assert f'dask worker {two.address} --nthreads 1 --resources "cores=99"' in said
    said = refused(client, replace(specs[0], device="cuda"), folder / "none")
    assert "needs 1 of the resource GPU" in said
    assert "announce 0 at most" in said


def test_workers_with_other_sources_or_rows(
    two: Cluster, client: Client, specs: tuple[RunSpec, ...], folder: Path
) -> None:
    said = refused(client, replace(specs[0], version="0123456789ab"), folder / "none")
    assert "The worker tcp://127.0.0.1:" in said
    assert "its source of gaussian is version" in said
    assert "Install the same cnf-bench" in said
    said = refused(client, replace(specs[0], revision="0123456789ab"), folder / "none")
    assert "the study's 0123456789ab" in said


def test_a_worker_without_the_data(
    two: Cluster, client: Client, study: Study, folder: Path
) -> None:
    path = table(folder / "gone.npy", seed=3)
    spec = plan(replace(study, datasets=(str(path),)), folder / "none", folder / "data").runs[0]
    path.unlink()
    said = refused(client, spec, folder / "none")
    assert "The worker tcp://127.0.0.1:" in said
    assert "gone.npy" in said


def test_a_worker_with_another_version(
    two: Cluster, client: Client, specs: tuple[RunSpec, ...], folder: Path
) -> None:
    info = folder / "other" / "cnf_bench-9.9.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cnf-bench\nVersion: 9.9.0\n")
    others = os.environ.get("PYTHONPATH", "")
    worker = two.add(PYTHONPATH=f"{folder / 'other'}{os.pathsep}{others}")
    try:
        until(lambda: len(client.scheduler_info()["workers"]) == 3, WAIT)
        said = refused(client, specs[0], folder / "none")
    finally:
        worker.kill()
        worker.wait()
    assert "it has cnf-bench 9.9.0, and the study was planned by" in said


def test_results_that_can_not_be_written(
    two: Cluster, client: Client, specs: tuple[RunSpec, ...], folder: Path
) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    assert "can't be written" in refused(client, specs[0], folder / "file" / "runs")


@pytest.mark.slow
def test_no_worker_and_then_no_scheduler(
    specs: tuple[RunSpec, ...], folder: Path, tmp_path: Path
) -> None:
    """Before anything is sent, and in mid-run: an error in bounded time, never a wait for ever."""
    own = Cluster(tmp_path, failures=3)
    try:
        own.start()
        with connect(own.address) as client:
            said = refused(client, specs[0], folder / "none")
            assert f"No worker has joined the scheduler {own.address}" in said
            worker = own.add("--resources", "cores=2")
            events = run_on(
                client, [long_run(specs)], folder / "lost", Limits(threads=2), patience=30
            )
            assert next(events)[1] == {"event": "start"}
            worker.kill()
            with pytest.raises(ClusterLost, match="Finished runs are kept"):
                list(events)
    finally:
        own.stop()
