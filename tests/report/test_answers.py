"""The sentences that a report begins with: which case each data set is, and whom they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.records.frame import records
from bench.report.page import Answer, answers
from bench.tables.comparison import comparison
from bench.tables.marks import groups_of

from .conftest import Write


def answered(results: Path) -> list[Answer]:
    frame = records(results)
    return answers(groups_of(frame), comparison(frame, results=results).contests)


def only(results: Path) -> Answer:
    (answer,) = answered(results)
    return answer


def test_one_method_is_ahead_of_all_others(results: Path, write: Write) -> None:
    write("flow-matching", "moons", nll=2.5, dataset__entropy=2.4)
    write("ffjord", "moons", nll=2.75, dataset__entropy=2.4)
    answer = only(results)
    assert (answer.dataset, answer.place, answer.code) == ("moons", "moons", "ahead")
    assert answer.text == (
        "flow-matching 2.50, 0.10 nats above the best attainable; ahead of ffjord (5 % level)."
    )


def test_methods_that_tie_are_named_and_so_are_those_behind(results: Path, write: Write) -> None:
    write("ffjord", "moons", nll=2.5)
    write("flow-matching", "moons", nll=2.505)
    answer = only(results)
    assert answer.code == "tie"
    assert "no significant difference from flow-matching" in answer.text
    assert "ahead" not in answer.text
    write("gaussian", "moons", nll=3.5)
    answer = only(results)
    assert answer.code == "tie"
    assert answer.text.endswith("ahead of gaussian (5 % level).")


def test_many_methods_are_counted(results: Path, write: Write) -> None:
    for i in range(7):
        write(f"m{i}", "moons", nll=2.0 + i)
    assert "ahead of all 6 others" in only(results).text


def test_the_gap_to_the_entropy(results: Path, write: Write) -> None:
    run = write("ffjord", "moons", nll=2.5, nll_se=0.01, dataset__entropy=2.501)
    assert "2.50, the best attainable" in only(results).text
    for entropy, words in ((2.515, "by chance"), (2.9, "impossible")):
        for path in (results / run).iterdir():
            path.unlink()
        (results / run).rmdir()
        run = write("ffjord", "moons", nll=2.5, nll_se=0.01, dataset__entropy=entropy)
        assert "below the best attainable" in only(results).text
        assert words in only(results).text


def test_a_single_method_is_compared_with_none(results: Path, write: Write) -> None:
    write("ffjord", "moons", nll=2.5)
    answer = only(results)
    assert answer.code == "alone"
    assert "ahead" not in answer.text


def test_without_a_standard_error_there_is_no_test(results: Path, write: Write) -> None:
    write("ffjord", "moons", nll=2.5, nll_se=None)
    write("flow-matching", "moons", nll=2.0, nll_se=None)
    answer = only(results)
    assert answer.code == "untested"
    assert answer.text.startswith("lowest NLL flow-matching 2.00")


def test_what_is_worse_than_a_gaussian_is_named(results: Path, write: Write) -> None:
    write("gaussian", "moons", nll=3.0)
    write("ffjord", "moons", nll=2.0)
    assert "Gaussian" not in only(results).text
    write("flow-matching", "moons", nll=4.0)
    answer = only(results)
    assert answer.code == "ahead"
    assert answer.text.endswith("; worse than a fitted Gaussian: flow-matching.")


def test_where_no_method_beats_the_gaussian_that_is_said(results: Path, write: Write) -> None:
    write("gaussian", "moons", nll=-3.0)
    write("ffjord", "moons", nll=2.0)
    answer = only(results)
    assert answer.text.startswith("gaussian −3.00; ahead of ffjord")
    assert answer.text.endswith("; no method beats the fitted Gaussian.")


@pytest.mark.parametrize("others", [0, 1])
def test_a_failed_seed_keeps_a_method_out_of_the_test(
    results: Path, write: Write, others: int
) -> None:
    write("ffjord", "moons", 0, nll=2.5)
    write("ffjord", "moons", 1, status="oom", reason="no memory")
    for i in range(others):
        write(f"m{i}", "moons", nll=1.0)
    answer = only(results)
    assert answer.code == ("alone" if others else "incomplete")
    assert answer.text.endswith("not tested: ffjord.")


def test_a_method_without_an_nll_is_named(results: Path, write: Write) -> None:
    write("ffjord", "moons", nll=None)
    answer = only(results)
    assert answer.code == "incomplete"
    assert answer.text.endswith("without an NLL: ffjord.")


def test_where_every_run_failed_that_is_the_answer(results: Path, write: Write) -> None:
    write("ffjord", "moons", status="oom", reason="no memory")
    write("jko", "moons", status="diverged", reason="inf")
    write("jko", "moons", 1, status="diverged", reason="inf")
    answer = only(results)
    assert answer.code == "failed"
    assert answer.text == "every run failed (1 oom, 2 diverged)."


def test_budgets_and_revisions_have_sentences_of_their_own(results: Path, write: Write) -> None:
    write("ffjord", "moons")
    write("ffjord", "moons", budget__name="table1", budget__minibatches=600)
    write("ffjord", "rings")
    places = {answer.place for answer in answered(results)}
    assert places == {"moons (budget equal)", "moons (budget table1)", "rings"}
    assert {answer.dataset for answer in answered(results)} == {"moons", "rings"}
