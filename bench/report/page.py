"""The report as one HTML page that needs no other file; it begins with the answers."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from bench.records import catalogue, store
from bench.records.format import measured, whole
from bench.records.frame import Cell
from bench.report import pictures, runs, setting
from bench.report.setting import Gathered
from bench.stats.significance import PERCENT
from bench.tables.comparison import comparison
from bench.tables.details import details
from bench.tables.latex import templates
from bench.tables.layout import Row, Table, labels
from bench.tables.marks import VERDICT, Contest, groups_of, heading_of, is_complete, is_floor
from bench.tables.published import with_published
from bench.tables.render import html_grid, html_notes
from bench.terminal import visible

#: The columns of the comparison; a phone has room for the first ones.
COLUMNS = (
    *("nll", VERDICT, "train_seconds", "memory_bytes", "mmd_m", "mmd_1", "sample_seconds"),
    *("params", "minibatches"),
)

#: Rows of a data set that are shown; commands that are printed; answers that are not folded.
MOST_ROWS, MOST_COMMANDS, MOST_ANSWERS = 100, 40, 20

#: What each number rests on is shown for data sets with at most so many runs.
MOST_DETAILED = 120

#: More methods than these are counted in an answer, and not named.
MOST_NAMED = 4

#: The label of each row of a group by the key of its cell.
Names = Mapping[tuple[Any, ...], str]


@dataclass(frozen=True)
class Answer:
    """What the tests say of one data set under one budget.

    Attributes:
        dataset: the data set.
        place: the same, with the budget and the revision where there are several.
        code: `ahead` (one method is significantly better than all others), `tie` (several are not
            significantly worse than the best), `untested`, `alone` (one method has an NLL of all
            its seeds), `incomplete` (none has), `failed` (no run ended well).
        text: the sentence.
    """

    dataset: str
    place: str
    code: str
    text: str


def page(
    gathered: Gathered,
    kept: pictures.Kept | None = None,
    *,
    watched: bool = False,
    published: bool = False,
    title: str = "",
) -> tuple[bytes, list[str]]:
    """The page of these runs, if any, and a line for each figure that a bug kept from being drawn.

    Args:
        gathered: the runs.
        kept: the figures drawn before; those of the same runs are not drawn again.
        watched: whether a server provides it, which the page then asks for updates.
        published: whether the table gets columns with the literature's numbers.
        title: in place of the usual one.
    """
    records, content = gathered.records, {}
    if records:
        content = _content(gathered, {} if kept is None else kept, published)
    content |= {
        "title": title,
        "count": len(records),
        "failed": sum(record.status != "ok" for record in records),
        "left_out": gathered.left_out,
        "in_progress": tuple(runs.in_progress(gathered.results)),
        "made": setting.minute(store.utc()),
        "version": version("cnf-bench"),
        "watched": watched,
        "style": _file("page.css"),
        "script": _file("page.js"),
        "policy": _policy(watched),
    }
    bugs = [
        f"Not drawn: {kind} {where}: {why}"
        for kind, where, why, bug in content.get("not_drawn", ())
        if bug
    ]
    return _rendered("page.html.j2", content).encode("utf-8", "backslashreplace"), bugs


def progress_list(results: Path) -> str:
    """The list of the runs in progress alone."""
    known = tuple(runs.in_progress(results))
    return _rendered("progress.html.j2", {"in_progress": known})


def _content(gathered: Gathered, kept: pictures.Kept, published: bool) -> dict[str, Any]:
    """What a page with runs shows beside what every page does."""
    records, compared = gathered.records, gathered.compared
    table = comparison(compared, COLUMNS, results=gathered.results)
    found = answers(groups_of(compared), table.contests)
    if published:
        table = with_published(table, compared)
    table, cut = shortened(table)
    data = setting.datasets(records, compared)
    figures, remark = pictures.pictures(gathered, kept)
    across = {"figures": figures, "remark": remark}
    names = dict.fromkeys(each.record.name for each in data)
    sections = [_section(gathered, name, data, kept) for name in names]
    places = defaultdict(list)
    listed = tuple(runs.listed(gathered, kept))
    curves = [run.not_drawn for run in listed]
    for each in (*(one for part in (across, *sections) for one in part["figures"]), *curves):
        if isinstance(each, pictures.NotDrawn):
            places[each.kind, each.why, each.bug].append(each.place)
    commands = setting.commands(records)
    return {
        "answers": found[:MOST_ANSWERS],
        "more_answers": found[MOST_ANSWERS:],
        "terms": tuple(setting.setting(records)),
        "grid": html_grid(table, caption="A part for each data set and budget"),
        "notes": html_notes(table),
        "cut": cut,
        "names": sorted(names),
        "statuses": sorted({record.status for record in records}),
        "across": across,
        "sections": sections,
        "not_drawn": [
            (kind, ", ".join(filter(None, where)), why, bug)
            for (kind, why, bug), where in places.items()
        ],
        "listed": listed,
        "numbers": [catalogue.column(name) for name in runs.NUMBERS],
        "in_full": sum(run.command is not None for run in listed),
        "curves": len(records) <= pictures.MOST_CURVES,
        "commands": commands[:MOST_COMMANDS],
        "more_commands": commands[MOST_COMMANDS:],
        "data": data,
        "columns": catalogue.measures().values(),
    }


def _section(
    gathered: Gathered, name: str, data: Sequence[setting.Revision], kept: pictures.Kept
) -> dict[str, Any]:
    """A data set's revisions, figures and what each number rests on."""
    figures, remark = pictures.pictures(gathered, kept, name)
    mine = gathered.compared[gathered.compared["dataset"] == name]
    lines = details(mine, gathered.results) if len(mine) <= MOST_DETAILED else []
    return {
        "name": name,
        "revisions": [each for each in data if each.record.name == name],
        "figures": figures,
        "remark": remark,
        "details": [(method, rows) for _, method, rows in lines],
        "failed": sum(r.status != "ok" for r in gathered.records if r.dataset.name == name),
    }


