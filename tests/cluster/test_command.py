"""`bench run --scheduler` and `--cluster`, as a user types them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.errors import UsageError
from bench.launch import dask
from bench.records import store
from bench.records.spec import Limits

from ..harness.small import table
from .processes import WAIT, Cluster, until

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("cluster")]

BENCH = str(Path(sys.executable).with_name("bench"))

TINY = ("-m", "gaussian", "--minibatches", "5", "--batch-size", "32")

#: An address that nobody listens at.
NOBODY = "tcp://127.0.0.1:9"


def test_no_scheduler(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Exit code 2, one line that names the address and the remedy, in about ten seconds."""
    monkeypatch.setattr(dask, "CONNECT", 1.0)
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
    monkeypatch.setattr(dask, "find_spec", lambda name: None)
    with (
        pytest.raises(UsageError, match=r"pip install 'cnf-bench\[cluster\]'"),
        dask.engine("tcp://x:1", None, 1, "cpu", Limits()),
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
    assert [r.status for r in store.read_all(folder / "command")] == ["ok"]


LONG = ("-m", "gaussian", "-d", "moons", "--minibatches", "10000000", "--batch-size", "32")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_ends_takes_its_cells_with_it(
    two: Cluster, folder: Path, how: signal.Signals
) -> None:
    """Ctrl-C, and no word at all: the children on the workers end."""
    results = folder / f"ended-{how.name}"
    command = [BENCH, "run", *LONG, "--results", str(results), "--scheduler", two.address]
    bench = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        # SIGINT is ignored where the tests run in background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        until(two.children, WAIT)
        bench.send_signal(how)
        assert bench.wait(WAIT) == (130 if how == signal.SIGINT else -how)
        until(lambda: not two.children(), WAIT)
    finally:
        bench.kill()
    assert list(store.read_all(results)) == []
    assert all(worker.poll() is None for worker in two.workers)


def test_the_scheduler_dies(tmp_path: Path) -> None:
    """One clear line, exit code 1, and nothing of Dask's own."""
    own = Cluster(tmp_path, failures=3)
    try:
        own.start()
        own.add()
        command = [BENCH, "run", *LONG, "--results", str(tmp_path / "runs")]
        with subprocess.Popen(
            [*command, "--scheduler", own.address], stderr=subprocess.PIPE, text=True
        ) as bench:
            until(own.children, WAIT)
            assert own.scheduler is not None
            own.scheduler.kill()
            _, told = bench.communicate(timeout=WAIT)
        assert bench.returncode == 1
        usual = ("Planning ", "gaussian moons seed 0: ")
        assert [line for line in told.splitlines() if not line.startswith(usual)] == [
            f"Error: The scheduler {own.address} is gone. Finished runs are kept; the same command "
            "resumes the rest."
        ]
    finally:
        own.stop()


@pytest.mark.slow
def test_a_cluster_on_this_machine(tmp_path: Path) -> None:
    command = [
        BENCH, "run", *TINY, "-d", str(table(tmp_path / "own.npy")), "-s", "0", "-s", "1",
        "-j", "2", "--cluster", "local", "--results", str(tmp_path / "runs"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert [r.status for r in store.read_all(tmp_path / "runs")] == ["ok", "ok"]


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
    assert [r.status for r in store.read_all(tmp_path / "runs")] == ["ok", "ok"]
    scripts = [path.read_text() for path in jobs.glob("*.sh")]
    assert len(scripts) == 2
    assert all("--resources cores=1" in script for script in scripts)
    assert all("#SBATCH --gres=gpu:0" in script for script in scripts)
    assert len((jobs / "cancelled").read_text().split()) == 2
