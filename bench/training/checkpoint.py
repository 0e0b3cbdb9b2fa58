"""Checkpoints of a run: written atomically, the last two kept, verified when read.

A checkpoint is the SHA-256 of its content, since torch does not notice a flipped bit, then the
content as `torch.save` writes it. It loads with `weights_only=True`.
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


class Corrupt(ValueError):
    """A file that is not a checkpoint, or is not as it was written."""


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as the last checkpoint in the folder; the one before it is kept.

    Raises:
        OSError: it can't be written; the last one is unchanged.
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
    """Return the content of a checkpoint, its tensors on the CPU.

    Raises:
        Corrupt: it is truncated, was changed, or is no checkpoint.
        OSError: it can't be read.
    """
    raw = path.read_bytes()
    digest, payload = raw[:32], raw[32:]
    if hashlib.sha256(payload).digest() != digest:
        raise Corrupt("its content does not match its checksum")
    try:
        content: dict[str, Any] = torch.load(
            io.BytesIO(payload), weights_only=True, map_location="cpu"
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise Corrupt(str(error).partition("\n")[0]) from error
    return content


def newest(folder: Path, key: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the newest good checkpoint of the run with that key, or None.

    One that is corrupt or belongs to another run is renamed with the ending `.aside`.

    Returns:
        The content of the checkpoint, and a sentence for each one that was set aside.
    """
    notes: list[str] = []
    for name in NAMES:
        path = folder / name
        try:
            content = read(path)
            if content["key"] == key and content["format"] == FORMAT:
                return content, notes
            problem = "it belongs to another run or another version"
        except FileNotFoundError:
            continue
        except (Corrupt, OSError, KeyError) as error:
            problem = str(error)
        os.replace(path, path.with_name(f"{name}.aside"))
        notes.append(f"Set aside the checkpoint {name}: {problem}.")
    return None, notes
