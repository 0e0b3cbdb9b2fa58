"""LaTeX that compiles, with no box too full or too empty, whatever the records hold.

`tox -e latex` runs this with BENCH_NEEDS_LATEX set: there a missing pdflatex is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.table import column_sets
from bench.records.frame import records
from bench.tables.render import TableOptions, page

from .conftest import Write
from .every_cell import every_cell

#: A paper that takes the table in.
PAPER = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{lmodern}
\usepackage[a4paper,margin=2.5cm]{geometry}
\usepackage{booktabs,array,rotating,siunitx,adjustbox}
\begin{document}
See Table~\ref{tab:mine}.
\input{table}
\end{document}
"""

#: What the log says of boxes, of floats that fit no page, of fonts and of errors. Of references it
#: can't be asked: they need a second run.
WARNED = re.compile(
    r"^(?:Overfull|Underfull|! |LaTeX Font Warning|LaTeX Warning: (?!Reference|There|Label)).*",
    re.MULTILINE,
)

pytestmark = pytest.mark.slow


def compiled(tmp_path: Path, tex: str) -> str:
    """Compile a document and return what it warns of."""
    if not shutil.which("pdflatex"):
        if os.environ.get("BENCH_NEEDS_LATEX"):
            pytest.fail(
                "pdflatex is not installed: apt install texlive-latex-extra texlive-science"
            )
        pytest.skip("pdflatex is not installed (tox -e latex needs it)")
    (tmp_path / "paper.tex").write_text(tex, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    return "\n".join(WARNED.findall((tmp_path / "paper.log").read_text(encoding="latin-1")))


OPTIONS = {
    "plain": TableOptions(),
    "siunitx": TableOptions(siunitx=True),
    "published": TableOptions(published=True),
    "published, siunitx": TableOptions(published=True, siunitx=True),
    "transposed": TableOptions(transpose=True),
    "by method": TableOptions(by="method"),
    "by budget": TableOptions(by="budget"),
    "by run": TableOptions(by_run=True),
    "by run, turned": TableOptions(by_run=True, transpose=True),
    "all columns": TableOptions(column_sets()["all"]),
}


@pytest.mark.parametrize("standalone", [True, False])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_no_box_is_too_full_or_too_empty(
    results: Path, write: Write, tmp_path: Path, options: TableOptions, standalone: bool
) -> None:
    every_cell(write)
    options = replace(options, standalone=standalone, label="tab:mine")
    tex = page(records(results), "latex", options, results)
    if standalone:
        assert compiled(tmp_path, tex) == ""
    else:
        (tmp_path / "table.tex").write_text(tex, encoding="utf-8")
        assert compiled(tmp_path, PAPER) == ""
