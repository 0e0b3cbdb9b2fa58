"""The key of a run: it changes with what determines the result, and with nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from bench.records.spec import Judge, RunSpec

SPEC = RunSpec(
    method="gaussian",
    version="0123456789ab",
    config={"ridge": 1e-6, "name": "x"},
    dataset="/data/my table.csv",
    label="my table.csv",
    revision="ba9876543210",
    minibatches=10,
    batch_size=5,
    seed=3,
)

IRRELEVANT: dict[str, Any] = {
    "dataset": "elsewhere/my table.csv",
    "preset": "2-D",
    "settings": {"ridge": 1e-6},
    "budget": "quick",
    "data_root": "/elsewhere",
    "timeout": 5.0,
    "include": ("/elsewhere/my_flow.py",),
}

RELEVANT: dict[str, Any] = {
    "method": "ffjord",
    "version": "x",
    "config": {"ridge": 2e-6, "name": "x"},
    "label": "other.csv",
    "revision": "x",
    "minibatches": 11,
    "batch_size": 6,
    "seed": 4,
    "device": "cuda",
    "judge": Judge(rtol=1e-6),
    "metrics": {"my-metric": "x"},
    "compile": True,
}


def test_every_field_is_one_or_the_other() -> None:
    assert {f.name for f in fields(RunSpec)} == IRRELEVANT.keys() | RELEVANT.keys()


@pytest.mark.parametrize("name", IRRELEVANT)
def test_the_key_is_stable(name: str) -> None:
    other = replace(SPEC, **{name: IRRELEVANT[name]})
    assert other != SPEC
    assert (other.key, other.run) == (SPEC.key, SPEC.run)


@pytest.mark.parametrize("name", RELEVANT)
def test_the_key_changes(name: str) -> None:
    other = replace(SPEC, **{name: RELEVANT[name]})
    assert other.key != SPEC.key
    assert other.run != SPEC.run


@pytest.mark.parametrize("name", [f.name for f in fields(Judge)])
def test_the_key_changes_with_every_setting_of_the_judge(name: str) -> None:
    value = getattr(Judge(), name)
    other = "float64" if name == "dtype" else value * 2
    assert replace(SPEC, judge=replace(Judge(), **{name: other})).key != SPEC.key


def test_the_key_does_not_depend_on_the_order_of_hyper_parameters() -> None:
    assert replace(SPEC, config={"name": "x", "ridge": 1e-6}).key == SPEC.key


def test_the_key_of_a_run_that_was_made_before_some_fields_were_there() -> None:
    assert SPEC.key == "cbe5175380ecaef42de8fd327912b80f6367a4b204ea7a32cf36552073c9d95b"


def test_the_key_is_a_hash() -> None:
    """Not Python's own, which differs from process to process."""
    assert len(SPEC.key) == 64
    assert int(SPEC.key, 16)


def test_a_runs_name_is_a_folders_name() -> None:
    assert SPEC.run == f"gaussian-my-table.csv-s3-{SPEC.key[:8]}"
    assert "/" not in replace(SPEC, label="../a/b\\c:d*?").run


def test_the_names_of_runs_that_were_made_stay_theirs() -> None:
    """Names from before keys were computed as they are now: a record is found by its name."""
    spec = replace(SPEC, judge=Judge(metrics_version=4))
    assert spec.key == "cbe5175380ecaef42de8fd327912b80f6367a4b204ea7a32cf36552073c9d95b"
    other = RunSpec(
        method="flow-matching",
        version="0123456789ab",
        config={"width": 64, "sigma": 0.1, "cap": None, "fast": True, "sizes": (1, 2)},
        dataset="moons",
        label="moons",
        revision="ba9876543210",
        minibatches=500,
        batch_size=256,
        seed=0,
        device="cuda",
        judge=Judge(test_rows=5_000, rtol=1e-6, metrics_version=4),
    )
    assert other.run == "flow-matching-moons-s0-3bd1324d"
