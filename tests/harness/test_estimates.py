"""What a plan will take, from records of earlier runs; unknown where there are none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.records import store
from bench.records.spec import Judge, RunSpec
from bench.records.store import outline
from bench.study.estimates import Estimate, Total, estimates, in_all

MIB = 2**20
SPEC = RunSpec(
    method="flow-matching",
    version="0",
    config={"width": 8},
    dataset="moons",
    label="moons",
    revision="0",
    minibatches=1_000,
    batch_size=100,
    seed=0,
    judge=Judge(test_rows=5_000),
)

Leave = Callable[..., None]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def leave(results: Path) -> Leave:
    """`leave(steps=..., train=..., wall=..., mib=..., **changes)`: a record of a changed `SPEC`."""

    def write(
        train: float = 10.0,
        wall: float = 15.0,
        mib: int = 500,
        steps: int = 100,
        d: int = 2,
        test: int = 20_000,
        edit: Callable[[store.Draft], Any] = lambda content: None,
        **changes: Any,
    ) -> None:
        number = len(list(results.glob("*")))
        spec = replace(SPEC, **({"seed": number + 1, "minibatches": steps} | changes))
        minutes, seconds = divmod(wall, 60)
        content = outline(spec) | {
            "status": "ok",
            "training": {"minibatches": steps},
            "cost": {
                "train_seconds": train,
                "validation_seconds": 0.5,
                "sample_seconds": 0.25,
                "density_seconds": 0.25,
                "peak_rss_bytes": mib * MIB,
            },
            "started": "2026-01-01T00:00:00+00:00",
            "finished": f"2026-01-01T00:{minutes:02.0f}:{seconds:02.0f}+00:00",
        }
        content["dataset"] |= {"d": d, "rows": {"train": 1, "validation": 1, "test": test}}
        edit(content)
        (results / spec.run).mkdir(parents=True)
        store.write_json(results / spec.run / "record.json", content)

    return write


def estimate(results: Path, **changes: Any) -> Estimate:
    return estimates([replace(SPEC, **changes)], results)[0]


def test_nothing_is_known_where_nothing_was_run(results: Path) -> None:
    assert estimate(results) == Estimate(None, None, "no record")


def test_seconds_a_mini_batch_and_the_rest(results: Path, leave: Leave) -> None:
    """100 mini-batches in 10 s of 15 s: 1,000 take 100 s, and the rest 5 s as before."""
    leave()
    assert estimate(results) == Estimate(105.0, 500 * MIB, "1 record")


def test_the_median_of_seconds_and_the_largest_memory(results: Path, leave: Leave) -> None:
    leave(train=10, wall=15, mib=500)
    leave(train=11, wall=17, mib=900)
    leave(train=50, wall=58, mib=400)
    assert estimate(results) == Estimate(116.0, 900 * MIB, "3 records")


def test_other_rows_in_a_mini_batch(results: Path, leave: Leave) -> None:
    """In proportion; what a smaller one took in memory says nothing of a larger."""
    leave()
    more, less = (estimate(results, batch_size=size) for size in (200, 50))
    assert more == Estimate(205.0, None, "1 record, with batches of 100")
    assert less == Estimate(55.0, 500 * MIB, "1 record, with batches of 100")
    leave(train=30, wall=35, batch_size=200, mib=700)
    assert estimate(results, batch_size=200) == Estimate(305.0, 700 * MIB, "1 record")


def test_the_nearest_records_count(results: Path, leave: Leave) -> None:
    """The same settings before others; other data alike in size only with the same settings."""
    leave(train=20, label="rings")
    there = estimate(results)
    assert there == Estimate(200.0 + 1, 500 * MIB, "1 record on rings")
    leave(train=30, wall=31, config={"width": 16})
    assert estimate(results).basis == "1 record with other settings"
    assert estimate(results).seconds == 301.0
    leave()
    assert estimate(results) == Estimate(105.0, 500 * MIB, "1 record")


@pytest.mark.parametrize(
    "other",
    [
        {"label": "digits", "d": 64},
        {"label": "rings", "test": 1_000},
        {"label": "rings", "config": {"width": 9}},
        {"method": "gaussian"},
        {"device": "cuda"},
    ],
)
def test_what_is_too_far_is_unknown(results: Path, leave: Leave, other: dict[str, Any]) -> None:
    leave(**other)
    assert estimate(results).seconds is None


def test_runs_that_failed_or_were_edited_do_not_count(results: Path, leave: Leave) -> None:
    leave(edit=lambda content: content.update(status="diverged"))
    leave(edit=lambda content: content.update(cost={}))
    leave(edit=lambda content: content["training"].update(minibatches=0))
    leave(edit=lambda content: content.update(finished="yesterday"))
    leave(edit=lambda content: content.pop("judge"))
    leave()
    path = next(results.glob("*/record.json"))
    (results / "damaged-s0-0").mkdir()
    (results / "damaged-s0-0" / "record.json").write_bytes(path.read_bytes()[:99])
    assert estimate(results).basis == "1 record"


def test_another_judge(results: Path, leave: Leave) -> None:
    """Its seconds count where there are no others, and the basis says so."""
    leave(judge=Judge(test_rows=50), wall=40)
    assert estimate(results) == Estimate(130.0, 500 * MIB, "1 record, with another judge")
    leave(wall=12)
    assert estimate(results) == Estimate(102.0, 500 * MIB, "2 records")


def test_clocks_that_do_not_fit_together(results: Path, leave: Leave) -> None:
    """Of a run that was resumed: what was clocked of the rest, not less than nothing."""
    leave(train=100, wall=10)
    assert estimate(results).seconds == 1_001.0


def test_a_gpus_memory_is_the_gpus(results: Path, leave: Leave) -> None:
    leave(device="cuda", edit=lambda content: content["cost"].update(peak_gpu_bytes=77))
    assert estimate(results, device="cuda").memory_bytes == 77


def test_in_all() -> None:
    """Jobs take the next run when they are free; the memory is that of the largest at once."""
    known = [Estimate(s, m, "") for s, m in ((5.0, 1), (3.0, 7), (1.0, 4), (4.0, None))]
    unknown = Estimate(None, None, "no record")
    assert in_all([], 2) == Total(0.0, 0, 0)
    assert in_all([*known, unknown], 1) == Total(13.0, 7, 1)
    assert in_all([*known, unknown], 2) == Total(8.0, 11, 1)
    assert in_all([unknown], 3) == Total(0.0, 0, 1)
    assert in_all(known, 9) == Total(5.0, 12, 0)


def test_no_torch() -> None:
    code = (
        "import sys, bench.study.estimates; print(sorted({'torch', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
