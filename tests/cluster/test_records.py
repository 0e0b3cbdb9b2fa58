"""Cells on Dask workers, some of which are lost: the records are those of a run without Dask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from distributed import Client
from filelock import FileLock

from bench.launch import pool
from bench.launch.dask import connect, run_on, running, task
from bench.records import store
from bench.records.spec import RunSpec

from ..harness.small import children
from .processes import WAIT, Cluster, Events, ends, left_over, long_run, same, until

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("cluster")]


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
    proven = task.token_in

    @contextmanager
    def unproven(results: Path) -> Iterator[str]:
        with proven(results):
            yield "another"

    monkeypatch.setattr(task, "token_in", unproven)


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
            held.append(FileLock(store.lock_file(folder / "home", spec.run), timeout=0))
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
    assert "started again: its worker was lost" in {e.get("stage") for e in own}
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
    made = store.read(folder / "poison", long_run(specs).run)
    assert made is not None
    assert "its worker died or closed each of the 1 times" in made.reason
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
    assert list(store.read_all(folder / "stopped")) == []
    assert not [p for p in left_over(folder / "stopped") if p.endswith(".token")]


def test_a_run_that_is_made_already_is_not_made_again(
    made: tuple[Path, Events],
    client: Client,
    specs: tuple[RunSpec, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a worker that died before it could say so: the record is there since the cell was sent."""
    results, _ = made
    before = store.read(results, specs[0].run)

    # The driver sees no record; the workers do.
    unread = SimpleNamespace(**vars(store) | {"read": lambda results, run: None})
    monkeypatch.setattr(pool, "store", unread)
    events = [e for _, e in run_on(client, specs[:1], results)]
    assert events == [{"event": "start"}, {"event": "end", "status": "ok", "elsewhere": True}]
    assert store.read(results, specs[0].run) == before


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
        with connect(own.address) as client:
            events: Events = []
            for spec, event in run_on(client, [middling], tmp_path / "runs", patience=WAIT):
                events.append((spec, event))
                found = children(nanny.pid)
                if len(killed) < 3 and event["event"] == "step" and found:
                    guard = found[0].parent()
                    worker = guard.parent() if guard else None
                    if worker is not None and worker.pid not in killed:
                        killed.add(worker.pid)
                        worker.kill()
        assert len(killed) == 3
        assert ends(events) == {middling.run: "ok"}
        assert [e.get("stage") for _, e in events].count("started again: its worker was lost") == 3
        same(local, tmp_path / "runs", (middling,))
    finally:
        own.stop()
