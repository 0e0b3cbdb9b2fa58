"""What can go wrong through no fault of the program: one clear line and the remedy.

The command line prints such an error without a traceback and exits with its `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A mistake that the user can mend: what is wrong, and what to do."""

    exit_code = 2

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem} {remedy}".strip())
        self.problem = problem
        self.remedy = remedy


class UsageError(BenchError):
    """The call was wrong; nothing was written."""


class DataError(BenchError):
    """Data that are missing, damaged or not what they should be."""


class NothingMeasured(BenchError):
    """There is nothing to show or to compare."""

    exit_code = 3


def unknown(kind: str, name: str, known: Iterable[str], of: str = "") -> UsageError:
    """Return the error for a name that does not exist, with the nearest known names.

    `of` says where it was looked for, such as "for ffjord".
    """
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    if near:
        remedy = "Did you mean " + " or ".join(repr(n) for n in near) + "?"
    else:
        remedy = f"Known: {', '.join(names)}." if names else "There are none."
    return UsageError(f"Unknown {kind} {name!r}{of and f' {of}'}.", remedy)
