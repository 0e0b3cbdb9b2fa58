"""The file of a baseline: written, read, compared by diff; a bad one gets one error."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError, UsageError
from bench.gate.baseline import Unreadable, chosen, joined, read, text

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


def test_a_change_of_a_figure_is_a_change_of_a_line() -> None:
    changed = dataclasses.replace(baseline(), measured=measured(8, {"nll": 1.5}))
    lines = [text(each).splitlines() for each in (baseline(), changed)]
    diff = [
        d
        for d in difflib.unified_diff(*lines, n=0)
        if d[:1] in "+-" and d[:3] not in ("+++", "---")
    ]
    assert [d.split(":")[0] for d in diff] == ['-    "nll"', '+    "nll"']


def test_numbers_keep_their_bits(tmp_path: Path) -> None:
    value = 0.1 + 0.2
    path = tmp_path / "b.json"
    path.write_text(text(dataclasses.replace(baseline(), measured=measured(8, {"nll": value}))))
    (cell,) = chosen(read(path).measured, ["ffjord"], ["moons"]).cells
    assert {run.figures["nll"] for run in cell.runs.values()} == {value}


def test_a_part_takes_the_place_of_its_like() -> None:
    new = chosen(measured(8, {"nll": 1.5}), ["ffjord"])
    both = joined(baseline(), new)
    assert sorted(c.name for c in both.cells) == sorted(c.name for c in measured(8).cells)
    (cell,) = chosen(both, ["ffjord"], ["moons"]).cells
    assert cell.runs[0].figures["nll"] == 1.5
    with pytest.raises(UsageError, match="arithmetic ba9876543210, not 0123456789ab"):
        joined(baseline(), elsewhere(new))
    whole = elsewhere(measured(8))
    assert joined(baseline(), whole) == whole


Break = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("break_", "says"),
    [
        (lambda b: b.pop("format"), "layout None"),
        (lambda b: b.update(format=0), "layout 0"),
        (lambda b: b.pop("cells"), "lacks 'cells'"),
        (lambda b: b["environment"].pop("threads"), "lacks 'threads'"),
        (lambda b: b["environment"]["packages"].pop("torch"), "lacks 'torch'"),
        (lambda b: b["cells"].append(b["cells"][0]), "twice"),
        (lambda b: b["cells"][0].pop("dataset"), "lacks 'dataset'"),
        (lambda b: b["cells"][0]["seeds"].pop(), "8 values for 7 seeds"),
        (lambda b: b["cells"][0].update(seeds=[0] * 8), "one of them twice"),
        (lambda b: b["cells"][0]["figures"].update(nll=["2"] * 8), "no number"),
        (lambda b: b["cells"][0]["figures"].update(nll=[float("nan")] * 8), "no number"),
        (lambda b: b["cells"][0]["figures"].update(nll=2.0), "no list"),
        (lambda b: b["cells"][0]["figures"].update(nlll=[2.0] * 8), "no figure 'nlll'"),
        (lambda b: b["cells"][0].update(minibatches="100"), "no whole number"),
    ],
)
def test_a_file_that_is_not_what_was_written(file: Path, break_: Break, says: str) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    break_(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(Unreadable) as error:
        read(file)
    assert says in str(error.value)
    assert "--update" in error.value.remedy
    assert error.value.exit_code == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'"text"'])
def test_a_file_that_is_no_baseline(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(Unreadable):
        read(file)


def test_one_of_a_newer_program_and_one_that_is_not_there(file: Path, tmp_path: Path) -> None:
    file.write_text(json.dumps({"format": 2}))
    with pytest.raises(DataError, match="Install a newer") as error:
        read(file)
    assert not isinstance(error.value, Unreadable)
    with pytest.raises(UsageError, match="There is no baseline"):
        read(tmp_path / "none.json")
    with pytest.raises(DataError, match="can't be read"):
        read(tmp_path)
