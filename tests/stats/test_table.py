"""What a comparison says, and how it is rendered."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from unicodedata import east_asian_width

import pytest
from pylatexenc.latexwalker import (
    LatexEnvironmentNode,
    LatexMacroNode,
    LatexWalker,
)
from rich.console import Console

from bench.errors import UsageError
from bench.tables.comparison import WIDE, Group, Row, Table, comparison
from bench.tables.frame import records
from bench.tables.render import escape_latex, render, text

Write = Callable[..., str]

HOSTILE = r"a_b%$#{}~^\ <script>|`*&[x]"


def row(table: Table, label: str, group: str | None = None) -> Row:
    (found,) = (
        r for g in table.groups if group in (None, g.name) for r in g.rows if r.label == label
    )
    return found


def cell(table: Table, label: str, title: str) -> str:
    titles = [column.title for column in table.columns]
    return str(row(table, label).entries[titles.index(title)])


def notes(table: Table) -> str:
    return "\n".join(f"{note.mark} {note.text}".strip() for note in table.notes)


def test_plus_minus_is_the_deviation_over_seeds(results: Path, write: Write) -> None:
    for seed, nll in enumerate((1.0, 2.0, 3.0)):
        write("ffjord", "moons", seed, nll=nll)
    table = comparison(records(results))
    assert cell(table, "ffjord", "NLL") == "2.0 ± 1.0"
    assert row(table, "ffjord").seeds == "3"
    assert "± is the standard deviation over seeds" in notes(table)


def test_of_one_seed_it_is_the_standard_error(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, nll=2.0, nll_se=0.025)
    table = comparison(records(results))
    assert cell(table, "ffjord", "NLL") == "2.000 ± 0.025"
    assert "± is the standard error over the 20,000 test rows." in notes(table)
    assert "deviation" not in notes(table)


def test_a_row_of_one_seed_among_others_is_marked(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0)
    write("ffjord", "moons", 1)
    write("gaussian", "moons", 0)
    table = comparison(records(results))
    assert cell(table, "gaussian", "NLL").endswith("¶")
    assert not cell(table, "ffjord", "NLL").endswith("¶")
    assert "¶ One seed: ± is the standard error over the 20,000 test rows." in notes(table)


def test_failed_seeds_are_counted_and_named(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, nll=1.0)
    write("ffjord", "moons", 1, status="timeout", reason="no end after 60 s")
    write("ffjord", "moons", 2, nll=3.0)
    table = comparison(records(results))
    assert row(table, "ffjord").seeds == "2/3"
    assert cell(table, "ffjord", "NLL") == "2.0 ± 1.4"
    assert "Failed: ffjord on moons, seed 1, timeout: no end after 60 s." in notes(table)


@pytest.mark.parametrize("status", ["diverged", "timeout", "oom", "error"])
def test_a_wholly_failed_row_says_how(results: Path, write: Write, status: str) -> None:
    write("ffjord", "moons", 0, status=status)
    write("ffjord", "moons", 1, status=status)
    for metrics in (WIDE, ("nll",), ("mmd_m", "train_seconds")):
        table = comparison(records(results), metrics)
        assert row(table, "ffjord").seeds == "0/2"
        words = [str(entry) for entry in row(table, "ffjord").entries]
        assert words.count(status) == 1
        assert set(words) <= {status, "–", "98.6K"}


def test_worse_than_the_gaussian_is_below_the_floor(results: Path, write: Write) -> None:
    write("gaussian", "moons", nll=2.0)
    write("ffjord", "moons", nll=2.01)
    write("flow-matching", "moons", nll=1.99)
    # another revision, on which a Gaussian is worse
    write("gaussian", "rings", nll=9.0)
    write("ffjord", "rings", nll=3.0)
    table = comparison(records(results))
    marked = [(g.name, r.label) for g in table.groups for r in g.rows if "†" in r.marks]
    assert marked == [("moons", "ffjord")]
    assert "† Below the floor" in notes(table)


def test_no_floor_is_said(results: Path, write: Write) -> None:
    write("ffjord", "moons")
    assert "No floor was measured on moons (method gaussian)." in notes(
        comparison(records(results))
    )


def test_a_solver_error_from_a_hundredth_is_marked(results: Path, write: Write) -> None:
    write("ffjord", "moons", nll_solver_error=0.01)
    write("flow-matching", "moons", nll_solver_error=0.0099)
    table = comparison(records(results))
    assert row(table, "ffjord").marks == "‡"
    assert row(table, "flow-matching").marks == ""


def test_not_distinguished_needs_every_seed(results: Path, write: Write) -> None:
    for seed, p in enumerate((0.05, 0.3)):
        write("ffjord", "moons", seed, p_m=p)
        write("flow-matching", "moons", seed, p_m=p if seed else 0.049)
    table = comparison(records(results))
    assert cell(table, "ffjord", "MMD-m").endswith("°")
    assert not cell(table, "flow-matching", "MMD-m").endswith("°")
    assert "° Not distinguished from data at 5 %" in notes(table)


def test_a_threshold_that_is_all_floor_is_said(results: Path, write: Write) -> None:
    # 2/n is 2e-4; where chance moves U by 4.9 % of it V is blind, by 5.1 % it is not
    write("ffjord", "moons", tau_1=2.1e-4, tau_1_u=2e-4 * 0.049, tau_m=2.1e-4, tau_m_u=2e-4 * 0.051)
    table = comparison(records(results), WIDE)
    assert cell(table, "ffjord", "τ_1") == "2.10e-4‖"
    assert cell(table, "ffjord", "τ_m") == "2.10e-4"
    assert "MMD-1 can't discriminate on moons" in notes(table)
    assert "MMD-m can't" not in notes(table)
    narrow = comparison(records(results))
    (reference,) = narrow.groups[0].references
    assert [str(entry) for entry in reference.entries] == ["", "", "2.10e-4", "2.10e-4‖", "", ""]


def test_the_heading_says_what_the_data_are(results: Path, write: Write) -> None:
    write("ffjord", "rings", dataset__entropy=1.234, dataset__d=2)
    write("ffjord", "power", dataset__kind="subset", dataset__subset=True, dataset__d=6)
    write("ffjord", "bsds300", dataset__kind="redrawn", dataset__d=63)
    write("ffjord", "gas", dataset__kind="whole", dataset__d=8)
    table = comparison(records(results))
    facts = {group.name: group.facts for group in table.groups}
    end = ("budget equal (300 × 1,000 rows)", "revision 01234567")
    assert facts["rings"] == ("d = 2", "best attainable NLL 1.23", *end)
    assert facts["power"] == ("d = 6", "a subset", *end)
    assert facts["bsds300"] == ("d = 63", "redrawn", *end)
    assert facts["gas"] == ("d = 8", *end)
    assert "power: a subset of the real set" in notes(table)
    assert "bsds300: drawn anew" in notes(table)


def test_revisions_stand_apart_and_are_told(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, nll=1.0)
    write("ffjord", "moons", 1, nll=9.0, dataset__revision="ffffffffffff")
    table = comparison(records(results))
    assert [group.facts[-1] for group in table.groups] == ["revision 01234567", "revision ffffffff"]
    assert [str(group.rows[0].entries[1]) for group in table.groups] == [
        "1.000 ± 0.010",
        "9.000 ± 0.010",
    ]
    assert "moons: 2 revisions of the data, which can't be compared." in notes(table)


def test_versions_and_settings_have_rows_of_their_own(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, nll=1.0)
    write("ffjord", "moons", 1, nll=9.0, method__version="bbbbbbbbbbbb")
    write("ffjord", "moons", 2, nll=5.0, method__config={"width": 512})
    table = comparison(records(results))
    assert sorted(r.label for r in table.groups[0].rows) == [f"ffjord ({i})" for i in (1, 2, 3)]
    assert "ffjord: 2 versions of its code (aaaaaaaaaaaa, bbbbbbbbbbbb)." in notes(table)
    assert "version bbbbbbbbbbbb, width=256" in notes(table)
    assert "width=512" in notes(table)


def test_different_budgets_show_their_mini_batches(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0)
    write("gaussian", "moons", 0, budget__minibatches=600, training__minibatches=600)
    table = comparison(records(results))
    assert cell(table, "ffjord", "mini-batches") == "300"
    assert cell(table, "gaussian", "mini-batches") == "600"
    assert "moons: the rows' budgets differ" in notes(table)


def test_the_notes_say_how_it_was_measured(results: Path, write: Write) -> None:
    write("ffjord", "moons", 3)
    shown = notes(comparison(records(results)))
    for part in (
        *("20,000 test rows", "dopri5", "rtol 1e-05", "atol 1e-05", "float64"),
        *(
            "two samples of 10,000",
            "1,000 permutations",
            "Seeds: 3.",
            "cpu (A processor, 1 thread)",
        ),
    ):
        assert part in shown


def test_by_run_every_run_has_a_row(results: Path, write: Write) -> None:
    names = {write("ffjord", "moons", seed, nll=float(seed)) for seed in (0, 1)}
    table = comparison(records(results), ("nll",), by_run=True)
    assert {r.label for r in table.groups[0].rows} == names
    assert [r.seeds for r in table.groups[0].rows] == ["0", "1"]


def test_an_unknown_metric_is_refused(results: Path, write: Write) -> None:
    write("ffjord", "moons")
    with pytest.raises(UsageError, match=r"no metric named 'mmd_n1'.*mmd_m"):
        comparison(records(results), ("mmd_n1",))


def crowd(write: Write) -> None:
    """A table with all that can be in one."""
    for method, nll in (("rectified-flow", -146.0), ("ffjord", -37.8), ("gaussian", -96.6)):
        for seed in range(3):
            write(
                *(method, "bsds300", seed),
                nll=nll + 0.41 * seed,
                mmd_m=1.73e-3 + 1.2e-4 * seed,
                mmd_1=2.0e-4 + 3e-6 * seed,
                tau_m=1.7e-4 + 1e-6 * seed,
                tau_1=2e-4,
                p_m=0.2,
                p_1=0.2,
                nll_solver_error=0.02,
                cost__train_seconds=12345.6,
                cost__peak_rss_bytes=123 * 2**30,
                dataset__kind="redrawn",
                dataset__d=63,
            )
    write("score-sde", "bsds300", 0, status="error", reason=HOSTILE * 10, dataset__d=63)
    write(HOSTILE, HOSTILE, 0, run="hostile", method__config={HOSTILE: HOSTILE})
    write(HOSTILE, HOSTILE, 0, run="hostile2", method__config={HOSTILE: "données 数据"})


@pytest.mark.parametrize("by_run", [False, True])
@pytest.mark.parametrize("metrics", [None, WIDE])
def test_text_fits_100_columns_and_is_plain(
    results: Path, write: Write, metrics: tuple[str, ...] | None, by_run: bool
) -> None:
    crowd(write)
    frame = records(results)
    table = comparison(frame, *([metrics] if metrics else []), by_run=by_run)
    shown = render(table, "text")
    wide = {"W", "F"}  # letters that take two columns
    assert (
        max(len(i) + sum(east_asian_width(c) in wide for c in i) for i in shown.split("\n")) <= 100
    )
    assert "\x1b" not in shown
    assert "…" not in shown
    for group in table.groups:
        for r in group.rows:
            assert r.label in shown
            for entry in r.entries:
                assert str(entry) in shown


def test_the_usual_text_table_is_one_panel(results: Path, write: Write) -> None:
    crowd(write)
    lines = render(comparison(records(results)), "text").splitlines()
    assert sum(line.startswith("rectified-flow") for line in lines) == 1


@pytest.mark.parametrize("standalone", [False, True])
def test_latex_parses_and_every_row_has_every_column(
    results: Path, write: Write, standalone: bool
) -> None:
    crowd(write)
    table = comparison(records(results), WIDE)
    shown = render(table, "latex", standalone=standalone)
    # strict: a brace or an environment that does not close is an error
    walker = LatexWalker(shown, tolerant_parsing=False)
    nodes, _, length = walker.get_latex_nodes()
    assert length == len(shown)
    environments = [n.environmentname for n in nodes if isinstance(n, LatexEnvironmentNode)]
    assert environments == (["document"] if standalone else ["table"])
    macros = {n.macroname for n in nodes if isinstance(n, LatexMacroNode)}
    assert ("documentclass" in macros) == standalone
    body = shown.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if re.search(r"(?<!\\)&", line)]
    assert len(lines) == 1 + sum(len(g.rows) + len(g.references) for g in table.groups)
    for line in lines:
        assert len(re.findall(r"(?<!\\)&", line)) == len(WIDE) + 1
    assert "<script>" not in shown


def test_latex_escapes_every_special_letter() -> None:
    assert escape_latex(r"\{}$&#%_^~<>") == (
        r"\textbackslash{}\{\}\$\&\#\%\_\textasciicircum{}\textasciitilde{}"
        r"\textless{}\textgreater{}"
    )
    assert escape_latex("é数\n") == "é[U+6570]"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_the_document_compiles(results: Path, write: Write, tmp_path: Path) -> None:
    crowd(write)
    for seed in range(60):  # more rows than a page holds
        write(f"method-{seed}", "moons", seed)
    shown = render(comparison(records(results), WIDE), "latex", standalone=True)
    (tmp_path / "table.tex").write_text(shown, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 1000


class Tags(HTMLParser):
    """Checks that tags nest, and collects them and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_html_nests_and_shows_hostile_names_as_they_are(results: Path, write: Write) -> None:
    crowd(write)
    table = comparison(records(results), WIDE)
    page = Tags()
    page.feed(render(table, "html"))
    assert page.open == []
    assert "script" not in page.seen
    assert any(HOSTILE in part for part in page.text)
    rows = sum(len(g.rows) + len(g.references) for g in table.groups)
    assert page.seen.count("td") == rows * (len(WIDE) + 1)


