"""Files that a method may not open while it trains: the test split is for the evaluation alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.api.method import ContractBroken

#: What is blocked now: files, and folders with a separator at their ends.
_closed: tuple[str, ...] = ()
#: Blocked paths that something tried to open within the innermost `blocked`.
_tried: list[str] = []
_hooked = False


@contextmanager
def blocked(folder: Path, files: Sequence[Path]) -> Iterator[None]:
    """Block `files` and all files below `folder`: opening one raises, from any Python code.

    Rows that were mapped before stay readable, as mini-batches open no file. An audit hook can't be
    removed, so there is one per process, idle while nothing is blocked.

    Raises:
        ContractBroken: a file was opened, at once; again at the end, if that was caught.
    """
    global _closed, _hooked
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked = True
    before = _closed
    _closed = (
        *before,
        os.path.join(os.path.realpath(folder), ""),
        *(os.path.realpath(file) for file in files),
    )
    _tried.clear()
    try:
        yield
    finally:
        _closed = before
    if _tried:
        raise ContractBroken(_message(_tried[0]))


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _closed or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = os.path.realpath(os.fsdecode(arguments[0]))
    if any(path == each or (each.endswith(os.sep) and path.startswith(each)) for each in _closed):
        _tried.append(path)
        raise ContractBroken(_message(path))


def _message(path: str) -> str:
    return f"the method opened {path} while training; it must learn from its mini-batches alone"
