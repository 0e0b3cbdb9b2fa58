"""How cells are sent and come back, with workers in this process and runs that are only played."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from filelock import FileLock

from bench.data import arrays
from bench.errors import UsageError
from bench.launch.dask import run_on, running, task, workers
from bench.launch.dask.task import Parcel, pack, unpack
from bench.launch.process import Halt
from bench.launch.worker import Job
from bench.records import store
from bench.records.spec import RunSpec
from bench.registry import plugins

pytestmark = pytest.mark.timeout(200)

Make = Callable[..., str]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers that share this process, each for one run at a time."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            resources={"cores": 1},
            memory_limit=0,
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as made,
    ):
        yield made


@pytest.fixture
def specs(tmp_path: Path) -> list[RunSpec]:
    revision = arrays.load(plugins.dataset("moons"), tmp_path).revision
    version = plugins.version(plugins.methods()["gaussian"])
    first = RunSpec(
        "gaussian", version, {}, "moons", "moons", revision, 10, 32, 0, data_root=str(tmp_path)
    )
    return [replace(first, seed=seed) for seed in range(5)]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Make], None]:
    """Have the workers call this instead of `bench.launch.process.make`."""
    return lambda made: monkeypatch.setattr(task, "make", made)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that see no results folder: the token that they find there is another's."""
    proven = task.token_in

    @contextmanager
    def unproven(results: Path) -> Iterator[str]:
        with proven(results):
            yield "another"

    monkeypatch.setattr(task, "token_in", unproven)


def publish(spec: RunSpec, results: Path) -> str:
    folder = store.part(results, spec.run)
    folder.mkdir(parents=True)
    (folder / "model.pt").write_bytes(bytes(1_000))
    store.publish(results, spec.run, store.outline(spec) | {"status": "ok"})
    return "ok"


def good(job: Job, tell: Any, halt: Halt) -> str:
    for k in range(1, 11):
        tell({"event": "step", "minibatch": k, "total": 10, "loss": 1.0})
    tell({"event": "stage", "stage": "judging"})
    return publish(job.spec, job.results)


def ends(events: Any) -> dict[str, str]:
    return {s.run: e["status"] for s, e in events if e["event"] == "end"}


def test_nothing_heavy_is_imported_unless_asked_for() -> None:
    code = (
        "import sys, bench.cli.run, bench.launch.dask; "
        "print({'dask', 'distributed', 'dask_jobqueue', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_two_at_once_and_few_steps_are_told(
    client: Client, specs: list[RunSpec], tmp_path: Path, play: Any
) -> None:
    """As many cells are out as there are places; a step a second at most, and every stage."""
    meet = threading.Barrier(2)

    def together(job: Job, tell: Any, halt: Halt) -> str:
        """The first two end only when both have begun."""
        if job.spec.seed < 2:
            meet.wait(30)
        return good(job, tell, halt)

    play(together)
    under_way, most, told = set(), 0, []
    for spec, event in run_on(client, specs, tmp_path / "runs"):
        told.append((spec.run, event["event"]))
        if event["event"] == "start":
            under_way.add(spec.run)
            most = max(most, len(under_way))
        if event["event"] == "end":
            under_way.remove(spec.run)
    assert most == 2
    assert told[0] in [(spec.run, "start") for spec in specs[:2]]
    for spec in specs:
        assert [kind for run, kind in told if run == spec.run] == ["start", "step", "stage", "end"]
    assert len(list(store.read_all(tmp_path / "runs"))) == 5


def test_an_exception_on_a_worker_is_a_record(
    client: Client, specs: list[RunSpec], tmp_path: Path, play: Any
) -> None:
    def full(job: Job, *given: Any) -> str:
        if job.spec.seed == 1:
            raise OSError(28, "No space left on device")
        return publish(job.spec, job.results)

    play(full)
    events = list(run_on(client, specs[:3], tmp_path / "runs"))
    assert ends(events) == {s.run: "error" if s.seed == 1 else "ok" for s in specs[:3]}
    made = store.read(tmp_path / "runs", specs[1].run)
    assert made is not None
    assert made.reason == "OSError: [Errno 28] No space left on device"


