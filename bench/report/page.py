"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.records import store
from bench.records.frame import cells
from bench.report import figures, runs, setting
from bench.report.commands import Command, commands
from bench.report.gathered import Gathered
from bench.report.parts import section
from bench.report.shortened import shortened
from bench.report.under_way import UnderWay, said
from bench.tables.comparison import comparison
from bench.tables.details import Detail, details
from bench.tables.published import with_published
from bench.tables.render import html_grid, html_notes

#: The columns of the comparison.
COLUMNS = (
    *("params", "minibatches", "nll", "mmd_m", "mmd_1", "train_seconds", "sample_seconds"),
    "memory_bytes",
)

#: So many commands are printed.
MOST_COMMANDS = 40

#: What a figure rests on is told of data sets with no more runs than these.
MOST_DETAILED = 120


#: Control characters, and those that set the direction of what follows them.
_UNSEEN = {
    code: f"[U+{code:04X}]"
    for code in (
        *(c for c in range(0x20) if chr(c) not in "\n\t"),
        *range(0x7F, 0xA0),
        *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    )
}


@dataclass(frozen=True)
class DataSection:
    """A data set's section: its revisions, its figures, what each number rests on."""

    name: str
    anchor: str
    revisions: tuple[setting.DataFacts, ...]
    shown: tuple[figures.Shown, ...]
    remark: str
    details: tuple[tuple[str, tuple[Detail, ...]], ...]
    runs: int
    failed: int


def page(
    gathered: Gathered,
    kept: figures.Kept | None = None,
    *,
    watched: bool = False,
    published: bool = False,
) -> str:
    """The page of these runs, of which there may be none.

    Args:
        gathered: the runs.
        kept: the figures drawn before, which are not drawn again of the same runs.
        watched: whether a server gives it, which the page then asks for news.
        published: whether the literature's figures stand beside the comparison.
    """
    kept = {} if kept is None else kept
    content = _content(gathered, kept, published) if gathered.records else _empty()
    content |= {
        "count": len(gathered.records),
        "failed": len(gathered.failed),
        "left_out": gathered.left_out,
        "under_way": gathered.under_way,
        "made": store.utc()[:16].replace("T", " "),
        "version": version("cnf-bench"),
        "watched": watched,
        "style": _text("page.css"),
        "script": _text("page.js"),
        "policy": _policy(watched),
    }
    return _plain(_environment().get_template("page.html.j2").render(content))


def runs_under_way(known: tuple[UnderWay, ...]) -> str:
    """The list of the runs under way alone."""
    return _plain(_environment().get_template("under_way.html.j2").render(under_way=known))


def _empty() -> dict[str, Any]:
    return {"terms": (), "sections": ()}


def _content(gathered: Gathered, kept: figures.Kept, published: bool) -> dict[str, Any]:
    records, frame = gathered.records, gathered.frame
    whole = comparison(gathered.compared, COLUMNS, results=gathered.results)
    if published:
        whole = with_published(whole, gathered.compared)
    table, cut = shortened(whole)
    data = setting.datasets(records, gathered.compared)
    over_all, over_all_said = figures.across(gathered, kept)
    sections, not_drawn = _sections(gathered, data, kept)
    not_drawn = [each for each in over_all if isinstance(each, figures.NotDrawn)] + not_drawn
    full = runs.in_full(records)
    lines = runs.lines(records, frame, set(gathered.compared["run"]), full)
    parts = [
        runs.part(each, line, next(cells(frame.iloc[[i]], by_run=True)), gathered.results)
        for i, (each, line) in enumerate(zip(records, lines, strict=True))
        if line.full
    ]
    asked = commands(records)
    return {
        "terms": tuple(setting.setting(records)),
        "grid": html_grid(table, caption="The comparison, a part for each data set and budget"),
        "notes": html_notes(table),
        "cut": cut,
        "names": sorted({line.dataset for line in lines}),
        "statuses": sorted({line.status for line in lines}),
        "across": [each for each in over_all if isinstance(each, figures.Shown)],
        "across_said": over_all_said,
        "sections": sections,
        "not_drawn": _alike(not_drawn),
        "lines": lines,
        "numbers": runs.NUMBERS.values(),
        "parts": parts,
        "failures": _failures(parts, lines),
        "commands": asked[:MOST_COMMANDS],
        "more_commands": _more(asked),
        "data": data,
    }


def _sections(
    gathered: Gathered, data: list[setting.DataFacts], kept: figures.Kept
) -> tuple[list[DataSection], list[figures.NotDrawn]]:
    sections: list[DataSection] = []
    not_drawn: list[figures.NotDrawn] = []
    for name in dict.fromkeys(each.name for each in data):
        found, remark = figures.of_dataset(gathered, name, kept)
        revisions = tuple(each for each in data if each.name == name)
        mine = gathered.compared[gathered.compared["dataset"] == name]
        not_drawn += [each for each in found if isinstance(each, figures.NotDrawn)]
        sections.append(
            DataSection(
                name=name,
                anchor=revisions[0].anchor,
                revisions=revisions,
                shown=tuple(each for each in found if isinstance(each, figures.Shown)),
                remark=remark,
                details=_details(mine, gathered),
                runs=sum(each.runs for each in revisions),
                failed=sum(section(r, "dataset").get("name") == name for r in gathered.failed),
            )
        )
    return sections, not_drawn


def _details(mine: pd.DataFrame, gathered: Gathered) -> tuple[tuple[str, tuple[Detail, ...]], ...]:
    """What each figure of a data set rests on, a block for each row of its comparison."""
    if len(mine) > MOST_DETAILED:
        return ()
    return tuple((method, tuple(lines)) for _, method, lines in details(mine, gathered.results))


def _alike(found: list[figures.NotDrawn]) -> list[tuple[str, str, str]]:
    """The kind, the places and the reason; places with the same reason together."""
    places: dict[tuple[str, str], list[str]] = {}
    for each in found:
        places.setdefault((each.kind, each.why), []).append(each.place)
    return [(kind, ", ".join(filter(None, where)), why) for (kind, why), where in places.items()]


def _failures(parts: list[runs.Part], lines: list[runs.Line]) -> list[runs.Line | runs.Part]:
    """Each failed run, in full where it is shown in full."""
    shown = {each.line.run: each for each in parts}
    return [shown.get(line.run, line) for line in lines if line.status != "ok"]


def _more(asked: list[Command]) -> str:
    left = asked[MOST_COMMANDS:]
    if not left:
        return ""
    return f"And {len(left)} further commands for {sum(each.runs for each in left)} runs."


def _plain(text: str) -> str:
    """The text with the code points of letters that no page shows and that turn others round."""
    return text.translate(_UNSEEN)


def _policy(watched: bool) -> str:
    """What the browser lets the page do: its own style and script, its own pictures."""
    hashes = {
        name: base64.b64encode(hashlib.sha256(_text(name).encode()).digest()).decode()
        for name in ("page.css", "page.js")
    }
    rules = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{hashes['page.css']}'",
        "script-src": f"'sha256-{hashes['page.js']}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    if watched:
        rules["connect-src"] = "'self'"
    return "; ".join(f"{name} {value}" for name, value in rules.items())


@cache
def _text(name: str) -> str:
    """A file beside the templates, which is part of the program and not of any record."""
    return files("bench.report.templates").joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bench.report", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters |= {"said": said, "raw": Markup}
    return environment
