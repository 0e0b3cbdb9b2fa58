"""Hyper-parameters from defaults, presets and `--set`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import pytest

from bench.api.method import Options, option
from bench.errors import UsageError
from bench.registry import plugins
from bench.study import presets


@dataclass(frozen=True)
class FakeConfig(Options):
    """One hyper-parameter of each type."""

    width: int = option(8, "a number")
    rate: float = option(0.5, "a share")
    fast: bool = option(False, "a switch")
    shape: Literal["round", "square"] = option("round", "a choice")
    cap: int | None = option(None, "a bound, or none")

    def __post_init__(self) -> None:
        if not self.width >= 1:
            raise ValueError(f"width is at least 1, not {self.width}")


class Fake:
    """All that is asked of a method here."""

    Config = FakeConfig


@dataclass(frozen=True)
class OtherConfig(Options):
    """Another method's."""

    width: int = option(4, "a number")
    depth: int = option(2, "a number")


class Other:
    """A method without presets."""

    Config = OtherConfig


PRESETS = """
[any]
evidence = "any"
width = 10

["2-D"]
evidence = "2-D"
width = 20
rate = 0.25

[moons]
evidence = "moons"
width = 30

[moons-full]
evidence = "moons, whitened"
affine = "full"
width = 40

[huge]
evidence = "by name only"
width = 99
fast = true
"""


@pytest.fixture(autouse=True)
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The preset file of the method `fake`; the method `other` has none."""
    found = {name: EntryPoint(name, f"{name}:X", "bench.methods") for name in ("fake", "other")}
    classes: dict[str, Any] = {"fake": Fake, "other": Other}
    monkeypatch.setattr(plugins, "methods", lambda: found)
    monkeypatch.setattr(plugins, "method", lambda name: classes[name])
    monkeypatch.setattr(plugins, "source", lambda plugin: tmp_path / f"{plugin.name}.py")
    path = tmp_path / "fake.toml"
    path.write_text(PRESETS, encoding="utf-8")
    return path


def configured(dataset: str = "power", d: int = 6, **overrides: str) -> tuple[Any, str | None]:
    return presets.configure("fake", dataset, d, overrides)


@pytest.mark.parametrize(
    ("dataset", "d", "overrides", "width", "name"),
    [
        ("moons", 2, {}, 30, "moons"),
        ("rings", 2, {}, 20, "2-D"),
        ("power", 6, {}, 10, "any"),
        ("moons", 2, {"preset": "huge"}, 99, "huge"),
        ("circles", 2, {"preset": "2-D"}, 20, "2-D"),
        ("moons", 2, {"preset": "huge", "width": "3"}, 3, "huge"),
        ("moons", 2, {"width": "3"}, 3, "moons"),
        ("moons", 2, {"affine": "full"}, 40, "moons-full"),
        ("moons", 2, {"affine": "none"}, 30, "moons"),
        ("rings", 2, {"affine": "full"}, 20, "2-D"),
        ("moons", 2, {"affine": "full", "preset": "moons"}, 30, "moons"),
    ],
)
def test_which_preset(
    dataset: str, d: int, overrides: dict[str, str], width: int, name: str
) -> None:
    """One asked for; the data set's behind the layer that is asked for, its own, 2-D, any."""
    config, preset = configured(dataset, d, **overrides)
    assert (config.width, preset) == (width, name)


@pytest.mark.parametrize(
    ("preset", "dataset", "d", "words"),
    [
        ("2-D", "power", 6, r"'2-D' of fake is for d = 2; power has d = 6"),
        ("moons", "power", 6, r"'moons' of fake is for d = 2; power has d = 6"),
        ("wide", "moons", 2, r"'wide' of fake is for d = 63; moons has d = 2"),
    ],
)
def test_a_preset_for_another_dimension(
    toml: Path, preset: str, dataset: str, d: int, words: str
) -> None:
    toml.write_text(PRESETS + "[wide]\nevidence = 'wide'\nd = 63\n", encoding="utf-8")
    assert configured("bsds300", 63, preset="wide")[1] == "wide"
    with pytest.raises(UsageError, match=words):
        configured(dataset, d, preset=preset)


def test_without_any_preset() -> None:
    assert presets.read("other") == {}
    assert presets.configure("other", "moons", 2, {}) == (OtherConfig(), None)


def test_what_a_preset_does_not_name_keeps_the_default() -> None:
    assert configured("rings", 2)[0] == FakeConfig(width=20, rate=0.25)
    assert configured()[0] == FakeConfig(width=10)


