"""`bench check` as a maintainer has it: the study is run, written down, and found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Bench

STUDY = """\
methods = ["flow-matching"]
datasets = ["own.csv"]
seeds = [0]
minibatches = 12
batch_size = 64
settings = ["width=8"]

[judge]
test_rows = 50
error_rows = 20
integral_cells = 16
mmd_n = 50
permutations = 19
validations = 1
validation_rows = 50
"""


@pytest.mark.timeout(900)
def test_a_clean_tree_passes_and_a_better_past_does_not(
    bench: Bench, own_table: str, tmp_path: Path
) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    common = ("--study", "study.toml", "--baseline", "base.json")
    made = bench("check", *common, "--update", "--seeds", "2")
    assert made.returncode == 0, made.stderr
    content = json.loads((tmp_path / "base.json").read_text())
    del content["digest"]  # it is edited below
    (cell,) = content["cells"]
    assert cell["seeds"] == [0, 1]
    assert cell["settings"] == {"width": 8}
    assert all(step > 0 for step in cell["figures"]["step"])
    assert content["environment"]["threads"] == 1
    assert not list(tmp_path.glob("results*")), "nothing is left but what was asked for"

    clean = bench("check", *common, "--results", "kept")
    assert clean.returncode == 0, clean.stdout
    assert "to the bit" in clean.stdout
    assert len(list((tmp_path / "kept").glob("*/record.json"))) == 1

    cell["figures"]["nll"] = [nll - 1e-6 for nll in cell["figures"]["nll"]]
    (tmp_path / "base.json").write_text(json.dumps(content))
    worse = bench("check", *common, "--results", "kept", "--no-run")
    assert worse.returncode == 1
    assert "flow-matching (width=8) on own" in worse.stdout.splitlines()[0]
