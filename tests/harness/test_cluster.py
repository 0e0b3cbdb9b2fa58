"""A study on a Dask cluster: a scheduler and two workers, processes of their own on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from click.testing import CliRunner
from distributed import Client
from filelock import FileLock

from bench import record
from bench.child import Limits
from bench.cli import main
from bench.cluster import connecting, homecoming, run_on, running
from bench.cluster.errors import ClusterLost
from bench.errors import UsageError
from bench.grid import run_all
from bench.planning import plan
from bench.spec import Judge, RunSpec
from bench.study import Study
from bench.worker import lock_file

pytestmark = pytest.mark.timeout(600)

JUDGE = Judge(
    test_rows=40,
    error_rows=10,
    integral_cells=16,
    mmd_n=30,
    permutations=99,
    validations=2,
    validation_rows=20,
    validation_tol=1e-2,
)

#: Seconds that a process may take to start or to end; a busy machine takes long.
WAIT = 120.0

TINY = ("-m", "gaussian", "--minibatches", "5", "--batch-size", "32")

Events = list[tuple[RunSpec, dict[str, Any]]]


@dataclass
class Cluster:
    """A scheduler and workers without nannies, each making one run at a time."""

    folder: Path
    failures: int
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        file = self.folder / "scheduler.json"
        self.scheduler = self._process(
            "scheduler",
            *("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file),
            DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=str(self.failures),
        )
        until(file.is_file, WAIT)
        self.address = json.loads(file.read_text(encoding="utf-8"))["address"]

    def add(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        options = options or ("--resources", "cores=1")
        worker = self._process(
            "worker",
            *(self.address, "--no-nanny", "--nthreads", "1", "--memory-limit", "0"),
            *("--no-dashboard", "--local-directory", self.folder, *options),
            **environment,
        )
        self.workers.append(worker)
        return worker

    def ensure(self, client: Client, count: int) -> None:
        """Have that many workers, and no dead ones."""
        self.workers = [w for w in self.workers if w.poll() is None]
        while len(self.workers) < count:
            self.add()
        until(lambda: len(client.scheduler_info()["workers"]) == count, WAIT)

    def children(self) -> list[tuple[subprocess.Popen[bytes], psutil.Process]]:
        """The runs under way: the worker and its child."""
        found = []
        for worker in self.workers:
            try:
                below = psutil.Process(worker.pid).children()
                found += [(worker, c) for c in below if "bench.worker" in c.cmdline()]
            except psutil.Error:
                continue
        return found

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            if process is not None:
                process.kill()
                process.wait()

    def _process(self, what: str, *arguments: Any, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", f"distributed.cli.dask_{what}"]
        with open(self.folder / "log.txt", "ab") as log:
            return subprocess.Popen(
                [*command, *map(str, arguments)],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )


#: An address that nobody listens at.
NOBODY = "tcp://127.0.0.1:9"


def until(condition: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Client]:
    with connecting.connect(cluster.address) as made:
        yield made


@pytest.fixture
def two(cluster: Cluster, client: Client) -> Cluster:
    cluster.ensure(client, 2)
    return cluster


def table(path: Path, seed: int = 1) -> Path:
    rows = np.random.default_rng(seed).multivariate_normal([1, -1], [[1, 0.8], [0.8, 1]], 400)
    np.save(path, rows.astype(np.float32))
    return path


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return Study(
        methods=("gaussian", "flow-matching"),
        datasets=(str(table(folder / "own.npy")),),
        judge=JUDGE,
        minibatches=6,
        batch_size=32,
        settings=("width=8",),
    )


@pytest.fixture(scope="module")
def specs(study: Study, folder: Path) -> tuple[RunSpec, ...]:
    return plan(study, folder / "local", folder / "data").runs


@pytest.fixture(scope="module")
def middling(specs: tuple[RunSpec, ...]) -> RunSpec:
    """A run that takes some seconds: time enough to kill its worker."""
    return replace(specs[1], minibatches=1_500)


@pytest.fixture(scope="module")
def local(specs: tuple[RunSpec, ...], middling: RunSpec, folder: Path) -> Path:
    """The study, made without Dask."""
    list(run_all([*specs, middling], folder / "local", jobs=1, limits=Limits()))
    return folder / "local"


def long_run(specs: tuple[RunSpec, ...]) -> RunSpec:
    """A run that takes minutes."""
    return replace(specs[0], minibatches=10**7)


def ends(events: Events) -> dict[str, str]:
    found = [(s.run, e["status"]) for s, e in events if e["event"] == "end"]
    assert len(dict(found)) == len(found), "a run ended twice"
    return dict(found)


def same(one: Path, other: Path, specs: tuple[RunSpec, ...]) -> None:
    """The same results, to the bit, whoever made them."""
    for spec in specs:
        records = [record.read(f, spec.run) for f in (one, other)]
        assert None not in records
        for part in ("status", "key", "method", "dataset", "budget", "training", "metrics"):
            assert records[0][part] == records[1][part]  # type: ignore[index]
        states = [
            torch.load(f / spec.run / "model.pt", weights_only=True)["state"] for f in (one, other)
        ]
        assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
        names = [sorted(p.name for p in (f / spec.run).iterdir()) for f in (one, other)]
        assert names[0] == names[1]


def left_over(results: Path) -> list[str]:
    return [p.name for p in results.rglob("*") if p.suffix in (".part", ".replaced", ".token")]


@pytest.fixture(scope="module")
def made(
    cluster: Cluster, client: Client, specs: tuple[RunSpec, ...], folder: Path
) -> tuple[Path, Events]:
    """The study, made by workers that see the results folder."""
    cluster.ensure(client, 2)
    return folder / "shared", list(run_on(client, specs, folder / "shared"))


def test_the_same_records_and_events(
    made: tuple[Path, Events], specs: tuple[RunSpec, ...], local: Path
) -> None:
    """A start first, an end last with the status; the validated steps all."""
    results, events = made
    assert ends(events) == {s.run: "ok" for s in specs}
    for spec in specs:
        own = [e for s, e in events if s == spec]
        assert own[0] == {"event": "start"}
        assert own[-1] == {"event": "end", "status": "ok"}
        assert [e["minibatch"] for e in own if "validation_nll" in e] == [3, 6]
        assert "stage" in {e["event"] for e in own}
    same(local, results, specs)
    assert not left_over(results)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that see no results folder: the token that they find there is another's."""
    proven = homecoming.home

    def unproven(results: Path) -> Any:
        made = proven(results)
        enter = made.__enter__
        made.__enter__ = lambda: replace(enter(), secret="another")  # type: ignore[method-assign]
        return made

    class Unproven:
        def __init__(self, results: Path) -> None:
            self.made = proven(results)

        def __enter__(self) -> homecoming.Home:
            return replace(self.made.__enter__(), secret="another")

        def __exit__(self, *error: Any) -> Any:
            return self.made.__exit__(*error)

    monkeypatch.setattr(homecoming, "home", Unproven)


