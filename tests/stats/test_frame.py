"""The frame of runs and its summary, against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import DataError
from bench.records.catalogue import columns
from bench.records.frame import records, summary

Write = Callable[..., str]


def test_no_folder_gives_an_empty_frame_with_all_columns(results: Path) -> None:
    frame = records(results)
    assert len(frame) == 0
    recorded = [column.name for column in columns().values() if column.path]
    assert [name for name in frame.columns if columns()[name].path] == recorded
    assert len(summary(frame)) == 0
    assert {"n_ok", "n_runs", "nll_mean", "nll_sd"} <= set(summary(frame).columns)


def test_one_row_a_run_failed_ones_too(results: Path, write: Write) -> None:
    write("flow-matching", "moons", 0, nll=1.25)
    write("flow-matching", "moons", 1, status="diverged", reason="not finite")
    frame = records(results)
    assert list(frame["status"]) == ["ok", "diverged"]
    assert frame["nll"].iloc[0] == 1.25
    failed = frame.iloc[1]
    assert failed["reason"] == "not finite"
    assert math.isnan(failed["nll"])
    for column in ("minibatches", "peak_gpu_bytes", "nll_rows", "samples_seen", "hardware"):
        assert failed[column] is pd.NA, column
    assert failed["planned_minibatches"] == 300


def test_what_rounding_makes_of_equal_values_is_no_spread(results: Path, write: Write) -> None:
    for seed, tau in enumerate((3.19e-3, math.nextafter(3.19e-3, 1), 3.19e-3)):
        write("flow-matching", "moons", seed, tau_m=tau, nll=1 + 1e-9 * seed)
    (row,) = summary(records(results)).to_dict("records")
    assert row["tau_m_sd"] == 0
    assert row["nll_sd"] == pytest.approx(1e-9, rel=1e-3)


def test_dtypes(results: Path, write: Write) -> None:
    write("flow-matching", "moons")
    frame = records(results)
    assert str(frame["run"].dtype) == str(frame["reason"].dtype) == "string"
    assert str(frame["seed"].dtype) == str(frame["peak_gpu_bytes"].dtype) == "Int64"
    assert str(frame["nll"].dtype) == str(frame["entropy"].dtype) == "float64"
    assert str(frame["subset"].dtype) == "boolean"


def test_memory_is_that_of_the_device(results: Path, write: Write) -> None:
    write("flow-matching", "moons", 0, cost__peak_rss_bytes=7, cost__peak_gpu_bytes=None)
    write(
        "flow-matching",
        "moons",
        1,
        environment__device="cuda",
        cost__peak_rss_bytes=7,
        cost__peak_gpu_bytes=5,
    )
    assert list(records(results)["memory_bytes"]) == [7, 5]


def test_means_and_deviations_by_hand(results: Path, write: Write) -> None:
    for seed, nll in enumerate((1.0, 2.0, 4.0)):
        write("flow-matching", "moons", seed, nll=nll, cost__train_seconds=10.0 * seed)
    row = summary(records(results)).iloc[0]
    assert (row["n_ok"], row["n_runs"]) == (3, 3)
    assert row["nll_mean"] == pytest.approx(7 / 3)
    # squared deviations 16/9, 1/9, 25/9; their sum over 3 - 1 is 7/3
    assert row["nll_sd"] == pytest.approx(math.sqrt(7 / 3))
    assert row["train_seconds_mean"] == pytest.approx(10)
    assert row["train_seconds_sd"] == pytest.approx(10)


def test_a_failed_seed_is_counted_and_not_averaged(results: Path, write: Write) -> None:
    write("flow-matching", "moons", 0, nll=1.0)
    # what a run leaves that fails half-way, a metric included
    write(
        *("flow-matching", "moons", 1),
        status="timeout",
        nll=100.0,
        training__minibatches=17,
        method__params=None,
    )
    write("flow-matching", "moons", 2, nll=3.0)
    table = summary(records(results))
    assert len(table) == 1
    row = table.iloc[0]
    assert (row["n_ok"], row["n_runs"]) == (2, 3)
    assert row["nll_mean"] == 2.0
    assert row["nll_sd"] == pytest.approx(math.sqrt(2))
    assert row["params"] == 98_623


def test_one_seed_has_no_deviation_and_no_ok_seed_no_mean(results: Path, write: Write) -> None:
    write("flow-matching", "moons", 0, nll=1.0)
    write("ffjord", "moons", 0, status="oom")
    table = summary(records(results)).set_index("method")
    assert table.loc["flow-matching", "nll_mean"] == 1.0
    assert math.isnan(table.loc["flow-matching", "nll_sd"])
    assert math.isnan(table.loc["ffjord", "nll_mean"])
    assert (table.loc["ffjord", "n_ok"], table.loc["ffjord", "n_runs"]) == (0, 1)


def test_a_metric_that_one_ok_run_lacks_has_no_mean(results: Path, write: Write) -> None:
    write("flow-matching", "moons", 0, nll_native=1.0)
    write("flow-matching", "moons", 1, nll_native=None)
    assert math.isnan(summary(records(results)).iloc[0]["nll_native_mean"])


@pytest.mark.parametrize(
    "changed",
    [
        {"dataset__revision": "ffffffffffff"},
        {"method__version": "bbbbbbbbbbbb"},
        {"method__config": {"width": 512}},
        {"judge__rtol": 1e-6},
        {"budget__minibatches": 600},
        {"budget__batch_size": 10},
        {"environment__device": "cuda"},
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_kept_apart(
    results: Path, write: Write, changed: dict[str, object]
) -> None:
    write("flow-matching", "moons", 0, nll=1.0)
    write("flow-matching", "moons", 1, nll=2.0, **changed)
    table = summary(records(results))
    assert list(table["n_runs"]) == [1, 1]
    assert sorted(table["nll_mean"]) == [1.0, 2.0]


def test_of_two_runs_of_a_seed_the_later_counts(results: Path, write: Write) -> None:
    write("flow-matching", "moons", 0, nll=1.0, started="2026-01-03T00:00:00+00:00", run="a")
    write("flow-matching", "moons", 0, nll=5.0, started="2026-01-02T00:00:00+00:00", run="b")
    write("flow-matching", "moons", 1, nll=3.0)
    row = summary(records(results)).iloc[0]
    assert (row["n_runs"], row["n_repeats"]) == (2, 1)
    assert row["nll_mean"] == 2.0


def test_settings_name_what_differs(results: Path, write: Write) -> None:
    write("flow-matching", "moons", 0, method__config={"width": 256, "coupling": "none"})
    write("flow-matching", "moons", 0, method__config={"width": 256, "coupling": "ot"})
    write("flow-matching", "rings", 0, method__config={"width": 64, "coupling": "ot"})
    settings = records(results).set_index("dataset")["settings"]
    assert sorted(settings["moons"]) == ["coupling=none", "coupling=ot"]
    assert settings["rings"] == ""


@pytest.mark.parametrize(
    "damage",
    [{"dataset__d": "two"}, {"method__params": 1.5}, {"nll": {"a": 1}}],
)
def test_a_cell_that_holds_something_else_is_named(
    results: Path, write: Write, damage: dict[str, object]
) -> None:
    run = write("flow-matching", "moons", **damage)
    with pytest.raises(DataError, match=run):
        records(results)
