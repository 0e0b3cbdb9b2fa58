"""The array cache: quick, whole or not there, and never wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.api.dataset import Dataset, Source, Splits
from bench.data import arrays
from bench.data.arrays import load
from bench.errors import DataError
from bench_datasets.bsds300 import read_stored
from bench_datasets.own_table import from_path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/arrays"


@pytest.fixture
def table(tmp_path: Path) -> Dataset:
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(100, 3)))
    return from_path(tmp_path / "table.npy")


def entries(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def made(**splits: np.ndarray) -> Dataset:
    good = np.random.default_rng(0).random((10, 2), dtype=np.float32)
    whole = {"train": good, "validation": good + 1, "test": good + 2} | splits
    source = Source(lambda root: Splits(**whole), "generated", "made here")
    return Dataset("made", 2, "Made here", (source,))


def test_cached_rows_are_mapped(table: Dataset, cache: Path) -> None:
    splits = table.sources[0].read(Path())
    for loaded in (load(table, Path()), load(table, Path())):
        for name in arrays.SPLITS:
            rows = getattr(loaded, name)
            assert isinstance(rows, np.memmap)
            assert not rows.flags.writeable
            np.testing.assert_array_equal(rows, getattr(splits, name))
        assert loaded.notes == splits.notes
    assert len(entries(cache)) == 1


def test_revision_is_a_hash_of_the_rows(table: Dataset) -> None:
    loaded = load(table, Path())
    digest = hashlib.sha256()
    for name in ("train", "validation", "test"):
        rows = np.array(getattr(loaded, name))
        digest.update(f"{name} {rows.shape} ".encode() + rows.tobytes())
    assert loaded.revision == digest.hexdigest()[:12]


def test_revision_sees_each_value_and_where_a_split_ends() -> None:
    rows = np.arange(24, dtype=np.float32).reshape(12, 2)
    cuts = [Splits(rows[:a], rows[a:b], rows[b:]) for a, b in ((4, 8), (5, 8), (4, 9))]
    other = rows.copy()
    other[7, 1] = np.nextafter(other[7, 1], 99)
    cuts.append(Splits(other[:4], other[4:8], other[8:]))
    assert len({arrays.revision(splits) for splits in cuts}) == 4


def test_a_million_rows_are_verified_within_a_second(tmp_path: Path) -> None:
    file = "BSDS300/BSDS300.hdf5"
    (tmp_path / file).parent.mkdir()
    with h5py.File(tmp_path / file, "w") as stored:
        stored["train"] = np.random.default_rng(0).random((1_000_000, 63), dtype=np.float32)
        stored["validation"] = stored["test"] = np.ones((5, 63), dtype=np.float32)
    dataset = Dataset("large", 63, "Large", (Source(read_stored, "whole", "here", (file,)),))
    first = load(dataset, tmp_path).revision
    arrays._sha256.cache_clear()  # as in another process
    start = time.process_time()
    second = load(dataset, tmp_path)
    assert time.process_time() - start < 1
    assert second.revision == first
    assert second.train.shape == (1_000_000, 63)


def cut_short(entry: Path) -> None:
    os.truncate(entry / "train.npy", (entry / "train.npy").stat().st_size - 1)


def grown(entry: Path) -> None:
    with open(entry / "test.npy", "ab") as file:
        file.write(b"x")


def emptied(entry: Path) -> None:
    (entry / "train.npy").write_bytes(b"")


def garbled(entry: Path) -> None:
    content = (entry / "test.npy").read_bytes()
    (entry / "test.npy").write_bytes(b"\0" * 80 + content[80:])


def other_dtype(entry: Path) -> None:
    np.save(entry / "test.npy", np.load(entry / "test.npy").view(np.int32))


def no_split(entry: Path) -> None:
    (entry / "validation.npy").unlink()


def no_card(entry: Path) -> None:
    (entry / "card.json").unlink()


def half_card(entry: Path) -> None:
    (entry / "card.json").write_text((entry / "card.json").read_text()[:50])


def other_card(entry: Path) -> None:
    (entry / "card.json").write_text("[]")


@pytest.mark.parametrize(
    "damage",
    [
        *(cut_short, grown, emptied, garbled, other_dtype),
        *(no_split, no_card, half_card, other_card),
    ],
)
@pytest.mark.filterwarnings("ignore:The cached rows")
def test_a_damaged_cache_entry_is_replaced(
    table: Dataset, cache: Path, damage: Callable[[Path], None]
) -> None:
    good = load(table, Path())
    expected = {name: np.array(getattr(good, name)) for name in arrays.SPLITS}
    (entry,) = entries(cache)
    damage(entry)
    again = load(table, Path())
    assert again.revision == good.revision
    for name, rows in expected.items():
        np.testing.assert_array_equal(getattr(again, name), rows)
    assert entries(cache) == [entry]


def flipped_rows(entry: Path) -> None:
    """One bit of the exponents of one value in twenty rows: every value is finite."""
    rows = np.load(entry / "test.npy", mmap_mode="r+").view(np.int32)
    rows[::20, 0] ^= 1 << 24


def flipped_end(entry: Path) -> None:
    content = bytearray((entry / "validation.npy").read_bytes())
    content[-4] ^= 1
    (entry / "validation.npy").write_bytes(content)


def other_means(entry: Path) -> None:
    card = (entry / "card.json").read_text()
    (entry / "card.json").write_text(re.sub(r'"mean": \[\s*', lambda m: f"{m[0]}1", card))


@pytest.mark.parametrize("damage", [flipped_rows, flipped_end, other_means, garbled])
def test_damaged_rows_are_read_again_with_a_note(
    table: Dataset, cache: Path, damage: Callable[[Path], None]
) -> None:
    good = load(table, Path())
    expected = np.array(good.test)
    (entry,) = entries(cache)
    content = {path: path.read_bytes() for path in entry.iterdir()}
    damage(entry)
    assert content != {path: path.read_bytes() for path in entry.iterdir()}
    arrays._sha256.cache_clear()  # as in another process
    assert arrays.is_new(table, Path())
    with pytest.warns(UserWarning, match=r"cached rows of 'table\.npy' .* damaged") as caught:
        again = load(table, Path())
    assert len(caught) == 1
    assert (again.revision, again.notes) == (good.revision, good.notes)
    np.testing.assert_array_equal(again.test, expected)
    assert not arrays.is_new(table, Path())


def test_an_entry_without_digests_is_made_again_in_silence(
    table: Dataset, cache: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Former versions wrote none."""
    before = load(table, Path()).revision
    (entry,) = entries(cache)
    card = json.loads((entry / "card.json").read_text())
    assert card.pop("sha256").keys() == {*arrays.SPLITS, "card"}
    (entry / "card.json").write_text(json.dumps(card))
    assert load(table, Path()).revision == before
    assert "sha256" in json.loads((entry / "card.json").read_text())
    assert not recwarn.list