def answers(groups: Sequence[Sequence[Cell]], compared: Sequence[Contest]) -> list[Answer]:
    """A sentence for each data set and budget, from the tests of the comparison.

    Args:
        groups: the rows of the comparison, those of one data set, revision and budget together.
        compared: the rows whose NLLs were tested against each other.
    """
    headings = [heading_of(members[0]) for members in groups]
    datasets, revisions = Counter(h[0] for h in headings), Counter((h[0], h[2]) for h in headings)
    found = []
    for (name, revision, budget), members in zip(headings, groups, strict=True):
        apart = [f"budget {budget}"] if datasets[name] > revisions[name, budget] else []
        apart += [f"revision {str(revision)[:8]}"] if revisions[name, budget] > 1 else []
        place = f"{name} ({', '.join(apart)})" if apart else str(name)
        names = dict(zip(map(_key, members), map(str, labels(members)), strict=True))
        mine = [c for c in compared if heading_of(c.cells[0]) == (name, revision, budget)]
        if any(len(cell.well) for cell in members):
            told = [_decided(contest, names) for contest in mine] or [_undecided(members, names)]
            rest = [*_rest(members, names)]
        else:
            ended = Counter(str(s) for c in members for s in c.columns.plain("status")[c.rows])
            counts = ", ".join(f"{n} {status}" for status, n in ended.items())
            told, rest = [("failed", [f"every run failed ({counts})"])], []
        for code, clauses in told:
            found.append(Answer(str(name), place, code, f"{'; '.join([*clauses, *rest])}."))
    return found


def _undecided(members: Sequence[Cell], names: Names) -> tuple[str, list[str]]:
    """The code and the clauses of an answer where no rows were tested against each other."""
    complete = [cell for cell in members if is_complete(cell)]
    if not complete:
        return "incomplete", ["no method has an NLL for all of its seeds"]
    why = "no other method to compare with" if len(members) == 1 else "no test was possible"
    return "alone", [_lead(complete[0], names), why]


def _decided(contest: Contest, names: Names) -> tuple[str, list[str]]:
    """The code and the clauses of the answer that a contest gives."""
    decision, cells = contest.decision, contest.cells
    best = cells[decision.best]
    if decision.test == "none":
        why = "it can't be tested with one seed and no standard error"
        return "untested", [f"lowest NLL {_lead(best, names)}", why]
    tied = [cell for cell in contest.best if cell is not best]
    behind = [cell for cell in cells if cell is not best and cell not in tied]
    clauses = [_lead(best, names)]
    for words, others in (("no significant difference from", tied), ("ahead of", behind)):
        clauses += [f"{words} {_listed(others, names, len(cells) - 1)}"] if others else []
    clauses[-1] += f" ({PERCENT} level)"
    return "tie" if tied else "ahead", clauses


