"""The colours of methods: their own, or one that no other in the picture has."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from bench.api.declarations import MARKERS, Look
from bench.figures.style import PALETTE, looks, stage_word, styles
from bench.registry import plugins

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


#: The methods that come with the package.
OURS = [name for name, plugin in plugins.methods().items() if not plugins.from_elsewhere(plugin)]

NEW = [f"method-{i}" for i in range(12)]


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


@pytest.mark.parametrize("sight", SIGHT)
def test_no_two_declared_colours_are_near(sight: str) -> None:
    """A difference of 2.3 is just noticeable side by side; these are six times that and more."""
    seen = {name: lab(look.colour, SIGHT[sight]) for name, look in looks(OURS).items()}
    near = {(a, b): np.linalg.norm(seen[a] - seen[b]) for a, b in combinations(seen, 2)}
    assert min(near.values()) > 15, min(near, key=lambda pair: near[pair])
    white = lab("#FFFFFF", SIGHT[sight])
    assert min(float(np.linalg.norm(colour - white)) for colour in seen.values()) > 30


def test_the_palette_is_far_from_itself_and_from_the_declared_colours() -> None:
    colours = [*PALETTE, *(look.colour for look in looks(OURS).values()), "#FFFFFF"]
    seen = [lab(colour, np.eye(3)) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 20


def test_a_declared_look_is_kept_beside_any_others() -> None:
    found = looks([*NEW, "jko", "ffjord"])
    assert (found["jko"].colour, found["jko"].marker) == ("#D55E00", "o")
    assert (found["ffjord"].colour, found["ffjord"].marker) == ("#0072B2", "^")
    assert found["jko"].stage == "block"


def test_twelve_methods_without_a_colour_have_twelve_colours() -> None:
    found = looks(NEW)
    assert list(found) == sorted(NEW)
    assert len({look.colour for look in found.values()}) == 12
    assert len({look.marker for look in found.values()}) == 12
    near = [
        np.linalg.norm(rgb(a.colour) - rgb(b.colour)) for a, b in combinations(found.values(), 2)
    ]
    assert min(near) > 50
    assert looks(reversed(NEW)) == found


def test_no_colour_is_taken_twice_however_many_methods_there_are() -> None:
    found = looks([*OURS, *(f"method-{i}" for i in range(80)), "\udc80数"])
    assert len({look.colour for look in found.values()}) == len(found)
    assert {look.marker for look in found.values()} == set(MARKERS)


def test_a_method_mostly_keeps_the_colour_it_is_given() -> None:
    together, alone = looks(NEW), {name: looks([name])[name] for name in NEW}
    same = sum(together[name].colour == alone[name].colour for name in NEW)
    assert same >= 6


def test_a_colour_that_another_method_declares_too_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A copy of a method's file brings its look along; the harness's own method keeps it."""
    known = {"ffjord": plugins.look("ffjord"), "a-ffjord": plugins.look("ffjord")}
    monkeypatch.setattr(plugins, "look", lambda name: known.get(name, Look()))
    found = looks(known)
    assert found["ffjord"].colour == known["ffjord"].colour
    assert found["a-ffjord"].colour != found["ffjord"].colour
    assert found["a-ffjord"].marker != found["ffjord"].marker


def test_rows_of_one_method_share_its_colour_and_differ_in_dashes_and_fill() -> None:
    rows = [("jko (1)", "jko"), ("jko (2)", "jko"), ("ffjord", "ffjord")]
    found = styles(iter(rows))
    first, second, other = (found[label] for label, _ in rows)
    assert first.colour == second.colour == "#D55E00"
    assert first.line["ls"] != second.line["ls"]
    assert first.point["fillstyle"] != second.point["fillstyle"]
    assert other.line["ls"] == first.line["ls"]


def test_the_word_for_stages_comes_from_the_methods() -> None:
    assert stage_word(["jko", "jko"]) == "block"
    assert stage_word(["jko", "rectified-flow"]) == "block or round"
    assert stage_word(["not-installed"]) == "piece"
