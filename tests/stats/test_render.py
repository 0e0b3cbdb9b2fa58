"""A comparison as text, LaTeX, Markdown and HTML."""

from __future__ import annotations

import io
import re
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
from bench.records.frame import records
from bench.tables.comparison import WIDE, comparison
from bench.tables.latex import escape_latex, latex
from bench.tables.layout import Row, RowGroup, Table
from bench.tables.render import render, text

from .conftest import Write

HOSTILE = r"a_b%$#{}~^\ <script>|`*&[x]"
#: As much of it as the name of a data set may have.
NAMED = HOSTILE.replace("\\", "")


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
    write("hostile", NAMED, 0, run="hostile", method__config={HOSTILE: HOSTILE})
    write("hostile", NAMED, 0, run="hostile2", method__config={HOSTILE: "données 数据"})


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
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("standalone", [False, True])
def test_latex_parses_and_every_row_has_every_column(
    results: Path, write: Write, standalone: bool
) -> None:
    crowd(write)
    table = comparison(records(results), WIDE)
    shown = latex(table, standalone=standalone)
    # strict: a brace or an environment that does not close is an error
    walker = LatexWalker(shown, tolerant_parsing=False)
    nodes, _, length = walker.get_latex_nodes()
    assert length == len(shown)
    environments = {n.environmentname for n in nodes if isinstance(n, LatexEnvironmentNode)}
    assert ("document" in environments) == standalone
    assert standalone or environments <= {"table", "sidewaystable"}
    macros = {n.macroname for n in nodes if isinstance(n, LatexMacroNode)}
    assert ("documentclass" in macros) == standalone
    body = "".join(part.partition(r"\bottomrule")[0] for part in shown.split(r"\toprule")[1:])
    lines = [line for line in body.splitlines() if re.search(r"(?<!\\)&", line)]
    preamble = re.search(r"begin\{tabular\}(.*)", shown)
    assert preamble is not None
    for line in lines:
        merged = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
        assert len(re.findall(r"(?<!\\)&", line)) + merged == width_of(preamble.group(1)) - 1, line
    assert sum("ffjord" in line for line in lines) == 1
    assert "<script>" not in shown


def width_of(preamble: str) -> int:
    """The columns of a tabular."""
    plain = re.sub(r">\{(?:[^{}]|\{[^{}]*\})*\}|@\{\}|(?<=p)\{[^}]*\}", "", preamble)
    return len(re.findall(r"[lrp]", plain))


def test_latex_escapes_every_special_letter() -> None:
    assert escape_latex(r"\{}$&#%_^~<>") == (
        r"\textbackslash{}\{\}\$\&\#\%\_\textasciicircum{}\textasciitilde{}"
        r"\textless{}\textgreater{}"
    )
    assert escape_latex("é数\n") == "é[U+6570]"


def test_latex_raises_the_powers_of_ten() -> None:
    assert escape_latex("rtol 1e-05, atol 2.5e-6.") == (
        r"rtol $10^{-5}$, atol $2.5\times 10^{-6}$."
    )
    assert escape_latex("1e400 3e-05ab ab1e-05 12e45678") == "1e400 3e-05ab ab1e-05 12e45678"


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
    with pytest.raises(UsageError, match=r"Unknown format 'latx'.*latex"):
        render(Table(("method", "seeds"), (), (), ()), "latx")


def test_a_group_holds_its_rows() -> None:
    """A table without a reference row renders too."""
    group = RowGroup("moons", ("d = 2",), (Row("ffjord", "", "1", ()),), ())
    table = Table(("method", "seeds"), (), (group,), ())
    assert "ffjord" in render(table, "text")
    assert "ffjord" in latex(table)


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
