"""What is printed: no name, reason or note steers the terminal; colours are the program's own."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

#: Characters that steer a terminal, that can't be seen or that set the direction of the text after
#: them, and halves of surrogate pairs.
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str, keep: str = "\n") -> str:
    """The text with each character that can't be seen, but those to `keep`, spelt as [U+202E]."""

    def spelt(found: re.Match[str]) -> str:
        return found[0] if found[0] in keep else f"[U+{ord(found[0]):04X}]"

    return _UNSEEN.sub(spelt, text)


class Guarded:
    """A text stream that writes what is `visible`; `raw` is the stream behind it.

    It has no `buffer`, by which click would write around it.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        if hasattr(raw, "reconfigure"):  # a stream in ASCII prints what it has no letter for, too
            raw.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write a text made visible."""
        self.raw.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self.raw, name)


def guard() -> None:
    """Have everything that Python writes to standard output and standard error made visible.

    That holds for warnings, tracebacks and what plug-ins print, and until the process ends.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Guarded):
            setattr(sys, name, Guarded(stream))


def _raw(err: bool) -> Any:
    stream = sys.stderr if err else sys.stdout
    return stream.raw if isinstance(stream, Guarded) else stream


def echo(
    text: object = "", *, err: bool = False, nl: bool = True, lines: bool = False, **style: Any
) -> None:
    """Print a text made visible, one line or `lines`, on a terminal in a style of `click.style`."""
    import click

    stream, shown = _raw(err), visible(str(text), "\n" if lines else "")
    if style and stream is not None and stream.isatty():
        shown = click.style(shown, **style)
    click.echo(shown, stream, nl=nl)


def console(*, err: bool = False) -> Console:
    """A rich console that takes no markup from texts and prints them visible."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Visible(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=visible(segment.text))

    return Visible(file=_raw(err), markup=False, emoji=False, highlight=False)
