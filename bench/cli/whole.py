"""Writing a user's file whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.errors import UsageError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a temporary file beside `path`, which then takes its name.

    Raises:
        UsageError: it can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(
            f"{path} can't be written: {error.strerror or error}.",
            "Name a file in a folder that is there and can be written.",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)  # it is there where `write` was cut off