def test_records_come_home(
    two: Cluster,
    client: Client,
    specs: tuple[RunSpec, ...],
    local: Path,
    folder: Path,
    apart: None,
) -> None:
    """Without a shared folder: the same files; the lock is held here meanwhile, and given back."""
    held = []
    events = []
    for spec, event in run_on(client, specs, folder / "home"):
        events.append((spec, event))
        if event["event"] == "step":
            held.append(FileLock(lock_file(folder / "home", spec.run), timeout=0))
            with pytest.raises(TimeoutError):
                held[-1].acquire()
    assert held
    assert ends(events) == {s.run: "ok" for s in specs}
    same(local, folder / "home", specs)
    assert not left_over(folder / "home")
    assert not list(folder.rglob("bench-*/*.part"))
    for lock in held:
        lock.acquire()
        lock.release()


def test_a_worker_that_dies_gives_its_cell_back(
    two: Cluster,
    client: Client,
    specs: tuple[RunSpec, ...],
    middling: RunSpec,
    local: Path,
    folder: Path,
) -> None:
    """SIGKILL in mid-run: its child ends by itself, every cell ends well, with the same bits."""
    orphan = None
    events: Events = []
    for spec, event in run_on(client, [middling, specs[0]], folder / "killed"):
        events.append((spec, event))
        if orphan is None and spec == middling and event["event"] == "step":
            worker, orphan = next((w, c) for w, c in two.children() if runs(c, middling))
            worker.kill()
    assert orphan is not None
    until(lambda: not orphan.is_running(), WAIT)
    assert ends(events) == {middling.run: "ok", specs[0].run: "ok"}
    own = [e for s, e in events if s == middling]
    assert "begun again: its worker was lost" in {e.get("stage") for e in own}
    assert [e["event"] for e in own].count("start") == 1
    same(local, folder / "killed", (middling, specs[0]))
    assert not left_over(folder / "killed")


def runs(child: psutil.Process, spec: RunSpec) -> bool:
    """Whether the child makes that run: it holds the run's lock open."""
    return any(Path(f.path).stem == spec.run for f in child.open_files())


