"""The details of a flow's paths: W2 movement of each piece, transport cost, straightness."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.records.frame import records
from bench.tables.details import Detail, details

from .conftest import Write


def lines(results: Path) -> dict[str, Detail]:
    ((_, _, found),) = details(records(results))
    return {line.name: line for line in found}


def test_one_seed(results: Path, write: Write) -> None:
    write(
        *("jko", "moons"),
        w2_movement=[0.7369, 0.3215, 0.04786, 0.00309],
        round_trip_rows=2_000,
        transport_cost=2.6823,
        straightness=2.2975,
        cost__samples=10_000,
    )
    found = lines(results)
    moved = found["W2 movement"]
    assert moved.value == "0.737, 0.322, 0.0479, 0.00309"
    assert (moved.spread, moved.n) == ("each of 4 pieces", "2,000 test rows")
    cost = found["transport cost"]
    assert (cost.value, cost.spread, cost.n) == ("2.68", "", "10,000 paths")
    assert found["straightness"].value == "2.30"
    assert "0 if all paths are straight" in found["straightness"].notes


def test_several_seeds(results: Path, write: Write) -> None:
    for seed, (first, second) in enumerate(((1.0, 0.10), (1.2, 0.14), (1.4, 0.12))):
        moved = {"w2_movement": [first, second], "transport_cost": first}
        write("jko", "moons", seed, **moved)
    found = lines(results)
    assert found["W2 movement"].value == "1.20 ± 0.20, 0.120 ± 0.020"
    assert found["W2 movement"].spread == "each of 2 pieces, s.d. over 3 seeds"
    assert found["transport cost"].value == "1.20 ± 0.20"
    assert "straightness" not in found


def test_seeds_with_different_pieces_are_not_averaged(results: Path, write: Write) -> None:
    write("jko", "moons", 0, w2_movement=[1.0, 0.5])
    write("jko", "moons", 1, w2_movement=[1.0, 0.5, 0.25])
    moved = lines(results)["W2 movement"]
    assert moved.value == "1.00, 0.500; 1.00, 0.500, 0.250"
    assert moved.spread == "each piece of each seed"


@pytest.mark.parametrize("held", [None, [], [None, 1.0]])
def test_what_is_no_list_of_numbers_is_left_out(results: Path, write: Write, held: object) -> None:
    write("gaussian", "moons", w2_movement=held)
    assert "W2 movement" not in lines(results)
