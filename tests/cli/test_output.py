"""Where the output can't be written, or a folder can't be read: one line, and no traceback."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..stats.conftest import Write, results, write
from .conftest import BENCH

__all__ = ["results", "write"]

#: Of Linux: root reads what it may not read only with these capabilities, which a process can drop.
DROP, CAPABILITIES = 24, (1, 2)


def bench(
    folder: Path, *arguments: str, first: Callable[[], object] = lambda: None, stdout: Any = -1
) -> tuple[int, str, str]:
    """The exit code of `bench`, what it printed, and what it said of an error."""

    def begin() -> None:
        if os.geteuid() == 0:
            for capability in CAPABILITIES:
                ctypes.CDLL(None).prctl(DROP, capability, 0, 0, 0)
        first()

    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [BENCH, *arguments],
        cwd=folder,
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        preexec_fn=begin,
    )
    return done.returncode, done.stdout or "", done.stderr


COMMANDS = [("list", "budgets"), ("--help",), ("run", "--help")]


@pytest.mark.parametrize("command", COMMANDS)
def test_standard_output_on_a_full_disk(command: tuple[str, ...], tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        code, _, said = bench(tmp_path, *command, stdout=full)
    assert code == 2
    assert said == "Error: The output can't be written: No space left on device.\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_standard_output_that_nobody_reads(command: tuple[str, ...], tmp_path: Path) -> None:
    """As in `bench list | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    code, _, said = bench(tmp_path, *command, stdout=writer)
    os.close(writer)
    assert (code, said) == (141, "")


@pytest.mark.parametrize("command", [("list", "budgets"), ("table", "-m", "gaussian")])
def test_standard_output_is_closed(command: tuple[str, ...], write: Write, tmp_path: Path) -> None:
    """As in `bench table >&-`: nothing is asked for, and nothing is said."""
    write("gaussian", "moons")
    command += ("--results", "runs") if command[0] == "table" else ()
    code, _, said = bench(tmp_path, *command, first=lambda: os.close(1))
    assert (code, said) == (0, "")


@pytest.mark.parametrize(
    "command", [("plot", "ranks", "-o", f"ranks.{form}") for form in ("png", "pdf", "svg")]
)
def test_a_file_on_a_full_disk(command: tuple[str, ...], write: Write, tmp_path: Path) -> None:
    """No file may grow beyond so many bytes, and none is left of that which would."""
    for dataset in ("moons", "rings"):
        for method in ("gaussian", "jko", "ffjord"):
            write(method, dataset)
    before = sorted(tmp_path.iterdir())

    def quota() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_048, 2_048))

    code, _, said = bench(tmp_path, *command, "--results", "runs", first=quota)
    assert code == 2
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith(f"Error: {command[-1]} can't be written: File too larg")
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_can_not_be_read(write: Write, results: Path, tmp_path: Path) -> None:
    """The whole results folder, the folder of one run, and the data folder."""
    run = write("gaussian", "moons")
    write("jko", "moons")
    (tmp_path / "data").mkdir(mode=0)
    for name, command in (
        (f"runs/{run}/record.json", ("list", "runs", "--results", "runs")),
        (f"runs/{run}/record.json", ("table", "--results", "runs")),
        ("data/power", ("data", "status", "power", "--data", "data")),
        ("data/power", ("data", "verify", "power", "--data", "data")),
        ("data/power", ("data", "fetch", "power", "--data", "data")),
        ("data/power", ("run", "-m", "gaussian", "-d", "power", "--data", "data", "--dry-run")),
    ):
        (results / run).chmod(0)
        code, _, said = bench(tmp_path, *command)
        (results / run).chmod(0o755)
        assert code == 2, (command, said)
        assert said.startswith(f"Error: {name}"), said
        assert "Permission denied" in said
        assert said.count("\n") == 1
    results.chmod(0)
    code, _, said = bench(tmp_path, "table", "--results", "runs")
    results.chmod(0o755)
    assert (code, said.startswith("Error: runs can't be read: Permission denied")) == (2, True)


def test_a_damaged_array_cache(
    own_table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit of every twentieth row has changed: the run is planned with the rows of the table."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    command = ("run", "-m", "gaussian", "-d", own_table, "--dry-run")
    _, planned, _ = bench(tmp_path, *command)
    (path,) = (tmp_path / "cache").rglob("test.npy")
    sound = path.read_bytes()
    np.load(path, mmap_mode="r+").view(np.int32)[::20, 0] ^= 1 << 24
    assert path.read_bytes() != sound
    code, again, said = bench(tmp_path, *command)
    assert (code, again) == (0, planned)
    assert path.read_bytes() == sound
    (line,) = (line for line in said.splitlines() if "Planning" not in line)
    assert line.startswith("Warning: The cached rows of 'own.csv' in ")
