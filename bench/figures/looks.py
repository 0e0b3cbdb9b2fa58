"""The colour and the marker of a method: the same in every figure.

A colour belongs to a name and not to a place in a list, so that a figure with fewer methods, or one
drawn after a method was added, has the same colours. The palette is Okabe and Ito's (2008) without
its yellow, which is lost on white, and with a violet and a brown; whoever lacks one kind of cone
tells them all apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32


@dataclass(frozen=True)
class Look:
    """A colour as `#rrggbb`, and matplotlib's letter of a marker."""

    colour: str
    marker: str


#: What is neither method nor measurement: axes, text, thresholds.
INK, PALE = "#222222", "#767676"

#: The names that have a look of their own; the fitted floor is black.
LOOKS = {
    "jko": Look("#D55E00", "o"),
    "ot-flow": Look("#009E73", "s"),
    "ffjord": Look("#0072B2", "^"),
    "flow-matching": Look("#E69F00", "D"),
    "rectified-flow": Look("#CC79A7", "v"),
    "score-sde": Look("#56B4E9", "P"),
    "iresnet": Look("#7A2FD0", "X"),
    "ignn": Look("#6B330A", "<"),
    "gaussian": Look(INK, "*"),
}

#: Of any other name the letters choose one of these; two such names may have the same colour.
_COLOURS = ("#8AB564", "#980063", "#24405C", "#9880FD")
_MARKERS = ("h", ">", "d", "p", "8")


def look(method: str) -> Look:
    """The look of a method by its name."""
    if method in LOOKS:
        return LOOKS[method]
    chosen = crc32(method.encode("utf-8", "surrogatepass"))
    marker = chosen // len(_COLOURS) % len(_MARKERS)
    return Look(_COLOURS[chosen % len(_COLOURS)], _MARKERS[marker])
