"""`bench plot movement`: the movement of each block, by settings of a method."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.figures.movement import draw
from bench.figures.request import Request
from bench.registry.plugins import look

from .conftest import Call, Write, overlaps


def test_blocks_before_and_after_reparametrisation(results: Path, write: Write) -> None:
    for seed, factor in enumerate((1.0, 3.0)):
        moved = [0.4 * factor, 0.2 * factor, 0.1 * factor]
        write("jko", "moons", seed, w2_movement=moved, method__config={"reparametrisations": 0})
    write("jko", "moons", w2_movement=[0.3, 0.2, 0.2], method__config={"reparametrisations": 2})
    write("ffjord", "moons", w2_movement=[0.7])
    found = draw(Request(results))
    (axes,) = found.figure.axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    before, after = "jko (reparametrisations=0)", "jko (reparametrisations=2)"
    assert set(lines) == {before, after}
    assert lines[before].get_ydata() == pytest.approx([0.8, 0.4, 0.2])
    assert lines[after].get_ydata() == pytest.approx([0.3, 0.2, 0.2])
    assert lines[after].get_xdata().tolist() == [1, 2, 3]
    assert {line.get_color() for line in lines.values()} == {look("jko").colour}
    assert lines[before].get_linestyle() != lines[after].get_linestyle()
    thin = [line for line in axes.lines if line.get_linewidth() < 1]
    assert [line.get_ydata() for line in thin] == [
        pytest.approx([0.4, 0.2, 0.1]),
        pytest.approx([1.2, 0.6, 0.3]),
    ]
    assert axes.get_ylim()[0] == 0
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        *("block, from data to noise", "W2 movement (unit²)"),
    )
    text = " ".join(" ".join(found.lines).split())
    assert "moons, jko (reparametrisations=0) (2 seeds): 0.800, 0.400, 0.200." in text
    assert overlaps(found.figure) == []


def test_seeds_with_other_numbers_of_blocks_are_drawn_one_by_one(
    results: Path, write: Write
) -> None:
    write("jko", "moons", 0, w2_movement=[1.0, 0.01])
    write("jko", "moons", 1, w2_movement=[1.0, 0.5, 0.25])
    found = draw(Request(results))
    (axes,) = found.figure.axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[1.0, 0.01], [1.0, 0.5, 0.25]]
    assert axes.get_yscale() == "log"
    assert "2 seeds with 2, 3 blocks, drawn one by one" in " ".join(found.lines)


def test_nothing_to_draw(call: Call, write: Write) -> None:
    write("ffjord", "moons", w2_movement=[0.7])
    done = call("movement")
    assert done.exit_code == 3
    assert "several blocks" in done.stderr
    assert call("movement", "-s", "1").exit_code == 2