def test_markdown_has_its_columns_in_every_row(results: Path, write: Write) -> None:
    crowd(write)
    table = comparison(records(results), WIDE)
    shown = render(table, "markdown")
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(lines) == sum(2 + len(g.rows) + len(g.references) for g in table.groups)
    for line in lines:
        assert len(re.findall(r"(?<!\\)\|", line)) == len(WIDE) + 3
    assert "<script>" not in shown
    blocks = shown.split("\n\n")
    assert sum(block.startswith("| method") for block in blocks) == len(table.groups)


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no format named 'latx'.*latex"):
        render(Table(("method", "seeds"), (), (), ()), "latx")


def test_a_group_holds_its_rows() -> None:
    """A table without a reference row renders too."""
    group = Group("moons", ("d = 2",), (Row("ffjord", "", "1", ()),), ())
    table = Table(("method", "seeds"), (), (group,), ())
    assert "ffjord" in render(table, "text")
    assert "ffjord" in render(table, "latex")


def test_u_statistics_are_held_against_their_threshold(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0, mmd_m_u=6.0e-5, tau_m_u=6.1e-5)
    write("flow-matching", "moons", 0, mmd_m_u=6.2e-5, tau_m_u=6.1e-5)
    table = comparison(records(results), ("mmd_m_u", "tau_m_u"))
    assert cell(table, "ffjord", "MMD-m, U") == "6.00e-5°"
    assert cell(table, "flow-matching", "MMD-m, U") == "6.20e-5"
    assert table.groups[0].references == ()