def test_rows_are_verified_once_in_a_process(
    table: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(table, Path())
    read = hashlib.file_digest
    digested = []
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: digested.append(1) or read(*a))
    load(table, Path())
    assert not digested
    arrays._sha256.cache_clear()
    load(table, Path())
    load(table, Path())
    assert len(digested) == 3


def test_rows_are_read_into_memory_without_a_writable_cache(
    table: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = load(table, Path())
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "a file"))
    with pytest.warns(UserWarning, match="a file/arrays .*BENCH_CACHE") as caught:
        loaded = load(table, Path())
    assert len(caught) == 1
    assert loaded.revision == cached.revision
    np.testing.assert_array_equal(loaded.train, cached.train)
    assert not loaded.train.flags.writeable


def test_a_full_disk_leaves_nothing(
    table: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(UserWarning, match="No space left"):
        loaded = load(table, Path())
    assert loaded.train.shape == (80, 3)
    assert entries(cache) == []


def test_a_reader_that_fails_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    np.save(tmp_path / "bad.npy", np.ones((100, 2)))
    with pytest.raises(DataError):
        load(from_path(tmp_path / "bad.npy"), Path())
    assert entries(cache) == []


#: Loads the table that it is given; prints its revision.
LOAD = """
import sys
from pathlib import Path
from bench.data import arrays
from bench_datasets.own_table import from_path
print(arrays.load(from_path(Path(sys.argv[1])), Path()).revision)
"""


def test_many_processes_at_once(table: Dataset, tmp_path: Path, cache: Path) -> None:
    command = [sys.executable, "-P", "-c", LOAD, str(tmp_path / "table.npy")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    revisions = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert revisions == {load(table, Path()).revision}
    assert len(entries(cache)) == 1


FLOATS = np.random.default_rng(1).random((10, 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train": FLOATS.astype(np.float64)}, "float32.*train split.*float64"),
        ({"test": FLOATS[:, :1]}, r"\(n, 2\).*test split.*\(10, 1\)"),
        ({"validation": FLOATS[:0]}, r"validation split.*\(0, 2\)"),
        ({"train": FLOATS[0]}, "train split"),
        (
            {"train": np.where(np.isclose(FLOATS, FLOATS[3, 1]), np.float32(np.nan), FLOATS)},
            "row 3, column 1",
        ),
        (
            {"test": np.where(np.isclose(FLOATS, FLOATS[9, 0]), np.float32(np.inf), FLOATS)},
            "inf .*row 9, col",
        ),
    ],
)
def test_bad_rows_are_refused_with_their_place(splits: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load(made(**splits), Path())


def test_a_bad_value_far_down_is_found() -> None:
    rows = np.zeros((9_000_000, 2), dtype=np.float32)
    rows[8_999_999, 1] = np.nan
    with pytest.raises(DataError, match="row 8999999, column 1"):
        load(made(train=rows), Path())
