"""Large studies: 10,000 records planned, skipped, tabulated, reported; 100,000 cells planned."""

from __future__ import annotations

import cProfile
import hashlib
import json
import os
import pstats
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.data import arrays
from bench.launch.pool import run_all
from bench.records import store
from bench.records.bundle import sha256
from bench.records.frame import records
from bench.records.model import sealed
from bench.records.spec import Judge, Limits, RunSpec
from bench.records.store import outline
from bench.registry import plugins
from bench.report.page import page
from bench.report.setting import gather
from bench.study import presets
from bench.study.planning import plan
from bench.study.studies import Study
from bench.tables.comparison import comparison
from bench.tables.render import render

METHODS = ("gaussian", "flow-matching", "ffjord", "ot-flow", "jko")
TOYS = (
    *("moons", "8gaussians", "pinwheel", "circles", "rings", "swissroll", "checkerboard"),
    *("2spirals", "rose", "tree"),
)
#: Little to judge, so that the one real run is made in seconds.
JUDGE = Judge(
    test_rows=40, error_rows=10, integral_cells=16, mmd_n=30, permutations=99, validations=1
)


def leave(specs: Iterable[RunSpec], results: Path, like: store.Draft, made: Path) -> None:
    """Runs with the content of another, whose folder is `made`; not synced, as nobody mourns.

    Their NLL differ, and with them the log-densities that they keep.
    """
    with np.load(made / "samples.npz") as file:
        kept = dict(file)
    digests: dict[float, dict[str, str]] = {}
    for number, spec in enumerate(specs):
        asked = outline(spec)
        content = {**like, **{k: asked[k] for k in ("run", "key", "seed", "judge", "budget")}}
        content["method"] = like["method"] | asked["method"]
        content["dataset"] = like["dataset"] | asked["dataset"]
        scatter = (number * 7919 % 1000) / 1000
        content["metrics"] = like["metrics"] | {"nll": like["metrics"]["nll"] + scatter}
        (results / spec.run).mkdir(parents=True)
        samples = results.parent / f"samples-{scatter:.3f}.npz"
        if scatter not in digests:
            np.savez(samples, **kept | {"log_prob": kept["log_prob"] - np.float32(scatter)})
            log_prob = zipfile.ZipFile(samples).read("log_prob.npy")
            digests[scatter] = like["digests"] | {
                "samples.npz": sha256(samples),
                "samples.npz:log_prob": hashlib.sha256(log_prob).hexdigest(),
            }
        content["digests"] = digests[scatter]
        text = json.dumps({k: v for k, v in content.items() if k != "digest"}, indent=1)
        (results / spec.run / "record.json").write_bytes(sealed(text))
        os.link(samples, results / spec.run / "samples.npz")
        for name in ("curve.jsonl", "model.pt"):
            os.link(made / name, results / spec.run / name)


@pytest.fixture
def study() -> Study:
    return Study(METHODS[:2], TOYS[:2], tuple(range(10)), "quick", JUDGE)


def shallow(specs: Iterable[RunSpec], results: Path) -> None:
    """Records that hold a little of everything."""
    for spec in specs:
        content = outline(spec) | {
            "status": "ok",
            "metrics": {"nll": 2.0 + spec.seed / 100, "nll_se": 0.1, "nll_rows": 40},
            "cost": {"train_seconds": 1.0, "peak_rss_bytes": 2**29},
        }
        (results / spec.run).mkdir(parents=True)
        text = json.dumps(content, indent=1)
        (results / spec.run / "record.json").write_text(f"{text}\n", encoding="utf-8")


