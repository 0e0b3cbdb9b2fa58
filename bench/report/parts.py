"""Reading a record that a newer, an older or no program may have written."""

from __future__ import annotations

import hashlib
from typing import Any


def section(record: Any, name: str) -> dict[str, Any]:
    """A part of the record, such as its `metrics`; empty where there is none."""
    found = record.get(name)
    if found is None or isinstance(found, dict):
        return found or {}
    return {key: value for key, value in vars(found).items() if value is not None}


def number(value: object) -> float | None:
    """The value as a number; None where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def anchor(kind: str, name: str) -> str:
    """The id of an element that is about something of that name: letters and digits, always."""
    return f"{kind}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
