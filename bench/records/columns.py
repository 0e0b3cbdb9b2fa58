"""The columns of a table of runs, and where a record keeps each."""

from __future__ import annotations

from bench.records.catalogue import columns

#: column -> the path to its value inside a record
COLUMNS: dict[str, tuple[str, ...]] = {c.name: c.path for c in columns().values() if c.path}
