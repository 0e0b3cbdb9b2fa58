"""From runs to ranks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.errors import UsageError
from bench.records.frame import cells, records
from bench.stats.ranking import Ranking, explain
from bench.tables.comparison import scores_by_budget

Write = Callable[..., str]


def study(write: Write, **given: object) -> None:
    for dataset in ("moons", "rings"):
        for nll, method in enumerate(("jko", "ffjord", "gaussian")):
            write(method, dataset, nll=float(nll), **given)


def standing(results: Path, metric: str = "nll") -> Ranking:
    (found,) = scores_by_budget(cells(records(results)), metric)
    return found


def test_scores_are_means_over_seeds(results: Path, write: Write) -> None:
    study(write)
    write("jko", "moons", 1, nll=4.0)
    found = standing(results)
    assert (found.budget, found.methods) == ("equal", ("ffjord", "gaussian", "jko"))
    assert found.datasets == ("moons", "rings")
    assert found.scores.tolist() == [[1, 2, 2], [1, 2, 0]]
    assert found.ranks.tolist() == [[1, 2.5, 2.5], [2, 3, 1]]


def test_failed_and_missing_cells_have_no_score_and_are_named(results: Path, write: Write) -> None:
    study(write)
    write("ot-flow", "moons", status="timeout")
    write("jko", "rings", 1, status="oom")
    found = standing(results)
    assert found.methods[-1] == "ot-flow"
    assert np.isnan(found.scores[:, -1]).all()
    text = explain(found)
    assert "worst rank there: ot-flow on moons, ot-flow on rings." in text
    assert "Means over the seeds that ended well: jko on rings (1/2)." in text


def test_budgets_stand_apart(results: Path, write: Write) -> None:
    study(write)
    study(write, budget__name="table1", budget__minibatches=900)
    found = scores_by_budget(cells(records(results)))
    assert [one.budget for one in found] == ["equal", "table1"]
    assert all(one.enough for one in found)


def test_of_several_rows_one_counts(results: Path, write: Write) -> None:
    study(write)
    # the commonest amount comes first, then the validation NLL
    write("jko", "moons", nll=-9.0, budget__minibatches=9, training__best_validation_nll=-9.0)
    settings = {"method__config": {"width": 1}}
    write("ffjord", "moons", nll=7.0, training__best_validation_nll=1.0, **settings)
    found = standing(results)
    assert found.scores[0].tolist() == [7, 2, 0]
    assert "jko has several rows on moons; jko (300 mini-batches) is ranked" in explain(found)
    assert "ffjord has several rows on moons; ffjord (width=1) is ranked" in explain(found)


def test_of_several_revisions_the_one_with_the_most_methods_counts(
    results: Path, write: Write
) -> None:
    study(write)
    write("jko", "moons", nll=-9.0, dataset__revision="ffffffffffff")
    found = standing(results)
    assert found.scores[0, 2] == 0
    assert any("01234567" in remark for remark in found.remarks)


def test_a_data_set_of_one_method_is_left_out_and_named(results: Path, write: Write) -> None:
    study(write)
    write("jko", "power")
    write("ffjord", "power", status="oom")
    found = standing(results)
    assert found.datasets == ("moons", "rings")
    assert "fewer than two methods have a result: power." in explain(found)


def test_what_is_not_better_when_less_is_refused() -> None:
    with pytest.raises(UsageError, match=r"params.*mmd_m_u"):
        scores_by_budget([], "params")
    with pytest.raises(UsageError, match="Unknown column"):
        scores_by_budget([], "nlll")
    assert scores_by_budget([], "train_seconds") == []
    with pytest.raises(UsageError, match="straightness"):
        scores_by_budget([], "straightness")


def test_statistics_and_tables_import_no_torch() -> None:
    code = (
        "import sys, bench.stats.ranking, bench.stats.significance\n"
        "import bench.cli.plot\n"
        "assert 'bench.tables' not in sys.modules\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import bench.tables.comparison, bench.tables.details, bench.figures.quality\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
