"""Metrics as plug-ins: what they are given, where their values go, and how they fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data import arrays
from bench.errors import UsageError
from bench.evaluation.flow import pick
from bench.records import catalogue, store
from bench.records.frame import records
from bench.records.spec import RunSpec
from bench.registry import plugins
from bench.study.planning import plan
from bench.training.run import execute, load_flow

from .small import two_methods

SOURCE = '''
"""A metric."""
from bench.api.declarations import Column, Metric

def shift(given):
    assert given.test.shape == given.held_out.shape == given.samples.shape
    nll = -given.log_prob(given.test).mean()
    return {"mean_shift": float((given.samples - given.test).mean(0).norm()), "nll_again": nll}

SHIFT = Metric("mean-shift", shift, (
    Column("mean_shift", "Distance of the means.", ("metrics", "mean_shift"), title="mean shift"),
    Column("nll_again", "NLL of those rows.", ("metrics", "nll_again")),
))
'''


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)
    plugins._included.clear()
    plugins.forget()


def planned(tmp_path: Path, source: str = SOURCE) -> RunSpec:
    """The floor on a small table, with the metric of this source."""
    file = tmp_path / "shift.py"
    file.write_text(source, encoding="utf-8")
    study = replace(two_methods(tmp_path), methods=("gaussian",), settings=(), include=(str(file),))
    return plan(study, tmp_path / "runs", tmp_path).runs[0]


def test_its_values_are_in_the_record_and_the_frame(tmp_path: Path) -> None:
    spec = planned(tmp_path)
    execute(spec, tmp_path / "runs", lambda event: None)
    record = store.read(tmp_path / "runs", spec.run)
    assert record is not None
    assert (record.status, record.reason) == ("ok", None)
    kept = np.load(tmp_path / "runs" / spec.run / "samples.npz")
    frame = records(tmp_path / "runs")
    assert frame["mean_shift"][0] == record.metrics["mean_shift"] > 0
    data = arrays.load(plugins.dataset(spec.dataset), tmp_path)
    test = torch.from_numpy(np.array(pick(data.test, len(kept["samples"]), spec.judge.seed)))
    nll = -load_flow(record, tmp_path / "runs").log_prob(test).mean().item()
    assert record.metrics["nll_again"] == pytest.approx(nll, rel=1e-5)
    assert frame["mean_shift"][0] == pytest.approx(
        np.linalg.norm((kept["samples"] - test.numpy()).mean(0)), rel=1e-5
    )
    assert record.metric_versions.keys() == {"mean-shift"}
    assert catalogue.measures()["mean_shift"].doc == "Distance of the means."


def test_it_is_part_of_the_key_and_nothing_else_is(tmp_path: Path) -> None:
    spec = planned(tmp_path)
    assert replace(spec, metrics={}).key != spec.key
    plugins._included.clear()
    plugins.forget()
    study = replace(two_methods(tmp_path), methods=("gaussian",), settings=())
    bare = plan(study, tmp_path / "runs", tmp_path).runs[0]
    assert bare.key == replace(spec, metrics={}).key


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ('nll_again": nll}', 'other": nll}', "other"),
        ('nll_again": nll}', "nll_again\": 'much'}", "ValueError"),
        ("nll = -", "1 / 0; nll = -", "ZeroDivisionError"),
        ('nll_again": nll}', 'nll_again": float("nan")}', "nll_again is nan"),
    ],
)
def test_one_that_fails_is_named_in_the_record(
    tmp_path: Path, before: str, after: str, named: str
) -> None:
    spec = planned(tmp_path, SOURCE.replace(before, after))
    execute(spec, tmp_path / "runs", lambda event: None)
    record = store.read(tmp_path / "runs", spec.run)
    assert record is not None
    assert record.status == "error"
    assert record.reason is not None
    assert "mean-shift" in record.reason
    assert named in record.reason


def test_a_column_that_exists_is_refused(tmp_path: Path) -> None:
    planned(tmp_path, SOURCE.replace("nll_again", "nll"))
    with pytest.raises(UsageError, match=r"'mean-shift'.*'nll'"):
        catalogue.columns()


def test_one_that_edits_its_samples_changes_nothing_that_is_kept(tmp_path: Path) -> None:
    kept = []
    for source in (SOURCE, SOURCE.replace("    nll = -", "    given.samples.zero_()\n    nll = -")):
        spec = planned(tmp_path, source)
        execute(spec, tmp_path / "runs", lambda event: None)
        kept.append(np.load(tmp_path / "runs" / spec.run / "samples.npz")["samples"])
    assert kept[1].any()
    np.testing.assert_array_equal(*kept)
