"""The second best is underlined, with the same care as the best is bold."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bench.records.frame import records
from bench.stats.significance import Scores, decide
from bench.tables.comparison import comparison
from bench.tables.latex import latex
from bench.tables.layout import Table
from bench.tables.render import render

from .conftest import Write


def test_second_by_the_standard_errors_worked_out_by_hand() -> None:
    # s.e. of a difference: 0.1 * sqrt(2) = 0.1414. 1.0 alone is best: z(1.0, 2.0) = 7.1.
    # 2.0 and 2.2 differ by z = 1.41 and tie; 3.0 is off by z = 7.1 and 5.7.
    decision = decide([Scores({0: nll}, 0.1) for nll in (3.0, 1.0, 2.2, 2.0)])
    assert decision.kept == (1,)
    assert decision.second() == (2, 3)
    assert decision.second(out=[2, 3]) == (0,)
    assert decision.second(out=[0, 2, 3]) == ()


def test_where_nothing_can_be_tested_nothing_is_second() -> None:
    assert decide([Scores({0: 1.0}), Scores({0: 2.0})]).second() == ()


def test_where_all_tie_nothing_is_second() -> None:
    assert decide([Scores({0: nll}, 1.0) for nll in (1.0, 1.1)]).second() == ()


@pytest.fixture
def table(results: Path, write: Write) -> Table:
    for method, nll in (("jko", 1.0), ("ffjord", 2.0), ("gaussian", 2.5), ("ot-flow", 2.6)):
        write(method, "moons", nll=nll, nll_se=0.01)
    # Here the floor is next to the best, and what is worse than it has failed.
    for method, nll in (("jko", 1.0), ("ffjord", 2.0), ("gaussian", 1.5)):
        write(method, "rings", nll=nll, nll_se=0.01)
    return comparison(records(results), ("nll",))


def faces(table: Table) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"best": [], "second": []}
    for group in table.groups:
        for row in group.rows:
            found["best"] += [f"{group.name} {row.label}"] * row.entries[0].best
            found["second"] += [f"{group.name} {row.label}"] * row.entries[0].second
    return found


def test_one_is_bold_and_the_next_underlined(table: Table) -> None:
    assert faces(table) == {
        "best": ["moons jko", "rings jko"],
        "second": ["moons ffjord", "rings gaussian"],
    }
    assert [note.mark for note in table.notes].count("₂") == 1


def test_what_is_below_the_floor_is_never_second(results: Path, write: Write) -> None:
    write("gaussian", "moons", nll=1.0, nll_se=0.01)
    write("ffjord", "moons", nll=2.0, nll_se=0.01)
    table = comparison(records(results), ("nll",))
    assert faces(table) == {"best": ["moons gaussian"], "second": []}
    assert "₂" not in [note.mark for note in table.notes]


def test_every_form_underlines(table: Table) -> None:
    text, markdown, html = (render(table, form) for form in ("text", "markdown", "html"))
    assert re.findall(r"(\S+ ± \S+)₂", text) == ["2.000 ± 0.010", "1.500 ± 0.010"]
    assert re.findall("<ins>([0-9].*?)</ins>", markdown) == ["2.000 ± 0.010", "1.500 ± 0.010"]
    assert re.findall("<u>([0-9].*?)</u>", html) == ["2.000 ± 0.010", "1.500 ± 0.010"]
    plain = latex(table)
    assert re.findall(r"\\underline\{\$(.*?)\$\}", plain) == [
        r"2.000 \pm 0.010",
        r"1.500 \pm 0.010",
    ]
    assert r"\underline{Underlined:}~" in plain
    assert r"{\underline{\tablenum[table-format=1.3(2)]{2.000 +- 0.010}}}" in latex(
        table, siunitx=True
    )


def test_paired_scores_underline_what_their_deviations_would_not() -> None:
    hard = np.random.default_rng(0).normal(0, 3, 400)
    own = np.random.default_rng(1).normal(0, 0.01, (3, 400))
    worse = (0.0, 0.1, 0.2)
    scores = [
        Scores({0: float(np.mean(hard + w + noise))}, 0.15, {0: -(hard + w + noise)})
        for w, noise in zip(worse, own, strict=True)
    ]
    decision = decide(scores)
    assert (decision.kept, decision.second()) == ((0,), (1,))
