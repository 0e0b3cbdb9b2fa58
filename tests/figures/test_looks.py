"""The colours of methods: fixed by the name, and told apart by whoever lacks one kind of cone."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from bench.figures.looks import LOOKS, look

#: Machado, Oliveira & Fernandes 2009, table 1: the matrices of a whole deficiency, on linear RGB.
SIGHT = {
    "all cones": np.eye(3),
    "no L cones": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no M cones": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "no S cones": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour as it is seen (D65)."""
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = to_xyz @ np.clip(seen @ linear, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_oracle_knows_two_colours() -> None:
    assert lab("#FFFFFF", np.eye(3)) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab("#FF0000", np.eye(3)) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)


@pytest.mark.parametrize("sight", SIGHT)
def test_no_two_colours_are_near(sight: str) -> None:
    """A difference of 2.3 is just noticeable side by side; these are six times that and more."""
    seen = {name: lab(style.colour, SIGHT[sight]) for name, style in LOOKS.items()}
    near = {(a, b): np.linalg.norm(seen[a] - seen[b]) for a, b in combinations(seen, 2)}
    assert min(near.values()) > 15, min(near, key=lambda pair: near[pair])
    white = lab("#FFFFFF", SIGHT[sight])
    assert min(float(np.linalg.norm(colour - white)) for colour in seen.values()) > 30


def test_markers_tell_apart_without_colour() -> None:
    assert len({style.marker for style in LOOKS.values()}) == len(LOOKS)


def test_a_look_belongs_to_the_name() -> None:
    assert look("jko").colour == "#D55E00"
    assert look("ffjord").colour == "#0072B2"
    assert look("my-new-method") == look("my-new-method")
    assert {look(f"method-{i}").colour for i in range(40)}.isdisjoint(
        style.colour for style in LOOKS.values()
    )
    assert len({look(f"method-{i}").colour for i in range(40)}) == 4
    assert look("\udc80数").colour.startswith("#")
