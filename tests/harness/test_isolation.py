"""A method that reaches for the test split while it learns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from bench.api.method import ContractBroken
from bench.training.loop import blocked


@pytest.fixture
def split(tmp_path: Path) -> Path:
    path = tmp_path / "arrays" / "moons-0" / "test.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.arange(6.0))
    return path


@pytest.mark.parametrize("how", ["open", "read", "load", "map", "relative", "link"])
def test_no_way_of_opening_a_blocked_file(
    split: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    for paths in ((split.parent.parent, []), (split.parent.parent / "other", [split])):
        with pytest.raises(ContractBroken, match=r"opened .*test\.npy"), blocked(*paths):
            ways[how]()


def test_mapped_rows_and_other_files_stay_readable(split: Path, tmp_path: Path) -> None:
    mapped = np.load(split, mmap_mode="r")
    (tmp_path / "arrays-of-others").write_text("x", encoding="utf-8")
    beside = split.with_name("test.npy.md5")
    beside.write_text("y", encoding="utf-8")
    with blocked(tmp_path / "other", [split]):
        assert beside.read_text(encoding="utf-8") == "y"
    with blocked(split.parent.parent, []):
        assert mapped.sum() == 15
        assert (tmp_path / "arrays-of-others").read_text(encoding="utf-8") == "x"


def test_files_can_be_opened_again_afterwards(split: Path) -> None:
    with pytest.raises(RuntimeError, match="within"), blocked(split.parent, []):
        raise RuntimeError("within")
    assert np.load(split).sum() == 15


def test_nested_blocks_end_one_by_one(split: Path, tmp_path: Path) -> None:
    def both() -> None:
        with blocked(split.parent, []):
            with pytest.raises(ContractBroken), blocked(tmp_path / "other", []):
                np.load(split)
            np.load(split)

    with pytest.raises(ContractBroken, match=r"test\.npy"):
        both()
    assert np.load(split).sum() == 15


def test_a_method_that_catches_it_is_found_out_at_the_end(split: Path) -> None:
    caught = pytest.raises(ContractBroken, match=r"opened .*test\.npy")
    with caught, blocked(split.parent, []), suppress(Exception):
        np.load(split)
    with blocked(split.parent, []):  # it is not held against the next one
        pass