def test_seeds_on_different_hardware_are_marked(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0)
    write("ffjord", "moons", 1, environment__threads=8)
    write("gaussian", "moons", 0)
    write("gaussian", "moons", 1)
    table = comparison(records(results))
    assert row(table, "ffjord").marks == "§"
    assert row(table, "gaussian").marks == ""
    assert "§ Its seeds ran on different hardware" in notes(table)


def test_repeated_seeds_are_told(results: Path, write: Write) -> None:
    write("ffjord", "moons", 0)
    write("ffjord", "moons", 0, started="2026-01-02T00:00:00+00:00")
    assert "1 earlier run(s) of a seed are left out" in notes(comparison(records(results)))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_of_any_width_shows_every_cell(results: Path, write: Write, width: int) -> None:
    for seed in range(3):
        write("rectified-flow", "bsds300", seed, nll=-146.0 + seed, mmd_m=1.7e-3 + 1e-4 * seed)
    table = comparison(records(results), WIDE)
    page = io.StringIO()
    text(table, Console(file=page, width=width, force_terminal=True, color_system="standard"))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", page.getvalue()).splitlines()
    assert "\x1b" in page.getvalue()
    assert max(map(len, lines)) <= min(width, 100)
    for entry in table.groups[0].rows[0].entries:
        assert str(entry) in "\n".join(lines)


def test_of_several_floors_the_best_one_counts(results: Path, write: Write) -> None:
    write("gaussian", "moons", nll=2.0)
    write("gaussian", "moons", nll=3.0, budget__minibatches=10)
    write("ffjord", "moons", nll=2.5)
    table = comparison(records(results))
    assert row(table, "ffjord").marks == "†"
    assert row(table, "gaussian (1)").marks == row(table, "gaussian (2)").marks == ""
