"""Writing a figure to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What dates a file, by its form.
_UNDATED: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def save(figure: Figure, path: Path, form: str) -> None:
    """Write a figure as pdf, svg or png; the same numbers give the same bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "bench", "pdf.fonttype": 42}):
        figure.savefig(
            path, format=form, dpi=200, bbox_inches="tight", metadata=_UNDATED.get(form, {})
        )
