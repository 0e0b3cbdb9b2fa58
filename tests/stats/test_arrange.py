"""Blocks of a table by data set, by method, by budget; a table that is turned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.records.frame import records
from bench.tables.comparison import comparison
from bench.tables.latex import latex
from bench.tables.layout import transposed
from bench.tables.render import FORMS, TableOptions, markdown, page, render

from .conftest import Write
from .every_cell import NAMED, every_cell
from .shown import notes


def small(write: Write) -> None:
    for nll, method in enumerate(("jko", "gaussian")):
        for dataset in ("moons", "rings"):
            write(method, dataset, nll=float(nll), nll_se=0.01)
    write("jko", "moons", nll=0.5, budget__name="table1", budget__minibatches=900)


def shape(table: object) -> dict[str, list[str]]:
    return {group.name: [row.label for row in group.rows] for group in table.groups}  # type: ignore[attr-defined]


def test_by_method(results: Path, write: Write) -> None:
    small(write)
    table = comparison(records(results), ("nll", "mmd_m"), by="method")
    assert shape(table) == {
        "jko": ["moons (budget equal)", "moons (budget table1)", "rings"],
        "gaussian": ["moons (budget equal)", "rings"],
    }
    # the thresholds have a column, as no row can hold them
    assert [column.title for column in table.columns] == ["NLL", "MMD-m", "τ_m"]
    assert all(not group.references for group in table.groups)
    assert str(table.groups[0].rows[0].entries[2]) == "1.70e-4"
    # what is bold is decided on each data set, however the rows are arranged
    assert [row.entries[0].best for row in table.groups[0].rows] == [True, False, True]
    assert [row.entries[0].second for row in table.groups[1].rows] == [True, True]
    assert "rings: d = 2, budget equal (300 × 1,000 rows), revision 01234567." in notes(table)
    assert table.titles == ("data set", "seeds")


def test_by_budget(results: Path, write: Write) -> None:
    small(write)
    table = comparison(records(results), ("nll",), by="budget")
    assert shape(table) == {
        "budget equal": ["moons: jko", "moons: gaussian", "rings: jko", "rings: gaussian"],
        "budget table1": ["moons: jko"],
    }


def test_variants_and_revisions_are_told_apart(results: Path, write: Write) -> None:
    write("jko", "moons", 0, method__config={"blocks": 4})
    write("jko", "moons", 0, method__config={"blocks": 5})
    write("jko", "moons", 1, dataset__revision="ffffffffffff")
    table = comparison(records(results), ("nll",), by="method")
    assert shape(table)["jko"] == [
        "moons (revision 01234567) (blocks=4)",
        "moons (revision 01234567) (blocks=5)",
        "moons (revision ffffffff)",
    ]


def test_turned(results: Path, write: Write) -> None:
    small(write)
    write("ffjord", "moons", nll=3.0, nll_se=0.01)
    write("ot-flow", "moons", status="oom")
    plain = comparison(records(results), ("params", "nll", "mmd_m"))
    table = transposed(plain)
    titles = [column.title for column in table.columns]
    assert titles == ["jko", "ffjord", "ot-flow", "gaussian", "true data, τ"]
    moons = table.groups[0]
    lines = {row.label: [str(entry) for entry in row.entries] for row in moons.rows}
    assert lines["seeds"] == ["1", "1", "0/1", "1", ""]
    assert lines["params"] == ["98.6K", "98.6K", "98.6K", "98.6K", ""]
    assert lines["NLL"] == ["0.000 ± 0.010", "3.000 ± 0.010", "oom", "1.000 ± 0.010", ""]
    assert lines["MMD-m"] == ["4.00e-4", "4.00e-4", "–", "4.00e-4", "1.70e-4"]
    assert lines["remarks"] == ["", "worse than a Gaussian†", "", "", ""]
    # on rings neither was run
    rings = {row.label: [str(entry) for entry in row.entries] for row in table.groups[2].rows}
    assert rings["NLL"] == ["0.000 ± 0.010", "", "", "1.000 ± 0.010", ""]
    assert [e.best for e in moons.rows[2].entries] == [True, False, False, False, False]
    assert table.notes == plain.notes
    # in Markdown each block is a table of its own, without the methods that it has not
    blocks = re.split(r"^\*\*.*\*\*.*$", markdown(table), flags=re.MULTILINE)[1:]
    heads = [block.split("|:---|")[0] for block in blocks]
    assert "ffjord" in heads[0]
    assert "ffjord" not in heads[2]
    assert "jko" in heads[2]


@pytest.mark.parametrize(
    "options", [TableOptions(transpose=True), TableOptions(by="method"), TableOptions(by="budget")]
)
def test_every_form_shows_every_cell(results: Path, write: Write, options: TableOptions) -> None:
    every_cell(write)
    frame = records(results)
    for form in FORMS:
        if form != "csv":
            shown = page(frame, form, options, results)
            assert "oom" in shown
            assert "orse than a" in shown
            assert "<script>" not in shown or form == "text"
            assert form != "text" or max(map(len, shown.splitlines())) <= 80


def test_on_the_command_line(results: Path, write: Write) -> None:
    small(write)
    call = ["table", "--results", str(results)]
    for arguments in (
        *(["--transpose", "-f", "csv"], ["--group-by", "method", "-f", "csv"]),
        *(["--transpose", "--details"], ["--published", "--group-by", "method"]),
        *(["--siunitx"], ["--label", "tab:x", "-f", "html"], ["--caption", "On toys."]),
        ["--siunitx", "--transpose", "-f", "latex"],
    ):
        done = CliRunner().invoke(main, [*call, *arguments])
        assert done.exit_code == 2, arguments
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
    turned = CliRunner().invoke(main, [*call, "--transpose", "-d", "rings"]).stdout
    assert turned.splitlines()[1].split() == ["jko", "gaussian"]
    one = CliRunner().invoke(main, [*call, "-b", "table1"]).stdout
    assert "budget table1" in one
    assert "rings" not in one
    absent = CliRunner().invoke(main, [*call, "-b", "quick"])
    assert absent.exit_code == 3
    assert "Known: equal, table1." in absent.stderr


def test_captions(results: Path, write: Write) -> None:
    for seed in range(3):
        write("jko", "moons", seed, dataset__subset=True, dataset__kind="subset")
    frame = records(results)
    assert comparison(frame).caption == (
        "The method jko on moons, under the budget equal (300 mini-batches of 1,000 rows), 3 seeds"
        ". ± is the standard deviation over seeds. NLL in nats per row, by dopri5, float64, rtol "
        "1e-05, atol 1e-05 and the exact divergence. Only a subset of the rows of moons."
    )
    options = TableOptions(caption="50 % & <more>", label="tab:toys")
    tex = page(frame, "latex", options, results)
    assert r"\caption{50 \% \& \textless{}more\textgreater{}}" in tex
    assert r"\label{tab:toys}" in tex
    assert "<caption>50 % &amp; &lt;more&gt;</caption>" in page(frame, "html", options, results)


def test_a_long_group_goes_on_in_the_next_table(results: Path, write: Write) -> None:
    for number in range(120):
        write(f"method-{number:03}", "moons")
    tex = latex(comparison(records(results), ("nll",)))
    assert tex.count(r"\begin{table}") == 3
    assert tex.count(r"\caption") == 1
    assert tex.count(r"\textbf{moons, continued}") == 2
    assert all(tex.count(f"method-{number:03}") == 1 for number in range(120))


def test_a_hostile_label_is_a_label(results: Path, write: Write) -> None:
    write("jko", "moons")
    options = TableOptions(label=r"}\input{/etc/passwd}")
    assert r"\label{input/etc/passwd}" in page(records(results), "latex", options, results)


def test_worse_than_a_gaussian_in_words(results: Path, write: Write) -> None:
    write("gaussian", NAMED, nll=1.0, run="floor")
    write("ffjord", NAMED, nll=2.0, run="below")
    table = comparison(records(results), ("nll",))
    assert "ffjord†" in render(table, "text")
    assert "† Worse than a Gaussian" in render(table, "text")
    assert r"ffjord$^{\dagger}$" in latex(table)
    assert "ffjord† *worse than a Gaussian*" in render(table, "markdown")
    assert 'ffjord<sup class="mark">†</sup> <em>worse than a Gaussian</em>' in render(table, "html")