def _lead(cell: Cell, names: Names) -> str:
    """The method, its NLL, and how far that is from the entropy where it is known."""
    nll, entropy = cell.mean("nll"), cell.shared("entropy")
    text = f"{names[_key(cell)]} {catalogue.number('nll', nll)}".replace(" -", " −")
    if entropy is None:
        return text
    gap = f"{abs(nll - entropy):.2f}"
    if float(gap) == 0:
        return f"{text}, the best attainable"
    if nll > entropy:
        return f"{text}, {gap} nats above the best attainable"
    chance = nll + 2 * cell.mean("nll_se") >= entropy
    why = "by chance" if chance else "which is impossible: its density or the entropy is wrong"
    return f"{text}, {gap} nats below the best attainable, {why}"


def _rest(members: Sequence[Cell], names: Names) -> Iterator[str]:
    """What else must be known: rows that are worse than a Gaussian, that failed or have no NLL."""
    flows = [cell for cell in members if not is_floor(str(cell.key["method"]))]
    nlls = [nll for cell in flows if math.isfinite(nll := cell.mean("nll"))]
    floors = [nll for c in members if c not in flows and math.isfinite(nll := c.mean("nll"))]
    worse = [cell for cell in flows if cell.mean("nll") > min(floors, default=math.inf)]
    if worse and len(worse) == len(nlls):
        yield "no method beats the fitted Gaussian"
    elif worse:
        yield f"worse than a fitted Gaussian: {_listed(worse, names)}"
    if failed := [cell for cell in members if len(cell.well) < len(cell.rows)]:
        yield f"with failed runs, so not tested: {_listed(failed, names)}"
    if silent := [cell for cell in members if not is_complete(cell) and cell not in failed]:
        yield f"without an NLL: {_listed(silent, names)}"


def _listed(cells: Sequence[Cell], names: Names, others: int = 0) -> str:
    """The names of rows; `all others` or a count where they are many."""
    known = [names[_key(cell)] for cell in cells]
    if len(known) > MOST_NAMED:
        return f"all {others} others" if len(known) == others else f"{len(known)} methods"
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"


def _key(cell: Cell) -> tuple[Any, ...]:
    return tuple(cell.key.values())


def shortened(table: Table, most: int = MOST_ROWS) -> tuple[Table, list[str]]:
    """The table with the rows of lowest NLL in each group, in their order; a sentence on each cut.

    Bold and footnotes rest on all rows, as before.
    """
    nll = [column.name for column in table.columns].index("nll")

    def place(row: Row) -> float:
        value = row.entries[nll].value
        return math.inf if value is None else value

    groups, cut = [], []
    for group in table.groups:
        if len(group.rows) > most:
            best = {id(row) for row in sorted(group.rows, key=place)[:most]}
            cut.append(
                f"{group.name}: the {most} rows of lowest NLL of {len(group.rows)}; bold and notes "
                "rest on all of them"
            )
            group = replace(group, rows=tuple(row for row in group.rows if id(row) in best))
        groups.append(group)
    return replace(table, groups=tuple(groups)), cut


def _rendered(template: str, content: dict[str, Any]) -> str:
    """A filled template; characters that can't be seen or that reverse others are spelt out."""
    return visible(_environment().get_template(template).render(content), keep="\n\t")


def _policy(watched: bool) -> str:
    """What the browser lets the page do: its own style and script, its own pictures."""
    rules = ["default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'"]
    for kind, name in (("style", "page.css"), ("script", "page.js")):
        digest = base64.b64encode(hashlib.sha256(_file(name).encode()).digest()).decode()
        rules.append(f"{kind}-src 'sha256-{digest}'")
    return "; ".join([*rules, "connect-src 'self'"] if watched else rules)


@cache
def _file(name: str) -> str:
    """A file beside the templates, which is part of the program and not of any record."""
    return files("bench.report").joinpath("templates", name).read_text(encoding="utf-8")


def _pairs(values: Mapping[str, Any], between: str, separator: str = ", ") -> str:
    """The items of a mapping as text, without those that hold a number for each column."""
    known = {key: value for key, value in values.items() if key not in ("mean", "std")}
    return separator.join(f"{key}{between}{setting.plain(v)}" for key, v in known.items())


@cache
def _environment() -> Environment:
    filters = {
        "raw": Markup,
        "fields": lambda part: vars(part).items(),
        "pairs": _pairs,
        "plain": setting.plain,
        "whole": whole,
        "measured": measured,
        "minute": setting.minute,
        "sizes": lambda rows: ", ".join(
            f"{name} {whole(n)}" for name, n in vars(rows).items() if n is not None
        ),
        "anchor": setting.anchor,
    }
    return templates(filters, "bench.report", autoescape=True)
