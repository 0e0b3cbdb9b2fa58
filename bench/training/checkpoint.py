"""Checkpoints of a run under way: written whole, the last two kept, checked when they are read.

A checkpoint is a file: the SHA-256 of its content, then the content as `torch.save` writes it.
(torch itself does not notice a flipped bit.) It loads with `weights_only=True`.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

#: The layout of what a checkpoint holds.
FORMAT = 1

#: The last checkpoint and the one before it, in the folder of a run.
NAMES = ("checkpoint.bin", "checkpoint-before.bin")

_DIGEST = 32  # bytes of a SHA-256


class Corrupt(ValueError):
    """A file that is not a checkpoint, or not the one that was written."""


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Make `content` the last checkpoint in the folder; the one before it is kept.

    Raises:
        OSError: it can't be written; the last one is as it was.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    payload = buffer.getbuffer()
    last, before = (folder / name for name in NAMES)
    temporary = last.with_name(f"{last.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(hashlib.sha256(payload).digest())
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if last.exists():
        os.replace(last, before)
    os.replace(temporary, last)


def read(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, its tensors on the CPU.

    Raises:
        Corrupt: it is cut off, was changed, or is something else.
        OSError: it is not there, or can't be read.
    """
    raw = path.read_bytes()
    digest, payload = raw[:_DIGEST], raw[_DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        raise Corrupt("its content does not have the checksum that stands before it")
    try:
        content: dict[str, Any] = torch.load(
            io.BytesIO(payload), weights_only=True, map_location="cpu"
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise Corrupt(str(error).partition("\n")[0]) from error
    return content


def newest(folder: Path, key: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest good checkpoint of the run with that key, None where there is none.

    One that is corrupt, or another run's, is set aside: it gets the ending `.aside`.

    Returns:
        What it holds, and a sentence for each one that was set aside.
    """
    notes: list[str] = []
    for name in NAMES:
        path = folder / name
        try:
            content = read(path)
            if content["key"] == key and content["format"] == FORMAT:
                return content, notes
            problem = "it is of another run, or of another version"
        except FileNotFoundError:
            continue
        except (Corrupt, OSError, KeyError) as error:
            problem = str(error)
        os.replace(path, path.with_name(f"{name}.aside"))
        notes.append(f"the checkpoint {name} was set aside: {problem}")
    return None, notes