def test_a_cell_that_a_closing_worker_gives_up_is_made_again(
    client: Client, specs: list[RunSpec], tmp_path: Path, play: Any
) -> None:
    times = iter(["interrupted", "interrupted"])
    play(lambda job, *rest: next(times, None) or publish(job.spec, job.results))
    events = list(run_on(client, specs[:1], tmp_path / "runs"))
    assert ends(events) == {specs[0].run: "ok"}
    assert [e["event"] for _, e in events] == ["start", "stage", "stage", "end"]


def test_but_not_for_ever(client: Client, specs: list[RunSpec], tmp_path: Path, play: Any) -> None:
    play(lambda *given: "interrupted")
    assert ends(run_on(client, specs[:1], tmp_path / "runs")) == {specs[0].run: "error"}
    made = store.read(tmp_path / "runs", specs[0].run)
    assert made is not None
    assert f"each of the {running.DEATHS} times" in made.reason


def test_a_lock_that_outlives_its_worker_is_waited_for(
    client: Client, specs: list[RunSpec], tmp_path: Path, play: Any, monkeypatch: Any
) -> None:
    """By the worker for a while, then by the study, which sends the run again."""
    times = iter(["busy", "busy"])
    play(lambda job, *rest: next(times, None) or publish(job.spec, job.results))
    monkeypatch.setattr(task, "LOOK", 0.05)
    assert ends(run_on(client, specs[:1], tmp_path / "runs")) == {specs[0].run: "ok"}
    times = iter(["busy", "busy"])
    monkeypatch.setattr(task, "ORPHAN", 0.0)
    events = list(run_on(client, specs[1:2], tmp_path / "runs"))
    assert ends(events) == {specs[1].run: "ok"}
    assert [event["event"] for _, event in events] == ["start", "start", "start", "end"]


def test_a_run_that_another_study_makes_here_is_left_to_it(
    client: Client, specs: list[RunSpec], tmp_path: Path, play: Any, apart: None
) -> None:
    """It is not begun; when the other one has made it, its end is reported."""
    play(lambda job, *rest: publish(job.spec, job.results))
    (tmp_path / "runs" / ".locks").mkdir(parents=True)
    lock = FileLock(store.lock_file(tmp_path / "runs", specs[0].run), thread_local=False)
    lock.acquire()
    events = []
    for spec, event in run_on(client, specs[:2], tmp_path / "runs"):
        events.append((spec, event))
        if spec == specs[1] and event["event"] == "end":
            publish(specs[0], tmp_path / "runs")
            lock.release()
    assert [e for s, e in events if s == specs[0]] == [
        {"event": "end", "status": "ok", "elsewhere": True}
    ]
    assert [e["event"] for s, e in events if s == specs[1]] == ["start", "end"]


def test_a_run_that_another_study_begins_first_is_given_up(
    client: Client, specs: list[RunSpec], tmp_path: Path, play: Any, apart: None, monkeypatch: Any
) -> None:
    """Workers that see no folder see no lock either; it is taken here when they begin."""
    stopped = threading.Event()
    others = iter([True])

    def slow(job: Job, tell: Any, halt: Halt) -> str:
        if not stopped.is_set():
            halt.stop.wait(100)
            stopped.set()
            return "interrupted"
        return publish(job.spec, job.results)

    play(slow)
    acquired = running._acquired
    monkeypatch.setattr(
        running, "_acquired", lambda lock, wait=0: not next(others, False) and acquired(lock, wait)
    )
    events = [event for _, event in run_on(client, specs[:1], tmp_path / "runs")]
    assert stopped.is_set()
    assert [event["event"] for event in events] == ["start", "start", "end"]
    assert events[-1]["status"] == "ok"


