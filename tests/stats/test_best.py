"""What stands in bold, in every format, and the footnote that says how it was decided."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records.frame import cells, records
from bench.records.run_files import Densities, densities
from bench.tables.comparison import comparison
from bench.tables.layout import Table
from bench.tables.marks import contests, heading_of, sorted_cells
from bench.tables.render import render

Write = Callable[..., str]
Measure = Callable[..., str]

ROWS = 400


@pytest.fixture
def measure(results: Path, write: Write) -> Measure:
    """`measure(method, dataset, seed, worse=...)`: a run that keeps its log-densities.

    Rows are hard by themselves; seeds shift all methods alike.
    """

    def make(
        method: str, dataset: str = "moons", seed: int = 0, worse: float = 0.0, **given: object
    ) -> str:
        hard = 3 * np.random.default_rng(0).standard_normal(ROWS)
        noise = np.random.default_rng([len(method), seed]).standard_normal(ROWS)
        keep, groups = given.pop("keep", True), given.pop("groups", None)
        log_prob = (hard - worse + 0.3 * seed + 0.05 * noise).astype("float32")
        nll, se = -float(log_prob.mean()), float(log_prob.std() / ROWS**0.5)
        given = {"nll": nll, "nll_se": se, "nll_rows": ROWS} | given
        run = write(method, dataset, seed, **given)
        if keep:
            more = {} if groups is None else {"groups": groups}
            np.savez(results / run / "samples.npz", log_prob=log_prob, **more)
        return run

    return make


def bold(table: Table) -> list[tuple[str, str]]:
    return [
        (group.name, row.label)
        for group in table.groups
        for row in group.rows
        if any(entry.best for entry in row.entries)
    ]


def note(table: Table) -> str:
    """The note that says how bold was decided."""
    return table.notes[0].text


def made_by(results: Path) -> set[str]:
    known = sorted_cells(cells(records(results)), "nll")
    return {contest.decision.test for contest in contests(known, results)}


def table_of(results: Path, **given: Any) -> Table:
    return comparison(records(results), results=results, **given)


def test_pairing_tells_what_the_deviations_hide(results: Path, measure: Measure) -> None:
    for seed in range(3):
        measure("ffjord", seed=seed)
        measure("jko", seed=seed, worse=0.1)
        measure("ot-flow", seed=seed, worse=0.001)
    table = table_of(results)
    # the deviation over seeds is 0.3, three times the difference
    assert bold(table) == [("moons", "ffjord"), ("moons", "ot-flow")]
    assert made_by(results) == {"paired"}
    assert {"3 seeds", "400 test rows"} <= set(re.findall(r"3 seeds|400 test rows", note(table)))
    # without the folder there is nothing to pair
    apart = comparison(records(results))
    assert len(bold(apart)) == 3
    assert "Welch's t over 3 seeds" in note(apart)


@pytest.mark.parametrize(
    "other",
    [
        {"keep": False},
        {"judge__test_rows": 400},
        {"judge__seed": 7},
        {"judge__metrics_version": 99},
    ],
)
def test_other_rows_are_not_paired(
    results: Path, measure: Measure, other: dict[str, object]
) -> None:
    for seed in range(2):
        measure("ffjord", seed=seed)
        measure("jko", seed=seed, worse=0.1, **other)
    assert made_by(results) == {"welch"}


def test_one_seed_says_that_it_is_of_the_trained_models(results: Path, measure: Measure) -> None:
    measure("ffjord")
    measure("jko", worse=0.05)
    table = table_of(results)
    assert bold(table) == [("moons", "ffjord")]
    assert made_by(results) == {"paired rows"}
    assert "says nothing about other seeds" in note(table)


def test_one_seed_without_densities_goes_by_standard_errors(results: Path, write: Write) -> None:
    write("ffjord", "moons", nll=1.0, nll_se=0.1)
    write("jko", "moons", nll=1.2, nll_se=0.1)
    write("gaussian", "moons", nll=9.0, nll_se=0.1)
    table = table_of(results)
    assert bold(table) == [("moons", "ffjord"), ("moons", "jko")]
    assert made_by(results) == {"rows"}
    assert "says nothing about other seeds" in note(table)


def test_with_nothing_to_go_by_nothing_is_bold(results: Path, write: Write) -> None:
    write("ffjord", "moons", nll=1.0, nll_se=None)
    write("jko", "moons", nll=9.0, nll_se=None)
    table = table_of(results)
    assert bold(table) == []
    assert made_by(results) == {"none"}
    assert table.notes[0].mark == ""


def test_rows_in_groups_are_counted_in_groups(results: Path, measure: Measure) -> None:
    labels = np.repeat(np.arange(20), ROWS // 20)
    for seed in range(2):
        measure("ffjord", seed=seed, groups=labels, nll_groups=20)
        measure("jko", seed=seed, worse=0.1, groups=labels, nll_groups=20)
    assert "400 test rows in 20 groups" in note(table_of(results))


def test_without_their_groups_rows_that_come_in_groups_are_not_paired(
    results: Path, measure: Measure
) -> None:
    for seed in range(2):
        measure("ffjord", seed=seed, nll_groups=20)
        measure("jko", seed=seed, worse=0.1, nll_groups=20)
    assert made_by(results) == {"welch"}


def test_a_row_with_a_failed_seed_takes_no_part(results: Path, measure: Measure) -> None:
    for seed in range(2):
        measure("ffjord", seed=seed, worse=0.2)
        measure("jko", seed=seed, worse=0.4)
    measure("ot-flow", seed=0)
    measure("ot-flow", seed=1, status="diverged", keep=False)
    table = table_of(results)
    assert bold(table) == [("moons", "ffjord")]
    (contest,) = contests(sorted_cells(cells(records(results)), "nll"), results)
    assert [cell.key["method"] for cell in contest.cells] == ["ffjord", "jko"]


def test_one_row_alone_is_not_compared(results: Path, measure: Measure) -> None:
    measure("ffjord", "moons")
    measure("jko", "rings")
    table = table_of(results)
    assert bold(table) == []
    assert made_by(results) == set()


def test_by_run_and_without_nll_nothing_is_bold(results: Path, measure: Measure) -> None:
    measure("ffjord")
    measure("jko", worse=0.05)
    assert bold(table_of(results, by_run=True)) == []
    assert bold(comparison(records(results), ("mmd_m",), results=results)) == []


def test_rows_at_several_amounts_are_compared_apart(results: Path, measure: Measure) -> None:
    for method, worse in (("ffjord", 0.0), ("jko", 0.2)):
        measure(method, worse=worse + 1)
        measure(method, worse=worse, budget__minibatches=3000)
    table = table_of(results)
    assert bold(table) == [
        ("moons", "ffjord (3,000 mini-batches)"),
        ("moons", "ffjord (300 mini-batches)"),
    ]


def test_amounts_that_the_budget_gives_by_method_are_compared(
    results: Path, measure: Measure
) -> None:
    measure("ffjord", worse=0.3)
    measure("jko", budget__minibatches=120)
    assert bold(table_of(results)) == [("moons", "jko")]


def test_budgets_and_revisions_are_compared_apart(results: Path, measure: Measure) -> None:
    for name, n in (("equal", 300), ("table1", 900)):
        measure("ffjord", budget__name=name, budget__minibatches=n)
        measure("jko", worse=0.3, budget__name=name, budget__minibatches=n)
    known = sorted(cells(records(results)), key=lambda cell: str(heading_of(cell)))
    found = contests(known, results)
    assert [c.place for c in found] == ["moons (equal, 01234567)", "moons (table1, 01234567)"]
    assert [c.best[0].key["method"] for c in found] == ["ffjord", "ffjord"]


def test_densities_are_those_that_numpy_reads(tmp_path: Path) -> None:
    """In every layout that numpy writes."""
    path = tmp_path / "samples.npz"
    rng = np.random.default_rng(0)
    for dtype in (">f8", "<f4", np.float16):
        log_prob, groups = rng.normal(size=7).astype(dtype), np.arange(7) // 2
        np.savez(path, samples=np.zeros((3, 2)), log_prob=log_prob, groups=groups)
        kept = densities(tmp_path, ("r", 1), grouped=True)
        assert kept is not None
        np.testing.assert_array_equal(kept.log_prob, log_prob)
        assert kept.groups is not None
        np.testing.assert_array_equal(kept.groups, groups)
        assert kept.rows == ("r", 1, 7, groups.tobytes())
    with (
        zipfile.ZipFile(path, "w") as file,
        file.open("log_prob.npy", "w") as to,
    ):
        np.lib.format.write_array(to, np.arange(5.0), version=(2, 0))
    kept = densities(tmp_path, (), grouped=False)
    assert kept is not None
    assert kept.log_prob.tolist() == [0, 1, 2, 3, 4]
    assert densities(tmp_path, (), grouped=True) is None


def test_damaged_densities_are_none(tmp_path: Path) -> None:
    def found() -> Densities | None:
        return densities(tmp_path, (), grouped=False)

    path = tmp_path / "samples.npz"
    assert found() is None
    np.savez(path, log_prob=np.zeros(4))
    assert found() is not None
    whole = path.read_bytes()
    np.savez(path, samples=np.zeros((3, 2)))
    assert found() is None
    np.savez(path, log_prob=np.array([0.0, -np.inf]))
    assert found() is None
    np.savez(path, log_prob=np.zeros((2, 2)))
    assert found() is None
    np.savez(path, log_prob=np.zeros(3), groups=np.zeros(2))
    assert found() is None
    np.savez(path, log_prob=np.array([None, 1]))
    assert found() is None
    path.write_bytes(whole.replace(b"NUMPY", b"numpy"))
    assert found() is None
    path.write_bytes(b"PK\x03\x04 not a zip")
    assert found() is None


def test_a_byte_that_flipped_is_no_traceback(tmp_path: Path) -> None:
    """Wherever it is: the densities are those that were written, or none."""
    path = tmp_path / "samples.npz"
    np.savez(path, log_prob=np.arange(3.0))
    whole = path.read_bytes()
    lost = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        kept = densities(tmp_path, (), grouped=False)
        assert kept is None or kept.log_prob.tolist() == [0, 1, 2], place
        lost += kept is None
    assert lost > len(whole) / 2


def test_every_format_shows_the_bold_and_says_what_it_means(
    results: Path, measure: Measure
) -> None:
    for seed in range(2):
        measure("ffjord", seed=seed)
        measure("jko", seed=seed, worse=0.1)
    table = comparison(records(results), ("nll",), results=results)
    (best,) = (e for group in table.groups for row in group.rows for e in row.entries if e.best)
    number = str(best.number)
    text, markdown, html, latex = (
        render(table, form) for form in ("text", "markdown", "html", "latex")
    )
    assert re.findall(r"\S+ ± \S+\*", text) == [f"{number}*"]
    assert "\n* " in text
    assert re.findall(r"\*\*([^*]+ ± [^*]+)\*\*", markdown) == [number]
    assert "- **Bold:** " in markdown
    assert re.findall(r"<b>([^<]+ ± [^<]+)</b>", html) == [number.replace("-", "−")]
    assert "<b>Bold:</b> " in html
    assert re.findall(r"\$\\mathbf\{(.+)\}\$", latex) == [number.replace("±", r"\pm")]
    assert r"\textbf{Bold:}~" in latex


@pytest.mark.parametrize("notes", ["short", "full"])
def test_average_ranks_need_four_data_sets(results: Path, measure: Measure, notes: str) -> None:
    ranks = re.compile(r"jko 1\.00, ffjord 2\.00, gaussian 3\.00")
    for number, dataset in enumerate(("moons", "rings", "circles", "spiral")):
        if number:
            assert not any(ranks.search(n.text) for n in table_of(results, notes=notes).notes)
        for worse, method in enumerate(("jko", "ffjord", "gaussian")):
            measure(method, dataset, worse=worse)
    table = table_of(results, notes=notes)
    assert sum(bool(ranks.search(n.text)) for n in table.notes) == 1
    assert (r"$\chi$\textsuperscript{2}(2)" in render(table, "latex")) == (notes == "full")
    without = comparison(records(results), ("mmd_m",), notes=notes)
    assert not any(ranks.search(n.text) for n in without.notes)
