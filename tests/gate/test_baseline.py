"""The file of a baseline: written, read, compared by diff; a damaged one is one error."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError, UsageError
from bench.gate.baseline import Unreadable, joined, read, text

from .made import baseline, elsewhere, measured


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "check.json"
    path.write_text(text(baseline()), encoding="utf-8")
    return path


def test_what_is_written_is_read(file: Path) -> None:
    assert read(file) == baseline()
    assert text(read(file)) == file.read_text(encoding="utf-8")
    assert json.loads(file.read_text(encoding="utf-8"))["format"] == 1


def test_a_changed_number_is_a_changed_line() -> None:
    changed = dataclasses.replace(measured(8, {"nll": 1.5}), made=baseline().made)
    before, after = (text(each).splitlines() for each in (baseline(), changed))
    diff = [
        d
        for d in difflib.unified_diff(before, after, n=0)
        if d[:1] in "+-" and d[:3] not in ("+++", "---")
    ]
    digest = ['- "digest"', '+ "digest"']
    assert [d.split(":")[0] for d in diff] == ['-    "nll"', '+    "nll"', *digest]


def test_numbers_keep_their_bits(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    path = tmp_path / "b.json"
    path.write_text(text(measured(8, {"nll": value})))
    (cell,) = read(path).part(["ffjord"], ["moons"]).cells
    assert cell.figures["nll"] == [value] * 8


def test_a_part_replaces_its_cells() -> None:
    new = measured(8, {"nll": 1.5}).part(["ffjord"])
    both = joined(baseline(), new)
    assert sorted(c.name for c in both.cells) == sorted(c.name for c in measured(8).cells)
    (cell,) = both.part(["ffjord"], ["moons"]).cells
    assert cell.values("nll")[0] == 1.5
    with pytest.raises(UsageError, match="ba9876543210"):
        joined(baseline(), elsewhere(new))
    whole = elsewhere(measured(8))
    assert joined(baseline(), whole) == whole


Break = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("break_", "named"),
    [
        (lambda b: b.pop("format"), "None"),
        (lambda b: b.update(format=0), "0"),
        (lambda b: b.pop("cells"), "cells"),
        (lambda b: b["environment"].pop("device"), "device"),
        (lambda b: b["environment"].update(threads="1"), "threads"),
        (lambda b: b["environment"]["packages"].update(torch=2.13), "packages"),
        (lambda b: b["cells"].append(b["cells"][0]), "twice"),
        (lambda b: b["cells"][0].pop("dataset"), "dataset"),
        (lambda b: b["cells"][0]["seeds"].pop(), "7 seeds"),
        (lambda b: b["cells"][0].update(seeds=[0] * 8), "ffjord on digits"),
        (lambda b: b["cells"][0]["figures"].update(nll=["2"] * 8), "figures"),
        (lambda b: b["cells"][0]["figures"].update(nll=[True] * 8), "figures"),
        (lambda b: b["cells"][0]["figures"].update(nll=2.0), "figures"),
        (lambda b: b["cells"][0]["figures"].update(nlll=[2.0] * 8), "'nlll'"),
        (lambda b: b["cells"][0].update(minibatches="100"), "minibatches"),
    ],
)
def test_a_damaged_baseline_names_what_is_wrong(file: Path, break_: Break, named: str) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["digest"]
    break_(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(Unreadable) as error:
        read(file)
    assert named in error.value.problem.removeprefix(f"The baseline {file} ")
    assert "--update" in error.value.remedy
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 9_000, b'{"format": NaN}', b"[]", b"\xff", b'"text"']
)
def test_another_file_is_no_baseline(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(Unreadable):
        read(file)


def test_a_newer_layout_and_a_missing_file(file: Path, tmp_path: Path) -> None:
    file.write_text(json.dumps({"format": 2}))
    with pytest.raises(DataError, match="layout 2") as error:
        read(file)
    assert not isinstance(error.value, Unreadable)
    with pytest.raises(UsageError, match=r"none\.json"):
        read(tmp_path / "none.json")
    with pytest.raises(DataError, match=tmp_path.name):
        read(tmp_path)
