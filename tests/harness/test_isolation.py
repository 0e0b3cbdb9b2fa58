"""A method that reaches for the test split while it learns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from bench.api.method import ContractBroken
from bench.training.isolation import sealed


@pytest.fixture
def split(tmp_path: Path) -> Path:
    path = tmp_path / "arrays" / "moons-0" / "test.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.arange(6.0))
    return path


@pytest.mark.parametrize("how", ["open", "read", "load", "map", "relative", "link"])
def test_no_way_in(split: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(split.parent)
    link = split.parent.parent.parent / "elsewhere.npy"
    link.symlink_to(split)
    ways: dict[str, Callable[[], object]] = {
        "open": lambda: split.open("rb").close(),
        "read": split.read_bytes,
        "load": lambda: np.load(split),
        "map": lambda: np.load(split, mmap_mode="r"),
        "relative": lambda: Path("../moons-0/test.npy").read_bytes(),
        "link": link.read_bytes,
    }
    for shut in ((split.parent.parent, []), (split.parent.parent / "other", [split])):
        with pytest.raises(ContractBroken, match=r"opened .*test\.npy"), sealed(*shut):
            ways[how]()


def test_what_was_mapped_before_and_other_files_stay_readable(split: Path, tmp_path: Path) -> None:
    mapped = np.load(split, mmap_mode="r")
    (tmp_path / "arrays-of-others").write_text("x", encoding="utf-8")
    beside = split.with_name("test.npy.md5")
    beside.write_text("y", encoding="utf-8")
    with sealed(tmp_path / "other", [split]):
        assert beside.read_text(encoding="utf-8") == "y"
    with sealed(split.parent.parent, []):
        assert mapped.sum() == 15
        assert (tmp_path / "arrays-of-others").read_text(encoding="utf-8") == "x"


def test_afterwards_it_is_open_again(split: Path) -> None:
    with pytest.raises(RuntimeError, match="within"), sealed(split.parent, []):
        raise RuntimeError("within")
    assert np.load(split).sum() == 15


def test_a_seal_within_a_seal(split: Path, tmp_path: Path) -> None:
    def both() -> None:
        with sealed(split.parent, []):
            with pytest.raises(ContractBroken), sealed(tmp_path / "other", []):
                np.load(split)
            np.load(split)

    with pytest.raises(ContractBroken, match=r"test\.npy"):
        both()
    assert np.load(split).sum() == 15


def test_a_method_that_catches_it_is_found_out_at_the_end(split: Path) -> None:
    caught = pytest.raises(ContractBroken, match=r"opened .*test\.npy")
    with caught, sealed(split.parent, []), suppress(Exception):
        np.load(split)
    with sealed(split.parent, []):  # it is not held against the next one
        pass