def count(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[str]:
    """A list that grows with every call of the module's function."""
    real, calls = getattr(module, name), []

    def counting(*arguments: Any, **named: Any) -> Any:
        calls.append(name)
        return real(*arguments, **named)

    monkeypatch.setattr(module, name, counting)
    return calls


def test_a_plan_finds_out_once_what_all_seeds_share(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = count(monkeypatch, presets, "configure")
    loaded = count(monkeypatch, arrays, "load")
    versions = count(monkeypatch, plugins, "version")
    planned = plan(study, tmp_path / "runs", tmp_path)
    assert len(planned.runs) == 40
    assert len({spec.run for spec in planned.runs}) == 40
    # the reader of each data set has a version too
    assert [len(c) for c in (configured, loaded, versions)] == [4, 2, 2 + 2]


def calls_of(work: Callable[..., object], *arguments: object) -> int:
    """How many functions are called: a measure of work that does not depend on the machine."""
    profile = cProfile.Profile()
    profile.runcall(work, *arguments)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def tabulated(frame: pd.DataFrame, results: Path) -> str:
    return render(comparison(frame, results=results), "text")


def test_work_grows_with_the_records(study: Study, tmp_path: Path) -> None:
    """Four times the records of a cell: at most four times the calls, in plan and table."""
    calls: dict[str, list[int]] = {"plan": [], "frame": [], "table": []}
    for seeds in (10, 40):
        results = tmp_path / f"runs{seeds}"
        larger = replace(study, seeds=tuple(range(seeds)))
        shallow(plan(larger, results, tmp_path).runs, results)
        calls["plan"].append(calls_of(plan, larger, results, tmp_path))
        calls["frame"].append(calls_of(records, results))
        calls["table"].append(calls_of(tabulated, records(results), results))
    assert all(many <= 4.1 * few for few, many in calls.values()), calls
    assert calls["table"][1] <= 2 * calls["table"][0], "a table's work is that of its cells"


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [200, 50])
def test_ten_thousand_records(tmp_path: Path, seeds: int) -> None:
    """Many seeds, or many cells: planned and skipped in under 2 s of the processor, tabulated in
    under 3 s, reported in under 30 s.

    Where there are 50 seeds, the folder holds 4 studies, of which one is planned.
    """
    results = tmp_path / "runs"
    first = Study(METHODS[:1], TOYS[:1], (10**6,), "quick", JUDGE)
    [made] = plan(first, tmp_path / "first", tmp_path).runs
    assert [e["event"] for _, e in run_all([made], tmp_path / "first", 1, Limits())][-1] == "end"
    like = store.content(tmp_path / "first", made.run)
    assert like is not None
    judges = [replace(JUDGE, test_rows=40 + k) for k in range(200 // seeds)]
    studies = [Study(METHODS, TOYS, tuple(range(seeds)), "quick", judge) for judge in judges]
    for each in studies:
        leave(plan(each, results, tmp_path).runs, results, like, tmp_path / "first" / made.run)
    assert len(store.names(results)) == 10_000

    start = time.process_time()
    planned = plan(studies[0], results, tmp_path)
    planning_seconds = time.process_time() - start
    assert len(planned.runs) == 50 * seeds
    assert not planned.todo
    start = time.process_time()
    text = tabulated(records(results), results)
    table_seconds = time.process_time() - start
    assert text.count("jko") >= len(TOYS) * len(judges)
    start = time.process_time()
    html, _ = page(gather(results))
    report_seconds = time.process_time() - start
    print(
        f"{len(judges) * 50} cells: planned {planning_seconds:.2f} s, table {table_seconds:.2f} s, "
        f"report {report_seconds:.1f} s, {len(html) / 2**20:.1f} MiB"
    )
    assert planning_seconds < 2
    assert table_seconds < 3
    assert report_seconds < 30


@pytest.mark.slow
def test_a_hundred_thousand_cells(tmp_path: Path) -> None:
    """Planned in under 30 s of the processor and 1 GiB, the libraries' own included."""
    code = f"""
import time
from pathlib import Path
from bench.training.session import peak_rss_bytes
from bench.study.planning import plan
from bench.study.studies import Study
start = time.process_time()
study = Study({METHODS!r}, {TOYS!r}, tuple(range(2000)), "quick")
planned = plan(study, Path("runs"), Path("data"))
print(len(planned.todo), len(dict.fromkeys(spec.run for spec in planned.runs)))
print(time.process_time() - start, peak_rss_bytes())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    todo, names, seconds, peak = map(float, done.stdout.split())
    assert todo == names == 100_000
    print(f"planned in {seconds:.1f} s, {peak / 2**20:.0f} MiB")
    assert seconds < 30
    assert peak < 2**30
