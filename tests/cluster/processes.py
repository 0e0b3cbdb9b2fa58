"""A Dask scheduler and its workers, processes of their own on loopback; what their tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from distributed import Client

from bench.records import store
from bench.records.spec import RunSpec

from ..harness.small import children

#: Seconds that a process may take to start or to end; a busy machine takes long.
WAIT = 120.0

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
        return [(w, child) for w in self.workers for child in children(w.pid)]

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


def until(condition: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


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
        records = [store.content(f, spec.run) for f in (one, other)]
        for part in ("status", "key", "method", "dataset", "budget", "training", "metrics"):
            assert records[0][part] == records[1][part]
        states = [
            torch.load(f / spec.run / "model.pt", weights_only=True)["state"] for f in (one, other)
        ]
        assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
        names = [sorted(p.name for p in (f / spec.run).iterdir()) for f in (one, other)]
        assert names[0] == names[1]


def left_over(results: Path) -> list[str]:
    return [p.name for p in results.rglob("*") if p.suffix in (".part", ".replaced", ".token")]
