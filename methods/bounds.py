"""Bounds on hyper-parameters: one condition per message, with the value that breaks it."""

from __future__ import annotations


def at_least(least: int, **values: float) -> None:
    """Raise ValueError for the first of the named values below `least`."""
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def positive(**values: float) -> None:
    """Raise ValueError for the first of the named values that is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
