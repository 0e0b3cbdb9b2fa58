"""From records to cells: which runs count, and each number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError, NothingMeasured, UsageError
from bench.gate.measured import Measured, gather, watched
from bench.records import catalogue
from bench.records.store import read_all

from .records import write


def gathered(results: Path, **asked: Any) -> Measured:
    return gather(read_all(results), results, **asked)


def test_every_watched_column_of_the_catalogue_is_gathered(tmp_path: Path) -> None:
    write(tmp_path, "ffjord", "moons", nll_native=2.5)
    (cell,) = gathered(tmp_path).cells
    columns = {name for name, column in catalogue.columns().items() if column.watch}
    assert columns | {"integral_error", "step", "memory"} == set(cell.figures) == set(watched())


def test_each_watched_number(tmp_path: Path) -> None:
    steps = [(4e-3, 2e-3), (8e-3, 2e-3), (5e-3, 1e-3), (9e-3, 3e-3), (50.0, 2e-3), (9e-3, 1e-3)]
    write(tmp_path, "ffjord", "moons", 1, steps=steps, nll_native=2.5)
    (cell,) = gathered(tmp_path).cells
    assert cell.name == "ffjord on moons"
    assert (cell.minibatches, cell.batch_size, cell.revision) == (100, 128, "aaaaaaaaaaaa")
    assert cell.seeds == [1]
    assert {name: value for name, (value,) in cell.figures.items()} == {
        "nll": 2.1,
        "nll_native": 2.5,
        "validation_nll": pytest.approx(2.2),
        "mmd_m": 8e-4,
        "mmd_1": 1e-3,
        "nll_se": pytest.approx(0.021),
        "nll_solver_error": 2e-5,
        "integral_error": pytest.approx(5e-4),
        "minibatches": 100,
        "nll_rows": 300,
        "mmd_n": 300,
        "gamma_m": 1.4,
        "tau_m": 6e-3,
        "tau_1": 7e-3,
        "nfe_train": 100,
        "nfe_sample": 40.0,
        "nfe_density": 44.0,
        # 2, 4, 5, 3, 25000; the step with a validation does not count
        "step": pytest.approx(4.0),
        "memory": 1.2,
    }


@pytest.mark.parametrize("curve", ["", "{", '{"minibatch": 1}\n' * 9, None])
def test_a_curve_without_times_gives_no_step_cost(tmp_path: Path, curve: str | None) -> None:
    path = tmp_path / write(tmp_path, "ffjord", "moons") / "curve.jsonl"
    path.unlink() if curve is None else path.write_text(curve)
    (cell,) = gathered(tmp_path).cells
    assert "step" not in cell.figures


def test_the_latest_run_of_a_seed_counts_and_the_latest_budget(tmp_path: Path) -> None:
    write(tmp_path, "ffjord", "moons", nll=1.0, name="a", started="2026-01-02")
    write(tmp_path, "ffjord", "moons", nll=2.0, name="b", started="2026-01-03")
    write(tmp_path, "ffjord", "moons", nll=3.0, name="c", started="2026-01-01")
    (cell,) = gathered(tmp_path).cells
    assert cell.values("nll") == {0: 2.0}
    write(tmp_path, "ffjord", "moons", 1, name="d", started="2026-01-04", budget__minibatches=50)
    (cell,) = gathered(tmp_path).cells
    assert (cell.minibatches, cell.seeds) == (50, [1])


def test_settings_make_another_cell_and_hyper_parameters_do_not(tmp_path: Path) -> None:
    write(tmp_path, "ffjord", "moons", 0, name="a", method__config={"learning_rate": 0.5})
    write(tmp_path, "ffjord", "moons", 1, name="b")
    write(tmp_path, "ffjord", "moons", 0, name="c", method__settings={"width": 8})
    assert [(c.name, c.seeds) for c in gathered(tmp_path).cells] == [
        ("ffjord (width=8) on moons", [0]),
        ("ffjord on moons", [0, 1]),
    ]


def test_methods_and_data_sets_select_cells(tmp_path: Path) -> None:
    for method in ("ffjord", "jko"):
        for dataset in ("moons", "digits"):
            write(tmp_path, method, dataset)
    names = [c.name for c in gathered(tmp_path, methods=["jko"], datasets=["moons"]).cells]
    assert names == ["jko on moons"]
    with pytest.raises(NothingMeasured):
        gathered(tmp_path, methods=["none"])


def test_a_run_whose_process_died_does_not_decide_the_environment(tmp_path: Path) -> None:
    write(tmp_path, "ffjord", "moons")
    bare = {"status": "error", "reason": "SIGSEGV", "environment": {"device": "cpu"}}
    path = tmp_path / write(tmp_path, "jko", "moons", name="died") / "record.json"
    died = json.loads(path.read_text()) | bare | {"metrics": {}, "cost": {}, "training": {}}
    path.write_text(json.dumps(died))
    found = gathered(tmp_path)
    assert found.environment.threads == 1
    assert [cell.failed for cell in found.cells] == [{}, {0: "seed 0: error: SIGSEGV"}]


def test_runs_of_two_machines_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "ffjord", "moons")
    write(tmp_path, "jko", "moons", environment__threads=2)
    with pytest.raises(UsageError, match="machines"):
        gathered(tmp_path)


@pytest.mark.parametrize("part", ["method", "dataset", "budget", "judge", "environment"])
def test_a_record_edited_by_hand_is_named(tmp_path: Path, part: str) -> None:
    path = tmp_path / write(tmp_path, "ffjord", "moons") / "record.json"
    content = json.loads(path.read_text())
    content.pop(part)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="ffjord-moons-s0"):
        gathered(tmp_path)
