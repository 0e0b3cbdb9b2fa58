"""Checkpoints: whole, checked, the last two kept, and good to go on from."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.records.spec import RunSpec
from bench.study.planning import plan
from bench.study.studies import Study
from bench.training import session
from bench.training.run import execute
from bench.training.session import (
    CHECKPOINT_NAMES,
    Corrupt,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)

from . import small

KEY = "k" * 64
JUDGE = replace(small.JUDGE, validations=3)


@pytest.fixture(autouse=True)
def deterministic_only_here() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def state(step: int) -> dict[str, Any]:
    return {"key": KEY, "step": step, "tensor": torch.full((1_000,), float(step))}


def step(found: dict[str, Any] | None) -> int | None:
    return found and found["step"]


def test_the_last_one_is_read(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path, KEY) == (None, [])
    for k in (1, 2, 3):
        write_checkpoint(tmp_path, state(k))
    found, notes = newest_checkpoint(tmp_path, KEY)
    assert (step(found), notes) == (3, [])
    assert found is not None
    assert torch.equal(found["tensor"], torch.full((1_000,), 3.0))
    assert step(read_checkpoint(tmp_path / CHECKPOINT_NAMES[1])) == 2
    assert {path.name for path in tmp_path.iterdir()} == set(CHECKPOINT_NAMES)


@pytest.mark.parametrize("damage", ["cut off", "a flipped bit", "empty", "something else"])
def test_a_corrupt_one_is_set_aside_and_the_one_before_is_read(tmp_path: Path, damage: str) -> None:
    write_checkpoint(tmp_path, state(1))
    write_checkpoint(tmp_path, state(2))
    path = tmp_path / CHECKPOINT_NAMES[0]
    raw = bytearray(path.read_bytes())
    if damage == "cut off":
        raw = raw[: len(raw) // 2]
    elif damage == "a flipped bit":
        raw[raw.find(b"\x00\x00\x00\x40" * 10) + 40] ^= (
            1  # in a tensor's content: 2.0 is 0x40000000
        )
    elif damage == "empty":
        raw = bytearray()
    else:
        raw = bytearray(b"PK not a checkpoint")
    path.write_bytes(raw)
    with pytest.raises(Corrupt, match="checksum"):
        read_checkpoint(path)
    found, notes = newest_checkpoint(tmp_path, KEY)
    assert step(found) == 1
    assert len(notes) == 1
    assert "checkpoint.bin" in notes[0]
    assert (tmp_path / "checkpoint.bin.aside").is_file()


def test_two_corrupt_ones(tmp_path: Path) -> None:
    for k in (1, 2):
        write_checkpoint(tmp_path, state(k))
    for name in CHECKPOINT_NAMES:
        (tmp_path / name).write_bytes(b"")
    found, notes = newest_checkpoint(tmp_path, KEY)
    assert found is None
    assert len(notes) == 2


@pytest.mark.parametrize("change", [{"key": "another"}, {"format": 99}])
def test_another_runs_is_not_taken(tmp_path: Path, change: dict[str, Any]) -> None:
    write_checkpoint(tmp_path, state(1) | change)
    found, notes = newest_checkpoint(tmp_path, KEY)
    assert found is None
    assert "another run" in notes[0]


def test_it_loads_weights_only(tmp_path: Path) -> None:
    """An object that would run code when it is loaded is refused."""

    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("run",))

    write_checkpoint(tmp_path, state(1) | {"evil": Evil()})
    with pytest.raises(Corrupt, match=r"[Ww]eights"):
        read_checkpoint(tmp_path / CHECKPOINT_NAMES[0])


def test_a_full_disk_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, state(1))

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path, state(2))
    assert step(newest_checkpoint(tmp_path, KEY)[0]) == 1
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_NAMES[0]]


def planned(method: str, folder: Path, *settings: str) -> RunSpec:
    rows = np.random.default_rng(1).normal(size=(400, 2)).astype(np.float32)
    np.save(folder / "own.npy", rows)
    study = Study(
        (method,), (str(folder / "own.npy"),), (0,), "quick", JUDGE, 12, 32, tuple(settings)
    )
    return plan(study, folder / "runs", folder).runs[0]


SMALL = {
    "gaussian": (),
    "flow-matching": ("width=8",),
    "rectified-flow": ("width=8", "pairs=64"),
    "ffjord": ("width=8",),
    "ot-flow": ("width=8",),
    "jko": ("width=8", "blocks=3"),
}


@pytest.mark.parametrize("method", SMALL)
def test_a_run_that_goes_on_ends_with_the_same_bits(method: str, tmp_path: Path) -> None:
    """Stopped at several steps, block ends and reflows among them: nothing can tell them apart."""
    spec = planned(method, tmp_path, *SMALL[method])
    undisturbed = execute(spec, tmp_path / "one", lambda event: None)
    assert undisturbed["status"] == "ok"
    for k in (1, 4, 5, 7, 8, 12):
        stop = threading.Event()

        def report(event: dict[str, Any], at: int = k, stop: threading.Event = stop) -> None:
            if event["event"] == "step" and event["minibatch"] == at:
                stop.set()

        stopped = execute(spec, tmp_path / "two", report, stop)
        assert stopped["status"] == "interrupted"
    found = execute(spec, tmp_path / "two", lambda event: None)
    assert [session["after"] for session in found["sessions"]] == [0, 1, 4, 5, 7, 8, 12]
    for part in ("training", "metrics", "method"):
        assert found[part] == undisturbed[part]
    for name in ("nfe_train", "nfe_sample", "nfe_density"):
        assert found["cost"].get(name) == undisturbed["cost"].get(name)
    assert curve(tmp_path / "one" / spec.run) == curve(tmp_path / "two" / spec.run)
    one, two = (
        torch.load(tmp_path / f / spec.run / "model.pt", weights_only=True)["state"]
        for f in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def curve(run: Path) -> list[dict[str, Any]]:
    lines = (run / "curve.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_a_run_that_can_not_write_checkpoints_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = planned("gaussian", tmp_path)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session, "write_checkpoint", full)
    notes = []

    def report(event: dict[str, Any]) -> None:
        if event["event"] == "note":
            notes.append(event["note"])

    assert execute(spec, tmp_path / "runs", report)["status"] == "ok"
    (note,) = notes
    assert "No space left on device" in note


def test_threads_that_changed_are_in_the_record(tmp_path: Path) -> None:
    """The same bits are promised for one number of threads; each stretch says its own."""
    spec = planned("gaussian", tmp_path)
    stop = threading.Event()
    stop.set()
    execute(spec, tmp_path / "runs", lambda event: None, stop)
    torch.set_num_threads(2)
    found = execute(spec, tmp_path / "runs", lambda event: None)
    assert [session["threads"] for session in found["sessions"]] == [1, 2]