def test_a_preset_says_where_it_comes_from() -> None:
    assert {name: p.evidence for name, p in presets.read("fake").items()} == {
        "any": "any",
        "2-D": "2-D",
        "moons": "moons",
        "moons-full": "moons, whitened",
        "huge": "by name only",
    }


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("width", "12", 12),
        ("rate", "1e-3", 1e-3),
        ("rate", "2", 2.0),
        ("fast", "true", True),
        ("fast", "False", False),
        ("shape", "square", "square"),
        ("cap", "none", None),
        ("cap", "7", 7),
    ],
)
def test_a_value_of_the_users(key: str, text: str, value: object) -> None:
    found = getattr(configured(**{key: text})[0], key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("width", "1.5", "width for fake must be an integer"),
        ("width", "many", "width for fake must be an integer"),
        ("width", "", "width for fake must be an integer"),
        ("width", "0", "width is at least 1, not 0"),
        ("rate", "fast", "rate for fake must be a finite number"),
        ("rate", "nan", "rate"),
        ("rate", "inf", "rate"),
        ("fast", "1", "true or false"),
        ("shape", "sqare", "Did you mean 'square'"),
        ("cap", "x", "cap for fake must be an integer"),
        ("widht", "3", "Did you mean 'width'"),
        ("preset", "hug", "Did you mean 'huge'"),
    ],
)
def test_a_value_that_is_none(key: str, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        configured(**{key: text})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[any]\nwidth = 3", r"fake\.toml: any: .*evidence"),
        ("[any", "not valid TOML"),
        ("any = 3", r"fake\.toml: .*expected table"),
        ("[any]\nevidence = 'x'\ndepth = 3", "'depth' in the preset 'any' of fake"),
        ("[any]\nevidence = 'x'\nwidth = 0", "width is at least 1"),
        ("[any]\nevidence = 'x'\nwidth = 'wide'", "width"),
        ("[any]\nevidence = 'x'\nwidth = 1.5", "width"),
        ("[any]\nevidence = 'x'\nshape = 'oval'", "shape"),
    ],
)
def test_a_preset_file_that_is_wrong(toml: Path, text: str, words: str) -> None:
    toml.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        configured()


def test_a_whole_number_in_a_preset_is_the_same_run_as_the_users(toml: Path) -> None:
    """`rate = 1` in a file and `--set rate=1` are one value, so that they have one key."""
    toml.write_text("[any]\nevidence = 'x'\nrate = 1", encoding="utf-8")
    assert repr(configured()[0]) == repr(configured(rate="1")[0])


def share(*assignments: str) -> dict[str, dict[str, str]]:
    return presets.share(assignments, ["fake", "other"])


def test_sharing_out() -> None:
    assert share() == {"fake": {}, "other": {}}
    assert share("width=3") == {"fake": {"width": "3"}, "other": {"width": "3"}}
    assert share("depth=3") == {"fake": {}, "other": {"depth": "3"}}
    assert share("fake.width=3") == {"fake": {"width": "3"}, "other": {}}
    assert share("width=3", "other.width=4") == {"fake": {"width": "3"}, "other": {"width": "4"}}
    assert share("fake.preset=huge") == {"fake": {"preset": "huge"}, "other": {}}
    assert share("shape=a=b")["fake"] == {"shape": "a=b"}


def test_a_methods_own_setting_wins_over_the_general_one() -> None:
    expected = {"fake": {"width": "3"}, "other": {"width": "4"}}
    assert share("other.width=4", "width=3") == share("width=3", "other.width=4") == expected


@pytest.mark.parametrize(
    "assignments",
    [
        ("width=3", "width=4"),
        ("fake.width=3", "rate=1", "fake.width=4"),
        ("preset=any", "preset=huge"),
    ],
)
def test_two_values_for_one_key_are_refused(assignments: tuple[str, ...]) -> None:
    first, *_, last = (each.partition("=")[2] for each in assignments)
    with pytest.raises(UsageError, match=f"fake: {first} and {last}"):
        share(*assignments)
    assert share(assignments[0], assignments[0]) == share(assignments[0])


def test_what_is_given_beside_a_study_wins_over_its_settings() -> None:
    def both(settings: list[str], given: list[str]) -> dict[str, dict[str, str]]:
        return share(*presets.merged(settings, given, ["fake", "other"]))

    assert both(["width=3", "rate=1"], []) == share("width=3", "rate=1")
    assert both(["width=3", "rate=1"], ["width=4"]) == share("rate=1", "width=4")
    assert both(["fake.width=3", "depth=1"], ["width=4"]) == share("depth=1", "width=4")
    assert both(["width=3"], ["other.width=4"]) == share("width=3", "other.width=4")
    with pytest.raises(UsageError, match="3 and 4"):
        both([], ["width=3", "width=4"])


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("width", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("widht=3", "Did you mean 'width'"),
        ("faek.width=3", "Did you mean 'fake'"),
    ],
)
def test_an_assignment_for_nobody(assignment: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        share(assignment)


def test_a_scoped_assignment_of_another_methods_key() -> None:
    with pytest.raises(UsageError, match="Unknown hyper-parameter 'depth' for fake"):
        presets.configure("fake", "moons", 2, share("fake.depth=3")["fake"])