def test_a_cell_that_kills_its_workers_ends_as_an_error(
    two: Cluster,
    client: Client,
    specs: tuple[RunSpec, ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "DEATHS", 1)
    events: Events = []
    for spec, event in run_on(client, [long_run(specs)], folder / "poison"):
        events.append((spec, event))
        if event["event"] == "step" and len(two.children()) == 1:
            two.children()[0][0].kill()
    assert ends(events) == {long_run(specs).run: "error"}
    made = record.read(folder / "poison", long_run(specs).run)
    assert made is not None
    assert "its worker died or closed each of the 1 times" in made["reason"]
    assert not left_over(folder / "poison")
    until(lambda: not two.children(), WAIT)


def test_a_consumer_that_stops_ends_the_cells_on_the_workers(
    two: Cluster, client: Client, specs: tuple[RunSpec, ...], folder: Path
) -> None:
    """As Ctrl-C does: no child, no record, nothing that looks finished."""
    events = run_on(client, [long_run(specs)], folder / "stopped")
    for _, event in events:
        if event["event"] == "step":
            break
    assert len(two.children()) == 1
    events.close()  # type: ignore[attr-defined]
    until(lambda: not two.children(), WAIT)
    assert list(record.read_all(folder / "stopped")) == []
    assert not [p for p in left_over(folder / "stopped") if p.endswith(".token")]


def test_a_run_that_is_made_already_is_not_made_again(
    made: tuple[Path, Events],
    client: Client,
    specs: tuple[RunSpec, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a worker that died before it could say so: the record is there since the cell was sent."""
    results, _ = made
    before = record.read(results, specs[0].run)
    monkeypatch.setattr(running._Cells, "_record", lambda self, spec: None)
    events = [e for _, e in run_on(client, specs[:1], results)]
    assert events == [{"event": "start"}, {"event": "end", "status": "ok"}]
    assert record.read(results, specs[0].run) == before


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
    said = refused(client, specs[0], folder / "none", limits=Limits(99))
    assert "needs 99 of the resource cores" in said
    assert "the most that one announces is 1" in said
    assert f'dask worker {two.address} --nthreads 1 --resources "cores=99"' in said
    said = refused(client, replace(specs[0], device="cuda"), folder / "none")
    assert "needs 1 of the resource GPU" in said
    assert "none announces any" in said


def test_workers_with_other_sources_or_rows(
    two: Cluster, client: Client, specs: tuple[RunSpec, ...], folder: Path
) -> None:
    said = refused(client, replace(specs[0], version="0123456789ab"), folder / "none")
    assert "The worker tcp://127.0.0.1:" in said
    assert "its source of gaussian is version" in said
    assert "Install the same cnf-bench" in said
    said = refused(client, replace(specs[0], revision="0123456789ab"), folder / "none")
    assert "and the study's are 0123456789ab" in said


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


def test_no_scheduler(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Exit code 2, one line that names the address and the remedy, in about ten seconds."""
    monkeypatch.setattr(connecting, "CONNECT", 1.0)
    began = time.monotonic()
    done = CliRunner().invoke(
        main,
        ["run", *TINY, "-d", "moons", "--results", str(folder / "none"), "--scheduler", NOBODY],
    )
    assert done.exit_code == 2, done.output
    assert "No Dask scheduler answers at tcp://127.0.0.1:9 (tried for 1 s)" in done.output
    assert "dask scheduler" in done.output
    assert time.monotonic() - began < 15


def test_what_can_not_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    both = CliRunner().invoke(main, ["run", "--scheduler", "tcp://x:1", "--cluster", "local"])
    assert both.exit_code == 2
    auto = CliRunner().invoke(main, ["run", "--scheduler", "tcp://x:1", "--device", "auto"])
    assert auto.exit_code == 2
    assert "--device" in auto.output
    monkeypatch.setattr(connecting, "find_spec", lambda name: None)
    with (
        pytest.raises(UsageError, match=r"pip install 'cnf-bench\[cluster\]'"),
        connecting.engine("tcp://x:1", None, 1, None, "cpu", Limits()),
    ):
        pass


def test_the_command(two: Cluster, folder: Path) -> None:
    results, own = str(folder / "command"), str(table(folder / "command.npy"))
    done = CliRunner().invoke(
        main,
        ["run", *TINY, "-d", own, "--results", results, "--scheduler", two.address],
    )
    assert done.exit_code == 0, done.output
    assert "gaussian" in done.output
    assert [r["status"] for r in record.read_all(folder / "command")] == ["ok"]


def test_no_worker_and_then_no_scheduler(
    specs: tuple[RunSpec, ...], folder: Path, tmp_path: Path
) -> None:
    """Before anything is sent, and in mid-run: an error in bounded time, never a wait for ever."""
    own = Cluster(tmp_path, failures=3)
    try:
        own.start()
        with connecting.connect(own.address) as client:
            said = refused(client, specs[0], folder / "none")
            assert f"No worker has joined the scheduler {own.address}" in said
            worker = own.add("--resources", "cores=2")
            events = run_on(client, [long_run(specs)], folder / "lost", Limits(2), patience=30)
            assert next(events)[1] == {"event": "start"}
            worker.kill()
            with pytest.raises(ClusterLost, match="Finished runs are kept"):
                for _ in run_on_patience(events):
                    pass
    finally:
        own.stop()


def run_on_patience(events: Iterator[Any]) -> Iterator[Any]:
    return events


BENCH = str(Path(sys.executable).with_name("bench"))


def below(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The runs somewhere below a process."""
    try:
        found = psutil.Process(process.pid).children(recursive=True)
        return [p for p in found if "bench.worker" in p.cmdline()]
    except psutil.Error:
        return []


@pytest.mark.slow
def test_three_deaths_do_not_end_a_cell(
    specs: tuple[RunSpec, ...], middling: RunSpec, local: Path, tmp_path: Path
) -> None:
    """With a scheduler as it comes, and a nanny that starts its worker again each time."""
    own = Cluster(tmp_path, failures=3)
    try:
        own.start()
        nanny = own._process(
            "worker",
            *(own.address, "--nworkers", "1", "--nthreads", "1", "--memory-limit", "0"),
            *("--no-dashboard", "--local-directory", tmp_path),
        )
        own.workers.append(nanny)
        killed: set[int] = set()
        with connecting.connect(own.address) as client:
            events: Events = []
            for spec, event in run_on(client, [middling], tmp_path / "runs", patience=WAIT):
                events.append((spec, event))
                found = below(nanny)
                if len(killed) < 3 and event["event"] == "step" and found:
                    worker = found[0].parent()
                    if worker is not None and worker.pid not in killed:
                        killed.add(worker.pid)
                        worker.kill()
        assert len(killed) == 3
        assert ends(events) == {middling.run: "ok"}
        assert [e.get("stage") for _, e in events].count("begun again: its worker was lost") == 3
        same(local, tmp_path / "runs", (middling,))
    finally:
        own.stop()


LONG = ("-m", "gaussian", "-d", "moons", "--minibatches", "10000000", "--batch-size", "32")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_ends_takes_its_cells_with_it(
    two: Cluster, folder: Path, how: signal.Signals
) -> None:
    """Ctrl-C, and no word at all: the children on the workers end."""
    results = folder / f"ended-{how.name}"
    command = [BENCH, "run", *LONG, "--results", str(results), "--scheduler", two.address]
    bench = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(two.children, WAIT)
        bench.send_signal(how)
        assert bench.wait(WAIT) == (130 if how == signal.SIGINT else -how)
        until(lambda: not two.children(), WAIT)
    finally:
        bench.kill()
    assert list(record.read_all(results)) == []
    assert all(worker.poll() is None for worker in two.workers)


@pytest.mark.slow
def test_a_cluster_on_this_machine(tmp_path: Path) -> None:
    command = [
        BENCH, "run", *TINY, "-d", str(table(tmp_path / "own.npy")), "-s", "0", "-s", "1",
        "-j", "2", "--cluster", "local", "--results", str(tmp_path / "runs"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert [r["status"] for r in record.read_all(tmp_path / "runs")] == ["ok", "ok"]


@pytest.mark.slow
def test_slurm(tmp_path: Path) -> None:
    """With an `sbatch` that runs the job's script here, and a `scancel` that ends it."""
    jobs, programs = tmp_path / "jobs", tmp_path / "bin"
    jobs.mkdir()
    programs.mkdir()
    (programs / "sbatch").write_text(
        f"""#!/bin/sh
cp "$1" "{jobs}/$$.sh"
setsid sh "{jobs}/$$.sh" >"{jobs}/$$.log" 2>&1 &
echo "Submitted batch job $!"
"""
    )
    (programs / "scancel").write_text(
        f"""#!/bin/sh
echo "$1" >>"{jobs}/cancelled"
kill -- -"$1"
"""
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    command = [
        BENCH, "run", *TINY, "-d", str(table(tmp_path / "own.npy")), "-s", "0", "-s", "1",
        "-j", "2", "--cluster", "slurm", "--results", str(tmp_path / "runs"),
    ]  # fmt: skip
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "jobqueue.slurm.memory" in refused.stderr
    environment |= {
        "DASK_JOBQUEUE__SLURM__MEMORY": "2GB",
        "DASK_JOBQUEUE__SLURM__INTERFACE": "lo",
        "DASK_JOBQUEUE__SLURM__JOB_EXTRA_DIRECTIVES": "['--gres=gpu:0']",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    assert [r["status"] for r in record.read_all(tmp_path / "runs")] == ["ok", "ok"]
    scripts = [path.read_text() for path in jobs.glob("*.sh")]
    assert len(scripts) == 2
    assert all("--resources cores=1" in script for script in scripts)
    assert all("#SBATCH --gres=gpu:0" in script for script in scripts)
    assert len((jobs / "cancelled").read_text().split()) == 2
