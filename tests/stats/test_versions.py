"""Runs that may not stand in one table."""

from __future__ import annotations

from pathlib import Path

from bench.records.frame import latest, records

from .conftest import Write


def started(day: int) -> str:
    return f"2026-01-{day:02}T00:00:00+00:00"


def test_runs_of_one_kind_all_stand(results: Path, write: Write) -> None:
    for seed in range(3):
        write("ffjord", "moons", seed, judge__metrics_version=3)
    frame = records(results)
    kept, left_out = latest(frame)
    assert list(kept["run"]) == list(frame["run"])
    assert left_out == []


def test_other_rows_and_older_metrics_are_left_out(results: Path, write: Write) -> None:
    """The latest run's revision counts, and the latest metrics on it."""
    write(
        "ffjord", "moons", 0, started=started(1), judge__metrics_version=9, dataset__revision="old"
    )
    write("ffjord", "moons", 1, started=started(2), judge__metrics_version=2)
    good = [
        write("ffjord", "moons", 2, started=started(3), judge__metrics_version=3),
        write("jko", "moons", 2, started=started(4), judge__metrics_version=3),
        write("jko", "rose", 0, started=started(1), judge__metrics_version=2),
    ]
    kept, left_out = latest(records(results))
    assert sorted(kept["run"]) == sorted(good)
    assert left_out == [
        "moons: 1 run on another revision of its rows",
        "moons: 1 run by an older version of the metrics",
    ]
