"""How a check of the contract ends: well, with a sentence on what is wrong, or untried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: its name.
        outcome: how it ended.
        says: what was measured, what is wrong, or why it was not tried: a sentence.
        look: where to look for what is wrong; empty where nothing is.
    """

    check: str
    outcome: Literal["ok", "failed", "skipped"]
    says: str
    look: str = ""


class Broken(Exception):
    """The method does not keep the contract: what is wrong, and where to look."""

    def __init__(self, problem: str, look: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.look = look


class NotTried(Exception):
    """The check does not apply to this method, or can't be made here: the reason."""
