"""Keeping files shut while a method learns: the test split is the judge's alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.api.method import ContractBroken

#: What is shut now: files, and folders with a separator at their ends.
_shut: tuple[str, ...] = ()
#: What was opened all the same, and is not reported yet.
_tried: list[str] = []
_watching = False


@contextmanager
def sealed(folder: Path, files: Sequence[Path]) -> Iterator[None]:
    """Within it, opening one of `files` or a file below `folder` raises, from any Python code.

    Rows that were mapped before stay readable: a mini-batch needs no file to be opened. An audit
    hook can't be taken away again, so there is one for the process, idle outside of a seal.

    Raises:
        ContractBroken: where a file is opened, naming it; again at the end, where that was caught.
    """
    global _shut, _watching
    if not _watching:
        sys.addaudithook(_watch)
        _watching = True
    before = _shut
    _shut = (
        *before,
        os.path.join(os.path.realpath(folder), ""),
        *(os.path.realpath(file) for file in files),
    )
    _tried.clear()
    try:
        yield
    finally:
        _shut = before
    if _tried:
        raise ContractBroken(_said(_tried[0]))


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _shut or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = os.path.realpath(os.fsdecode(arguments[0]))
    if any(path.startswith(shut) if shut.endswith(os.sep) else path == shut for shut in _shut):
        _tried.append(path)
        raise ContractBroken(_said(path))


def _said(path: str) -> str:
    return f"while it learned, the method opened {path}; it learns from its mini-batches alone"
