"""Read a table pickled by pandas before 1.0, without executing anything that the file names.

Unpickling calls whatever a file names. Here, every name that such a pickle needs is replaced by one
of the small classes below, which only store what they are given; any other name is refused. So the
old pandas, whose modules no longer exist, is not needed, and the file need not be trusted.

The pickle of a frame has a block manager: the axes, and for each dtype a block of columns with
their positions. Strings written by Python 2 are bytes, read as Latin-1.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError

REMEDY = "Put the archive's file in its place: `bench data fetch` checks it."


def read_frame(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Return the column names and the values `(n, columns)` of a pickled frame of numbers.

    Raises:
        DataError: the file is damaged, is not a frame, or names something that such a pickle does
            not need.
    """
    try:
        with open(path, "rb") as file:
            frame = _Reader(file, path).load()
        if not isinstance(frame, _Frame):
            raise ValueError("it does not contain a frame")
        return frame.manager.table()
    except (
        *(pickle.UnpicklingError, EOFError, MemoryError, OverflowError),
        *(AttributeError, IndexError, LookupError, TypeError, ValueError),
    ) as error:
        raise DataError(
            f"{path} is not a table pickled by pandas before 1.0: {type(error).__name__}: {error}.",
            REMEDY,
        ) from error


class _Frame:
    """Replaces pandas.DataFrame."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.manager: _Manager = state["_data"]


class _Manager:
    """Replaces pandas' BlockManager."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        axes, values, items, *extra = state
        blocks = extra[0]["0.14.1"]["blocks"] if extra else []  # since pandas 0.14.1
        arrays = [block["values"] for block in blocks] if extra else values
        # Before anything as long as a label's range says is made.
        if len(axes[0]) != sum(len(array.values) for array in arrays):
            raise ValueError(f"{len(axes[0])} labels for other columns")
        if len({array.values.shape[1] for array in arrays}) != 1:
            raise ValueError("blocks of different lengths")
        self.columns = [str(label) for label in axes[0]]
        if extra:
            self.blocks = [(_places(block["mgr_locs"]), block["values"]) for block in blocks]
        else:
            self.blocks = [
                (np.array([self.columns.index(str(label)) for label in labels]), block)
                for labels, block in zip(items, values, strict=True)
            ]

    def table(self) -> tuple[list[str], NDArray[np.float64]]:
        table = np.full((self.blocks[0][1].values.shape[1], len(self.columns)), np.nan)
        for places, block in self.blocks:
            table[:, places] = block.values.T
        return self.columns, table


class _Array:
    """Replaces numpy.ndarray, of numbers or of objects."""

    values: NDArray[Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if dtype.of_objects:
            flat = np.empty(len(raw), dtype=object)
            flat[:] = raw
        else:
            data = raw.encode("latin1") if isinstance(raw, str) else raw
            if not isinstance(data, bytes):  # bytes(2**36) would be as many zeros
                raise ValueError(f"an array made of {type(data).__name__}")
            flat = np.frombuffer(data, dtype.numpy)
        self.values = flat.reshape(shape, order="F" if fortran else "C")


class _Dtype:
    """Replaces numpy.dtype: a code of numbers, such as f8, or O for objects."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[biuf][1248]|O[48]?", code):
            raise ValueError(f"an array of dtype {code!r}")
        self.of_objects = code.startswith("O")
        self.numpy = np.dtype(object if self.of_objects else code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.numpy = self.numpy.newbyteorder(state[1])


class _Index:
    """Replaces pandas' index classes."""


def _new_index(_: object, state: dict[str, Any]) -> list[object] | range:
    """Replaces pandas' index constructor: return the labels."""
    if "data" in state:
        return list(state["data"].values)
    return range(state.get("start") or 0, state["stop"], state.get("step") or 1)


def _reconstruct(*_: object) -> _Array:
    """Replaces numpy's array constructor; the state is set later."""
    return _Array()


def _make(cls: type[_Frame | _Manager], *_: object) -> _Frame | _Manager:
    """Replaces the object constructor of protocols 0 and 1."""
    return object.__new__(cls)


def _encode(text: str, encoding: str) -> bytes:
    """Replaces the function by which Python 3 writes bytes in protocol 2."""
    if encoding != "latin1":
        raise ValueError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _places(locations: slice | _Array) -> slice | NDArray[Any]:
    return locations if isinstance(locations, slice) else locations.values


_INDEX_MODULES = {
    "Index": ("pandas.core.index", "pandas.indexes.base", "pandas.core.indexes.base"),
    "Int64Index": ("pandas.core.index", "pandas.indexes.numeric", "pandas.core.indexes.numeric"),
    "RangeIndex": ("pandas.core.index", "pandas.indexes.range", "pandas.core.indexes.range"),
}

#: Every allowed name, and its replacement.
_ADMITTED: dict[tuple[str, str], object] = {
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals", "BlockManager"): _Manager,
    ("pandas.core.internals.managers", "BlockManager"): _Manager,
    **{(module, name): _Index for name, found in _INDEX_MODULES.items() for module in found},
    **{(module, "_new_Index"): _new_index for module in _INDEX_MODULES["Index"]},
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("copy_reg", "_reconstructor"): _make,
    ("copyreg", "_reconstructor"): _make,
    **{(module, "slice"): slice for module in ("__builtin__", "builtins")},
    **{(module, "object"): _Index for module in ("__builtin__", "builtins")},
}


class _Reader(pickle.Unpickler):
    def __init__(self, file: IO[bytes], path: Path) -> None:
        # No renaming of Python 2's modules: `_ADMITTED` has both names.
        super().__init__(file, fix_imports=False, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ADMITTED:
            raise DataError(
                f"{self._path} names {module}.{name}, which a table pickled by pandas before 1.0 "
                "does not need; nothing was run.",
                REMEDY,
            )
        return _ADMITTED[module, name]
