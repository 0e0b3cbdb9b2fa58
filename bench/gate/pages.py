"""A check as people read it: on a terminal, and as a comment on a pull request."""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.gate.comparison import ALPHA, Comparison, GateFinding
from bench.gate.measured import title
from bench.records.format import measured, scientific, signed, significant
from bench.tables.render import escape_markdown

#: The width of a page that goes into a file.
WIDTH = 120

HEADINGS = ("cell", "number", "baseline", "now", "change", "tolerance", "")

#: verdict -> its word, and its colour on a terminal
VERDICTS = {
    "worse": ("worse", "bold red"),
    "noticed": ("costs more", "yellow"),
    "better": ("better", "green"),
    "new": ("new", "cyan"),
    "same": ("same", "dim"),
}


def show(comparison: Comparison, console: Console, *, everything: bool = False) -> None:
    """Print the check; with `everything`, what did not change too."""

    def line(words: str, style: str = "") -> None:
        console.print(Text(words, style=style), highlight=False)

    verdict = headline(comparison)
    line(verdict[0].upper() + verdict[1:], "bold red" if comparison.worse else "bold green")
    for sentence in basis(comparison):
        line(sentence, "dim")
    for finding in _sentences(comparison):
        word, style = VERDICTS[finding.verdict]
        line(f"{word}: {_sentence(finding)}", style)
    if rows := _numbers(comparison, everything):
        grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for k, heading in enumerate(HEADINGS):
            grid.add_column(heading, justify="right" if 2 <= k <= 5 else "left", no_wrap=k != 0)
        for finding in rows:
            word, style = VERDICTS[finding.verdict]
            grid.add_row(*map(Text, _row(finding)), Text(word, style=style))
        console.print(grid, highlight=False)
    for note in comparison.notes:
        line(f"Differs from the baseline: {note}.")
    line(summary(comparison), "dim")


def text(comparison: Comparison, *, everything: bool = False) -> str:
    """Return the check as plain text."""
    page = io.StringIO()
    show(comparison, Console(file=page, width=WIDTH, color_system=None), everything=everything)
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


def markdown(comparison: Comparison, *, everything: bool = False) -> str:
    """Return the check as GitHub's Markdown."""
    blocks = [
        [f"### `bench check`: {escape_markdown(headline(comparison))}"],
        [escape_markdown(" ".join(basis(comparison)))],
        [
            f"- **{VERDICTS[f.verdict][0]}**: {escape_markdown(_sentence(f))}"
            for f in _sentences(comparison)
        ],
    ]
    if rows := _numbers(comparison, everything):
        table = [f"| {' | '.join(HEADINGS)} |", "|---|---|---:|---:|---:|---:|---|"]
        for finding in rows:
            word = VERDICTS[finding.verdict][0]
            word = f"**{word}**" if finding.verdict == "worse" else word
            table.append(f"| {' | '.join([*map(escape_markdown, _row(finding)), word])} |")
        blocks.append(table)
    notes = [f"- Differs from the baseline: {escape_markdown(n)}." for n in comparison.notes]
    blocks += [notes, [escape_markdown(summary(comparison))]]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def headline(comparison: Comparison) -> str:
    """Return the verdict in a line."""
    compared, of = comparison.cells
    cells = f"{compared} of {of} cells" if compared < of else _many(of, "cell")
    if comparison.worse:
        where = list(dict.fromkeys(f.where for f in comparison.with_verdict("worse")))
        more = f" and {len(where) - 4} more" if len(where) > 4 else ""
        return f"worse in {', '.join(where[:4])}{more} ({cells} compared)"
    better = "better, and " if comparison.with_verdict("better") else ""
    return f"{better}nothing is worse ({cells} compared)"


def basis(comparison: Comparison) -> list[str]:
    """Say what the comparison rests on, a sentence each."""
    made = comparison.made
    by = f"commit {made['commit']}" if made.get("commit") else f"version {made.get('version')}"
    sentences = [f"Baseline of {made.get('date')}, {by}."]
    reasons = "; ".join(comparison.place)
    if comparison.exact:
        why = f"as asked for, although this differs: {reasons}" if reasons else "same arithmetic"
        sentences.append(f"Quality is compared to the bit ({why}).")
    else:
        why = f"this differs: {reasons}" if reasons else "as asked for"
        sentences.append(f"Quality is compared within the spread of seeds ({why}).")
        sentences.append(f"An unchanged tree is found worse in at most {ALPHA:.0%} of checks.")
        sentences.append(
            f"Steps cost {comparison.machine:.2f} times the baseline's (median over cells), which "
            "is attributed to the machine."
            if comparison.machine
            else "The cost of a step does not count: too few cells to tell the machine's part."
        )
    if comparison.uncompared:
        names = ", ".join(map(title, comparison.uncompared))
        sentences.append(f"Not in the baseline, so not compared: {names}.")
    return sentences


def summary(comparison: Comparison) -> str:
    """Count the findings of each kind."""
    counts: Counter[str] = Counter(f.verdict for f in comparison.findings)
    parts = [f"{counts[v]} {word}" for v, (word, _) in VERDICTS.items() if counts[v]]
    return f"{_many(len(comparison.findings), 'finding')}: {', '.join(parts)}."


def _sentences(comparison: Comparison) -> list[GateFinding]:
    """The findings that need a sentence, as no numbers were compared."""
    return [f for f in comparison.findings if math.isnan(f.change)]


def _numbers(comparison: Comparison, everything: bool) -> list[GateFinding]:
    shown = (f for f in comparison.findings if everything or f.verdict != "same")
    return [f for f in shown if not math.isnan(f.change)]


def _sentence(finding: GateFinding) -> str:
    values = [
        f"{name} {measured(value)}"
        for name, value in (("was", finding.was), ("is", finding.now))
        if not math.isnan(value)
    ]
    column = f"{title(finding.column)}: " if finding.column else ""
    numbers = f" ({', '.join(values)})" if values else ""
    return f"{finding.where}: {column}{finding.reason}{numbers}"


def _row(finding: GateFinding) -> list[str]:
    """The cells of a row: both values to the digits in which they differ, change and tolerance."""
    was, now, change, tolerance = finding.was, finding.now, finding.change, finding.tolerance
    start = [finding.where, title(finding.column)]
    if finding.code == "ratio":
        values = [str(significant(value)) for value in (was, now)]
        return [*start, *values, f"× {change:.2f}", f"× {tolerance:.2f}"]
    values = [
        str(scientific(value))
        if abs(value) < 0.01
        else str(replace(measured(value, abs(change) or None), error=""))
        for value in (was, now)
    ]
    spread = f" ({change / finding.spread:+.1f} s.d.)" if finding.spread else ""
    limit = "none" if math.isinf(tolerance) else str(scientific(tolerance))
    return [*start, *values, f"{signed(change)}{spread}", limit if tolerance else "exact"]


def _many(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
