"""A check as people read it: on a terminal, and as a comment on a pull request."""

from __future__ import annotations

import io
import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import terminal
from bench.gate.findings import ALPHA, Comparison, GateFinding
from bench.gate.measured import title
from bench.records.format import measured, scientific, signed, significant
from bench.tables.render import escape_markdown

#: The width of a page that goes into a file.
WIDTH = 120

HEADINGS = ("cell", "number", "baseline", "now", "change", "tolerance", "")

#: verdict -> its word, and its colour on a terminal
WORDS = {
    "worse": ("worse", "bold red"),
    "noticed": ("costs more", "yellow"),
    "better": ("better", "green"),
    "new": ("new", "cyan"),
    "same": ("same", "dim"),
}


def show(comparison: Comparison, form: str = "text", everything: bool = False) -> None:
    """Print the check, in colour on a terminal; with `everything`, what did not change too."""
    if form == "text" and sys.stdout.isatty():
        terminal.console().print(*_blocks(comparison, everything), sep="\n")
    else:
        terminal.echo(page(comparison, form, everything), nl=False, lines=True)


def page(comparison: Comparison, form: str = "text", everything: bool = False) -> str:
    """Return the check as plain text, or as GitHub's `markdown`."""
    if form == "text":
        text = io.StringIO()
        console = Console(file=text, width=WIDTH, color_system=None)
        console.print(*_blocks(comparison, everything), sep="\n", highlight=False)
        return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())
    sentences, numbers = _shown(comparison, everything)
    words = {name: f"**{w}**" if name == "worse" else w for name, (w, _) in WORDS.items()}
    rows = [[*map(escape_markdown, _row(f)), words[f.verdict]] for f in numbers]
    table = [HEADINGS, ("---", "---", *["---:"] * 4, "---"), *rows] if rows else []
    notes = [f"Differs from the baseline: {note}." for note in comparison.notes]
    blocks: list[list[str]] = [
        [f"### `bench check`: {escape_markdown(headline(comparison))}"],
        [escape_markdown(" ".join(basis(comparison)))],
        [f"- {words[f.verdict]}: {escape_markdown(_sentence(f))}" for f in sentences],
        [f"| {' | '.join(row)} |" for row in table],
        [f"- {escape_markdown(note)}" for note in notes],
        [escape_markdown(summary(comparison))],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _blocks(comparison: Comparison, everything: bool) -> Iterator[Text | Table]:
    sentences, numbers = _shown(comparison, everything)
    verdict = headline(comparison)
    yield Text(verdict[0].upper() + verdict[1:], "bold red" if comparison.worse else "bold green")
    for sentence in basis(comparison):
        yield Text(sentence, "dim")
    for finding in sentences:
        word, style = WORDS[finding.verdict]
        yield Text(f"{word}: {_sentence(finding)}", style)
    if numbers:
        grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for k, heading in enumerate(HEADINGS):
            grid.add_column(heading, justify="right" if 2 <= k <= 5 else "left", no_wrap=k != 0)
        for finding in numbers:
            grid.add_row(*map(Text, _row(finding)), Text(*WORDS[finding.verdict]))
        yield grid
    for note in comparison.notes:
        yield Text(f"Differs from the baseline: {note}.")
    yield Text(summary(comparison), "dim")


def headline(comparison: Comparison) -> str:
    """Return the verdict in a line."""
    compared, of = comparison.cells
    cells = f"({compared} of {of} cells compared)"
    if comparison.worse:
        where = list(dict.fromkeys(f.where for f in comparison.with_verdict("worse")))
        more = f" and {len(where) - 4} more" if len(where) > 4 else ""
        return f"worse in {', '.join(where[:4])}{more} {cells}"
    better = "better, and " if comparison.with_verdict("better") else ""
    return f"{better}nothing is worse {cells}"


def basis(comparison: Comparison) -> list[str]:
    """Say what the comparison rests on, a sentence each."""
    made, rules = comparison.made, comparison.rules
    by = f"commit {made['commit']}" if made.get("commit") else f"version {made.get('version')}"
    sentences = [f"Baseline of {made.get('date')}, {by}."]
    reasons = f"this differs: {'; '.join(comparison.place)}" if comparison.place else ""
    if rules.exact:
        why = f"as asked for, although {reasons}" if reasons else "same arithmetic"
        sentences.append(f"Quality is compared to the bit ({why}).")
    else:
        why = reasons or "as asked for"
        sentences.append(f"Quality is compared within the spread of seeds ({why}).")
        sentences.append(f"An unchanged tree is found worse in at most {ALPHA:.0%} of checks.")
        sentences.append(
            f"Steps cost {rules.machine:.2f} times the baseline's (median over cells); this is "
            "attributed to the machine."
            if rules.machine
            else "The cost of a step does not count: too few cells to tell the machine's part."
        )
    if comparison.uncompared:
        names = ", ".join(map(title, comparison.uncompared))
        sentences.append(f"Not in the baseline, so not compared: {names}.")
    return sentences


def summary(comparison: Comparison) -> str:
    """Count the findings of each kind."""
    counts: Counter[str] = Counter(f.verdict for f in comparison.findings)
    parts = [f"{counts[name]} {word}" for name, (word, _) in WORDS.items() if counts[name]]
    return f"Findings: {', '.join(parts)}."


def _shown(comparison: Comparison, everything: bool) -> tuple[list[GateFinding], list[GateFinding]]:
    """The findings that need a sentence, as no numbers were compared, and those with numbers."""
    shown = [f for f in comparison.findings if everything or f.verdict != "same"]
    sentences = [f for f in shown if math.isnan(f.change)]
    return sentences, [f for f in shown if not math.isnan(f.change)]


def _sentence(finding: GateFinding) -> str:
    both = {"was": finding.was, "is": finding.now}
    values = [f"{name} {measured(value)}" for name, value in both.items() if not math.isnan(value)]
    column = f"{title(finding.column)}: " if finding.column else ""
    numbers = f" ({', '.join(values)})" if values else ""
    return f"{finding.where}: {column}{finding.reason}{numbers}"


def _row(finding: GateFinding) -> list[str]:
    """The cells of a row: both values to the digits in which they differ, change and tolerance."""
    both, change, tolerance = (finding.was, finding.now), finding.change, finding.tolerance
    start = [finding.where, title(finding.column)]
    if finding.code == "ratio":
        values = [str(significant(value)) for value in both]
        return [*start, *values, f"× {change:.2f}", f"× {tolerance:.2f}"]
    for value in both:
        small, digits = abs(value) < 0.01, measured(value, abs(change) or None)
        start.append(str(scientific(value) if small else replace(digits, error="")))
    spread = f" ({change / finding.spread:+.1f} s.d.)" if finding.spread else ""
    limit = "none" if math.isinf(tolerance) else str(scientific(tolerance))
    return [*start, f"{signed(change)}{spread}", limit if tolerance else "exact"]
