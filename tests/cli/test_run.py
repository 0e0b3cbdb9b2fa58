"""`bench run` from end to end: real processes, real files."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import bench as api
from bench.cli import main
from bench.records.catalogue import columns

from .conftest import BENCH, Bench

pytestmark = pytest.mark.timeout(400)

OT_AT_ONCE = ("-m", "flow-matching", "--set", "coupling=ot")
TINY = ("--minibatches", "20", "--batch-size", "64")


def test_run_table_and_load(bench: Bench, own_table: str, tmp_path: Path) -> None:
    first = bench("run", "-m", "gaussian", "-m", "flow-matching", "-d", own_table, *TINY, "-j", "2")
    assert first.returncode == 0, first.stderr
    assert "flow-matching" in first.stdout
    assert "NLL" in first.stdout

    folders = sorted((tmp_path / "results" / "runs").glob("*-s0-*"))
    assert [f.name.split("-own")[0] for f in folders] == ["flow-matching", "gaussian"]
    for folder in folders:
        assert {p.name for p in folder.iterdir()} == {
            "record.json",
            "curve.jsonl",
            "model.pt",
            "samples.npz",
            "log.txt",
        }
        assert len((folder / "curve.jsonl").read_text().splitlines()) == 20
        assert np.load(folder / "samples.npz")["samples"].shape == (200, 2)
        torch.load(folder / "model.pt", weights_only=True)

    frame = api.records(tmp_path / "results" / "runs")
    recorded = [column.name for column in columns().values() if column.path]
    assert [name for name in frame.columns if columns()[name].path] == recorded
    # The fitted Gaussian is the truth here: its NLL is the entropy, up to chance on 200 rows of
    # the standardised table (covariance [[1, .8], [.8, 1]]).
    entropy = 1 + math.log(2 * math.pi) + 0.5 * math.log(1 - 0.8**2)
    row = frame[frame["method"] == "gaussian"].iloc[0]
    assert abs(row["nll"] - entropy) < 4 * row["nll_se"]
    assert row["samples_seen"] == 20 * 64

    flow = api.load(folders[1].name, tmp_path / "results" / "runs")
    samples = flow.sample(4_000, seed=1)
    assert abs(-flow.log_prob(samples).mean().item() - entropy) < 0.1

    written = bench("table", "-f", "csv", "--runs", "-o", "table.csv")
    assert written.returncode == 0, written.stderr
    assert list(pd.read_csv(tmp_path / "table.csv")["run"]) == [f.name for f in folders]


def test_what_is_done_is_skipped_and_asked_for_again(bench: Bench, own_table: str) -> None:
    command = ("run", "-m", "gaussian", "-d", own_table, *TINY)
    assert bench(*command).returncode == 0
    dry = bench(*command, "--dry-run")
    assert "0 of 1 runs" in dry.stdout
    again = bench(*command)
    assert again.returncode == 0
    assert "done already" in again.stderr
    assert "1 of 1 runs" in bench(*command, "--dry-run", "--only", "all").stdout


@pytest.mark.slow
def test_same_seed_same_bits(bench: Bench, own_table: str, tmp_path: Path) -> None:
    models = []
    for folder in ("one", "two"):
        done = bench(
            "run", "-m", "flow-matching", "-d", own_table, *TINY, "--threads", "1",
            "--results", folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        [run] = (tmp_path / folder).glob("flow*")
        record = json.loads((run / "record.json").read_text())
        models.append((torch.load(run / "model.pt", weights_only=True), record["metrics"]))
    (one, metrics_one), (two, metrics_two) = models
    assert metrics_one == metrics_two
    assert one["state"].keys() == two["state"].keys()
    assert all(torch.equal(one["state"][k], two["state"][k]) for k in one["state"])


def test_a_failed_run_is_a_record_and_the_exit_code_says_no(
    bench: Bench, own_table: str, tmp_path: Path
) -> None:
    done = bench(
        "run", "-m", "gaussian", "-m", "ffjord", "-d", own_table, *TINY,
        "--set", "max_num_steps=1", "--set", "ffjord.preset=any",
    )  # fmt: skip
    assert done.returncode == 1
    assert "diverged" in done.stderr
    assert "--only failed" in done.stderr
    [run] = (tmp_path / "results" / "runs").glob("ffjord*")
    record = json.loads((run / "record.json").read_text())
    assert record["status"] == "diverged"
    assert "steps" in record["reason"]
    assert "diverged" in bench("table").stdout


def test_the_time_limit_ends_a_run(bench: Bench, own_table: str, tmp_path: Path) -> None:
    done = bench(
        "run", "-m", "flow-matching", "-d", own_table, "--minibatches", "1000000",
        "--batch-size", "64", "--timeout", "3",
    )  # fmt: skip
    assert done.returncode == 1
    [run] = (tmp_path / "results" / "runs").glob("flow*")
    record = json.loads((run / "record.json").read_text())
    assert record["status"] == "timeout"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("run", "-m", "flow-maching", "-d", "moons"), 2, "flow-matching"),
        (("run", "-m", "gaussian", "-d", "mons"), 2, "moons"),
        (("run", "-m", "gaussian", "-d", "moons", "-b", "equl"), 2, "equal"),
        (("run", "-m", "gaussian", "-d", "moons", "--minibatches", "0"), 2, "--minibatches"),
        (("run", "-m", "gaussian", "-d", "moons", "--batch-size", "-5"), 2, "--batch-size"),
        (("run", "-m", "gaussian", "-d", "moons", "--set", "rigde=1"), 2, "ridge"),
        (
            ("run", "-m", "gaussian", "-d", "moons", "--set", "ridge=much"),
            2,
            "finite number, got 'much'",
        ),
        (("run", "-m", "gaussian", "-d", "moons", "--set", "ridge"), 2, "KEY=VALUE"),
        (("run", "-m", "ffjord", "-d", "moons", "--set", "rtol=0"), 2, "rtol"),
        (("run", "-m", "jko", "-d", "moons", "--set", "steps=0"), 2, "steps"),
        (("run", "-m", "jko", "-d", "moons", "--set", "h0=0"), 2, "h0"),
        (("run", "-m", "jko", "-d", "moons", "--minibatches", "2"), 2, "jko"),
        (("run", "-m", "jko", "-d", "moons", "--set", "preset=bsds300"), 2, "63"),
        (("run", "-m", "rectified-flow", "-d", "moons", "--minibatches", "1"), 2, "rounds"),
        (("run", *OT_AT_ONCE, "-d", "moons", "--batch-size", "10000"), 2, "batch"),
        (("run", "-m", "gaussian"), 2, "-d"),
        (("run", "-m", "gaussian", "-d", "moons", "--device", "cuda"), 2, "CUDA"),
        (("run", "-m", "gaussian", "-d", "gas", "--data", "nowhere"), 2, "bench data fetch"),
        (("run", "-m", "gaussian", "-d", "nowhere.csv"), 2, "nowhere.csv"),
        (("run", "-m", "gaussian", "-d", "moons", "--results", "file/below"), 2, "--results"),
        (("rum",), 2, "run"),
        (("table",), 3, "bench run"),
        (("table", "--results", "nowhere"), 3, "bench run"),
        (("info", "no-such-thing"), 2, "no-such-thing"),
    ],
)
def test_a_wrong_call_gets_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, arguments)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, done.output
    assert says in done.stderr
    assert not list(tmp_path.rglob("record.json"))


def test_a_table_with_nan_is_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n" + "1,2\n" * 30 + "3,\n" + "2,1\n" * 30)
    done = bench("run", "-m", "gaussian", "-d", "bad.csv", *TINY)
    assert done.returncode == 2
    assert "bad.csv" in done.stderr
    assert "31" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "kills", [pytest.param(2, id="twice"), pytest.param(20, id="twenty", marks=pytest.mark.slow)]
)
def test_kill_9_loses_nothing(own_table: str, tmp_path: Path, kills: int) -> None:
    """Kill the whole family of processes at random moments; then one more call completes."""
    draw = random.Random(7)
    results = tmp_path / "results" / "runs"
    command = [
        BENCH, "run", "-m", "gaussian", "-m", "flow-matching", "-d", own_table, "-s", "0",
        "-s", "1", "--minibatches", "300", "--batch-size", "256", "--threads", "1",
    ]  # fmt: skip
    finished: dict[str, str] = {}
    for _ in range(kills):
        parent = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(0.2, 9))
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        time.sleep(0.5)  # the child ends with its parent
        for path in results.rglob("*.json"):
            content = path.read_text()
            assert json.loads(content)["status"] == "ok"
            assert finished.setdefault(str(path), content) == content  # what is finished stays
        for path in results.glob("*/model.pt"):
            if path.parent.suffix != ".part":
                torch.load(path, weights_only=True)
    last = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert last.returncode == 0, last.stderr
    assert len(list(results.glob("*/record.json"))) == 4
    assert not list(results.glob("*.part"))