def test_what_is_too_large_stays_behind_and_the_record_says_so(
    client: Client, specs: list[RunSpec], tmp_path: Path, play: Any, apart: None, monkeypatch: Any
) -> None:
    play(good)
    monkeypatch.setattr(task, "LIMIT", 900)
    with pytest.warns(UserWarning, match=r"model\.pt of gaussian.* stayed on the worker.* 1,000"):
        assert ends(run_on(client, specs[:1], tmp_path / "runs")) == {specs[0].run: "ok"}
    made = store.read(tmp_path / "runs", specs[0].run)
    assert made is not None
    assert made.left_behind == {"model.pt": 1_000}


def test_a_worker_that_joins_late_and_is_unfit_gets_no_runs(
    client: Client, specs: list[RunSpec], tmp_path: Path, play: Any, monkeypatch: Any
) -> None:
    """The first look finds nothing; the worker's own, before each run, does."""
    from distributed import get_worker

    play(good)
    (bad, _) = sorted(client.scheduler_info()["workers"])
    fit = workers.unfit

    def unfit(*given: Any) -> workers.Unfit | None:
        try:
            here = get_worker().address
        except ValueError:
            return fit(*given)
        return ("its disk is upside down", "Turn it.") if here == bad else None

    monkeypatch.setattr(workers, "unfit", unfit)
    monkeypatch.setattr(workers, "examine", lambda *given: None)
    with pytest.warns(UserWarning, match=r"gets no runs: its disk is upside down\. Turn it"):
        events = list(run_on(client, specs, tmp_path / "runs"))
    assert ends(events) == {s.run: "ok" for s in specs}


def test_where_no_worker_is_fit_any_more_it_ends(
    client: Client, specs: list[RunSpec], tmp_path: Path, play: Any, monkeypatch: Any
) -> None:
    play(good)
    monkeypatch.setattr(workers, "unfit", lambda *given: ("it is tired", "Let it rest."))
    monkeypatch.setattr(workers, "examine", lambda *given: None)
    with (
        pytest.warns(UserWarning, match="it is tired"),
        pytest.raises(Exception, match="it is tired") as error,
    ):
        list(run_on(client, specs, tmp_path / "runs", patience=0.5))
    assert getattr(error.value, "exit_code", None) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "0123456789ab"}, "its source of gaussian is version"),
        ({"revision": "0123456789ab"}, "the study's 0123456789ab"),
        ({"dataset": "/nowhere/at/all.npy"}, "no file /nowhere/at/all.npy"),
    ],
)
def test_what_workers_have_not(
    client: Client, specs: list[RunSpec], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as error:
        next(iter(run_on(client, [replace(specs[0], **changes)], tmp_path / "runs")))
    (first, _) = sorted(client.scheduler_info()["workers"])
    assert f"The worker {first} (and 1 others) can't make these runs" in str(error.value)


def test_pack_and_unpack(tmp_path: Path) -> None:
    """What is packed comes out the same; the record always travels, then what is smallest."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "record.json").write_text(json.dumps({"run": "run", "status": "ok"}))
    for name, size in (("model.pt", 500), ("curve.jsonl", 10), ("samples.npz", 100)):
        (folder / name).write_bytes(bytes(size))
    whole = pack(folder, 10_000)
    assert whole.files.keys() == {"record.json", "model.pt", "curve.jsonl", "samples.npz"}
    assert not whole.left_behind
    unpack(whole, tmp_path / "home", "run")
    for name, content in whole.files.items():
        found = (tmp_path / "home" / "run" / name).read_bytes()
        assert found == content if name != "record.json" else json.loads(found)["status"] == "ok"
    some = pack(folder, 200)
    assert some.left_behind == {"model.pt": 500}
    assert pack(folder, 0) == Parcel(
        {"record.json": whole.files["record.json"]},
        {"curve.jsonl": 10, "samples.npz": 100, "model.pt": 500},
    )
