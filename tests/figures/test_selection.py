"""Which runs a figure shows, and what it says of those that it does not show."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import NothingMeasured
from bench.figures.request import Request, Selection, select

from .conftest import Write


def chosen(results: Path, groups: int = 3, rows: int = 5, **asked: object) -> Selection:
    given = Request(results, **asked)  # type: ignore[arg-type]
    return select(given, groups, rows)


def test_the_first_seed_that_ended_well_stands_for_a_method(results: Path, write: Write) -> None:
    write("jko", "moons", 0, status="diverged")
    second = write("jko", "moons", 1)
    write("jko", "moons", 2)
    write("gaussian", "moons", 0)
    (group,) = chosen(results).groups
    assert [(one.label, one.run["seed"]) for one in group.rows] == [("jko", 1), ("gaussian", 0)]
    assert group.rows[0].name == second
    assert (group.title, group.d) == ("moons", 2)


def test_the_seed_asked_for_stands_for_a_method_or_is_missed(results: Path, write: Write) -> None:
    write("jko", "moons", 0)
    third = write("jko", "moons", 3)
    write("ffjord", "moons", 3, status="oom")
    write("gaussian", "moons", 0)
    found = chosen(results, seed=3)
    assert [one.name for one in found.groups[0].rows] == [third]
    assert found.not_shown == ("Not shown on moons: ffjord (oom), gaussian (no run of seed 3).",)


def test_what_there_is_no_room_for_is_named(results: Path, write: Write) -> None:
    for dataset in ("circles", "moons", "rings"):
        for method in ("ffjord", "jko", "ot-flow"):
            write(method, dataset)
    found = chosen(results, groups=2, rows=2)
    assert [group.title for group in found.groups] == ["circles", "moons"]
    assert [one.label for one in found.groups[1].rows] == ["ffjord", "jko"]
    assert found.not_shown == (
        "Only 2 methods fit on circles; not shown: ot-flow (choose with -m).",
        "Only 2 methods fit on moons; not shown: ot-flow (choose with -m).",
        "Only 2 data sets fit; not shown: rings (choose with -d).",
    )


def test_only_failed_runs_are_nothing_to_draw(results: Path, write: Write) -> None:
    write("jko", "moons", status="timeout")
    with pytest.raises(NothingMeasured, match=r"jko \(timeout\)"):
        chosen(results)


def test_budgets_are_told_apart(results: Path, write: Write) -> None:
    write("jko", "moons", budget__name="equal")
    write("jko", "moons", budget__name="table1", budget__minibatches=3_000)
    titles = [group.title for group in chosen(results).groups]
    assert titles == ["moons (equal, 01234567)", "moons (table1, 01234567)"]
    assert chosen(results, groups=1).not_shown == (
        f"Only 1 data set fits; not shown: {titles[1]} (choose with -d, -b).",
    )
