"""Convert docstrings from Markdown to reStructuredText, which Sphinx reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

#: Code in backticks, or a formula in dollars.
_SPAN = re.compile(r"`(?P<code>[^`]+)`|(?<![\w$])\$(?P<formula>[^$]+)\$")

#: What reStructuredText would take for markup; an underscore before a colon ends the name of an
#: attribute.
_MARKUP = re.compile(r"[\\*|]|(?<=\w)_(?=[^\w:]|$)")


def setup(app: Any) -> dict[str, bool]:
    """Convert before napoleon parses the sections."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True}


def _process(
    app: Any, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    lines[:] = converted(lines)


def converted(lines: list[str]) -> list[str]:
    """Convert the lines: code, formulas, and literal blocks.

    A block indented by four spaces or more, after an empty line and outside of a section, becomes a
    literal block. Examples (`>>>`) are left as they are.
    """
    paragraphs = [
        list(group)
        for empty, group in groupby(lines, key=lambda line: not line.strip())
        if not empty
    ]
    result: list[str] = []
    for paragraph in paragraphs:
        result += [*_paragraph(paragraph), ""]
    return result


def _paragraph(lines: list[str]) -> Iterator[str]:
    if lines[0].lstrip().startswith(">>>"):
        yield from lines
    elif lines[0].startswith("$$"):
        yield ".. math::"
        yield ""
        body = "\n".join(lines).strip().strip(",.").strip("$")
        yield from (f"   {line}" for line in body.splitlines())
    elif lines[0].startswith("    "):
        yield "::"
        yield ""
        yield from (f"  {line}" for line in lines)
    else:
        yield from _inline("\n".join(lines)).splitlines()


def _inline(text: str) -> str:
    parts, end = [], 0
    for match in _SPAN.finditer(text):
        parts.append(_escaped(text[end : match.start()]))
        if match["code"] is not None:
            parts.append(f"``{' '.join(match['code'].split())}``")
        else:
            parts.append(f":math:`{' '.join(match['formula'].split())}`")
        end = match.end()
    return "".join([*parts, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return _MARKUP.sub(lambda found: f"\\{found[0]}", text)
