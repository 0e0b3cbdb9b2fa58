"""`bench plot ranks`: its numbers, its files, its diagram, and wrong calls."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from bench.figures.ranks import diagram
from bench.stats.ranking import Ranking

from .conftest import Call, Write


def study(write: Write, **given: object) -> None:
    for dataset in ("moons", "rings"):
        for nll, method in enumerate(("jko", "ffjord", "gaussian")):
            write(method, dataset, nll=float(nll), **given)


@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?")])
def test_plot_ranks_draws_and_tells(
    call: Call, write: Write, tmp_path: Path, form: str, start: bytes
) -> None:
    study(write)
    file = tmp_path / f"figure.{form}"
    done = call("ranks", "-o", str(file))
    assert done.exit_code == 0, done.stderr
    drawn = file.read_bytes()
    assert drawn.startswith(start)
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["method", "average", "moons", "rings"],
        ["jko", "1.00", "1", "1"],
        ["ffjord", "2.00", "2", "2"],
        ["gaussian", "3.00", "3", "3"],
    ]
    assert "too few for any test" in done.stdout
    assert "Wilcoxon's signed-rank test of 3 pairs" in done.stdout
    assert lines[-1].endswith(str(file))
    assert max(map(len, lines[:-1])) <= 100
    # the same numbers give the same bytes, and nothing else is left
    assert call("ranks", "-o", str(file)).exit_code == 0
    assert file.read_bytes() == drawn
    assert sorted(os.listdir(tmp_path)) == [f"figure.{form}", "runs"]


def test_without_a_name_the_figure_is_named_by_its_kind(
    call: Call, write: Write, tmp_path: Path
) -> None:
    study(write)
    assert call("ranks").exit_code == 0
    assert (tmp_path / "ranks.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["rank"], 2, "Did you mean 'ranks'?"),
        (["spectrum"], 2, "Known: curves, density, "),
        (["ranks", "-o", "ranks.gif"], 2, ".svg"),
        (["ranks", "-o", "none/ranks.pdf"], 2, "can't be written"),
        (["ranks", "--metric", "params"], 2, "be ranked by params"),
        (["ranks"], 2, "equal, table1. Choose one with -b"),
        (["ranks", "-b", "quick"], 3, "equal, table1."),
        (["ranks", "-b", "equal", "-d", "moons"], 3, "3 methods on 1 data set"),
        (["ranks", "-m", "jko", "-m", "ffjord"], 3, "Budget table1: 2 methods on 2 data sets"),
        (["ranks", "-m", "ignn"], 3, "ffjord, gaussian, jko."),
    ],
)
def test_wrong_calls(
    call: Call, write: Write, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    study(write)
    study(write, budget__name="table1", budget__minibatches=900)
    if "none/ranks.pdf" in arguments:
        arguments = [*arguments, "-b", "equal"]
    done = call(*arguments)
    assert done.exit_code == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert os.listdir(tmp_path) == ["runs"]


def test_no_runs(call: Call) -> None:
    done = call("ranks")
    assert done.exit_code == 3
    assert "bench run" in done.stderr


def texts(scores: object) -> str:
    table = np.asarray(scores, dtype="float64")
    methods = tuple(f"method {j}" for j in range(table.shape[1]))
    ranking = Ranking("NLL", methods, tuple(map(str, range(len(table)))), table)
    (axes,) = diagram(ranking).axes
    return "\n".join(text.get_text() for text in axes.texts)


def test_the_diagram_names_every_method_once_with_its_rank() -> None:
    for k in (3, 4, 9):
        shown = texts(np.tile(np.arange(float(k)), (12, 1)))
        for j in range(k):
            assert shown.count(f"method {j}  {j + 1:.2f}") == 1
    assert "CD = 3.47" in shown
    assert "(Nemenyi)" in shown


def test_the_diagram_says_what_cannot_be_told() -> None:
    assert "more than any two ranks can differ" in texts([[1, 2, 3, 4, 5]] * 2)
    assert "(Friedman)" in texts([[1, 2, 3], [3, 2, 1], [math.nan, 1, 2]])


def test_bars_join_what_is_not_told_apart() -> None:
    scores = np.tile(np.arange(5.0), (4, 1))
    ranking = Ranking("NLL", tuple("abcde"), tuple("wxyz"), scores)
    (axes,) = diagram(ranking).axes
    bars = [line for line in axes.lines if line.get_linewidth() == 3.5]
    ends = sorted((round(min(b.get_xdata())), round(max(b.get_xdata()))) for b in bars)
    assert ends == [(1, 4), (2, 5)]
    # the best rank is to the right
    assert axes.get_xlim()[0] > axes.get_xlim()[1]
