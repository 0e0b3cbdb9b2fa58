"""A check as it is read: on a terminal, and as a comment on a pull request."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bench.gate.comparison import Comparison
from bench.gate.rules import ALPHA, Finding
from bench.records.format import measured, scientific, signed, significant
from bench.tables.render import escape_markdown

#: The width of a page that goes into a file.
WIDTH = 120

TITLES = ("cell", "figure", "baseline", "now", "change", "tolerance", "")

#: verdict -> its word, and its colour on a terminal
VERDICTS = {
    "worse": ("worse", "bold red"),
    "noticed": ("costs more", "yellow"),
    "better": ("better", "green"),
    "new": ("new", "cyan"),
    "same": ("same", "dim"),
}


def show(comparison: Comparison, console: Console, *, everything: bool = False) -> None:
    """Print the check; with `everything`, what is as it was too."""
    colour = "bold red" if comparison.worse else "bold green"
    console.print(Text(headline(comparison), style=colour), highlight=False)
    for sentence in basis(comparison):
        console.print(Text(sentence, style="dim"), highlight=False)
    for finding in _sentences(comparison):
        word, style = VERDICTS[finding.verdict]
        console.print(Text(f"{word}: {_told(finding)}", style=style), highlight=False)
    rows = _numbers(comparison, everything)
    if rows:
        grid = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for k, title in enumerate(TITLES):
            grid.add_column(title, justify="right" if 2 <= k <= 5 else "left", no_wrap=k != 0)
        for finding in rows:
            word, style = VERDICTS[finding.verdict]
            grid.add_row(*map(Text, _row(finding)), Text(word, style=style))
        console.print(grid, highlight=False)
    for note in comparison.notes:
        console.print(Text(f"It ran otherwise: {note}."), highlight=False)
    console.print(Text(footing(comparison), style="dim"), highlight=False)


def text(comparison: Comparison, *, everything: bool = False) -> str:
    """The check as plain text."""
    page = io.StringIO()
    show(comparison, Console(file=page, width=WIDTH, color_system=None), everything=everything)
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


def markdown(comparison: Comparison, *, everything: bool = False) -> str:
    """The check as GitHub's Markdown."""
    lines = [f"### `bench check`: {escape_markdown(headline(comparison))}", ""]
    lines += [f"{escape_markdown(' '.join(basis(comparison)))}", ""]
    sentences = [
        f"- **{VERDICTS[f.verdict][0]}**: {escape_markdown(_told(f))}"
        for f in _sentences(comparison)
    ]
    lines += [*sentences, ""] if sentences else []
    rows = _numbers(comparison, everything)
    if rows:
        lines += [f"| {' | '.join(TITLES)} |", "|---|---|---:|---:|---:|---:|---|"]
        for finding in rows:
            word = VERDICTS[finding.verdict][0]
            word = f"**{word}**" if finding.verdict == "worse" else word
            lines.append(f"| {' | '.join([*map(escape_markdown, _row(finding)), word])} |")
        lines.append("")
    notes = [f"- It ran otherwise: {escape_markdown(note)}." for note in comparison.notes]
    lines += [*notes, ""] if notes else []
    return "\n".join([*lines, escape_markdown(footing(comparison))]) + "\n"


def headline(comparison: Comparison) -> str:
    """The verdict in a line."""
    compared, of = comparison.cells
    cells = f"{compared} of {of} cells" if compared < of else _many(of, "cell")
    if comparison.worse:
        found = comparison.with_verdict("worse")
        where = list(dict.fromkeys(f.where for f in found))
        named = ", ".join(where[:4]) + (f" and {len(where) - 4} more" if len(where) > 4 else "")
        return f"worse in {named} ({cells} compared)"
    if comparison.with_verdict("better"):
        return f"better, and nothing worse ({cells} compared)"
    return f"nothing worse ({cells} compared)"


def basis(comparison: Comparison) -> list[str]:
    """On what the comparison rests."""
    made = comparison.made
    by = f"commit {made['commit']}" if made.get("commit") else f"version {made.get('version')}"
    told = [f"The baseline is of {made.get('date')}, {by}."]
    against = "; ".join(comparison.place)
    if comparison.exact:
        told.append("Quality is compared to the bit.")
        told.append(f"Asked for, in spite of: {against}." if against else "Its arithmetic is here.")
    else:
        told.append(
            "Quality is compared within the spread of seeds "
            f"({ALPHA:.0%} that a clean tree is found worse, at most)"
            + (f", as here are other things: {against}." if against else ", as asked for.")
        )
        told.append(
            f"A step takes {comparison.machine:.2f} times the yardsticks that it took there, by "
            "the median over cells; that is taken for the machine's."
            if comparison.machine
            else "Too few cells tell what of a step's cost is the machine's: it does not count."
        )
    return told


def footing(comparison: Comparison) -> str:
    """How many findings there are of each kind."""
    counted: Counter[str] = Counter(f.verdict for f in comparison.findings)
    told = [f"{counted[v]} {word}" for v, (word, _) in VERDICTS.items() if counted[v]]
    return f"{_many(len(comparison.findings), 'figure')}: {', '.join(told)}."


def _sentences(comparison: Comparison) -> list[Finding]:
    """The findings that no row of numbers can tell."""
    return [f for f in comparison.findings if f.change is None]


def _numbers(comparison: Comparison, everything: bool) -> list[Finding]:
    shown = (f for f in comparison.findings if everything or f.verdict != "same")
    return [f for f in shown if f.change is not None]


def _told(finding: Finding) -> str:
    values = [
        f"{name} {measured(value)}"
        for name, value in (("was", finding.was), ("is", finding.now))
        if value is not None
    ]
    told = f"{finding.where}: {f'{finding.figure}: ' if finding.figure else ''}{finding.rule}"
    return f"{told} ({', '.join(values)})" if values else told


def _row(finding: Finding) -> Sequence[str]:
    return [finding.where, finding.figure, *_values(finding), _change(finding), _tolerance(finding)]


def _values(finding: Finding) -> Iterator[str]:
    """Both values, to the digits in which they differ."""
    assert finding.change is not None
    for value in (finding.was, finding.now):
        assert value is not None
        if finding.rule == "ratio":
            yield str(significant(value))
        elif abs(value) < 0.01:
            yield str(scientific(value))
        else:
            yield str(replace(measured(value, abs(finding.change) or None), error=""))


def _change(finding: Finding) -> str:
    assert finding.change is not None
    if finding.rule == "ratio":
        return f"× {finding.change:.2f}"
    told = str(signed(finding.change))
    return f"{told} ({finding.change / finding.spread:+.1f} s.d.)" if finding.spread else told


def _tolerance(finding: Finding) -> str:
    tolerance = finding.tolerance
    assert tolerance is not None
    if finding.rule == "ratio":
        return f"× {tolerance:.2f}"
    if tolerance == 0:
        return "exact"
    return "none" if math.isinf(tolerance) else f"{scientific(tolerance)}"


def _many(n: int, of: str) -> str:
    return f"{n} {of}" if n == 1 else f"{n} {of}s"
