"""Pickles in the format of pandas before 1.0, written opcode by opcode."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

#: How Python 2 with pandas 0.19, and Python 3 with pandas 0.25, spelled the names.
NAMES = {
    "python 2": {
        "manager": ("pandas.core.internals", "BlockManager"),
        "new_index": ("pandas.indexes.base", "_new_Index"),
        "index": ("pandas.indexes.base", "Index"),
        "range": ("pandas.indexes.range", "RangeIndex"),
        "int64": ("pandas.indexes.numeric", "Int64Index"),
        "slice": ("__builtin__", "slice"),
    },
    "python 3": {
        "manager": ("pandas.core.internals.managers", "BlockManager"),
        "new_index": ("pandas.core.indexes.base", "_new_Index"),
        "index": ("pandas.core.indexes.base", "Index"),
        "range": ("pandas.core.indexes.range", "RangeIndex"),
        "int64": ("pandas.core.indexes.numeric", "Int64Index"),
        "slice": ("builtins", "slice"),
    },
}
Python = Literal["python 2", "python 3"]


class Name(tuple[str, str]):
    """A global: module and name."""


class Call:
    """A function called with arguments and, then, a state: REDUCE and BUILD."""

    def __init__(self, function: Name, arguments: tuple[Any, ...], state: Any = None) -> None:
        self.function, self.arguments, self.state = function, arguments, state
        self.opcode = b"R"


class New(Call):
    """An object made by `__new__` with a state: NEWOBJ and BUILD."""

    def __init__(self, cls: Name, state: Any) -> None:
        super().__init__(cls, (), state)
        self.opcode = b"\x81"


def encode(value: Any, python: Python) -> bytes:
    """The opcodes of protocol 2 for a value made of the classes above and of plain ones."""
    if isinstance(value, Call):
        state = b"" if value.state is None else encode(value.state, python) + b"b"
        parts = encode(value.function, python), encode(value.arguments, python)
        return b"".join(parts) + value.opcode + state
    if isinstance(value, Name):
        return f"c{value[0]}\n{value[1]}\n".encode()
    if isinstance(value, np.ndarray):
        return encode(array(value), python)
    if isinstance(value, tuple):
        return b"(" + b"".join(encode(v, python) for v in value) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(encode(v, python) for v in value) + b"e"
    if isinstance(value, dict):
        pairs = b"".join(encode(k, python) + encode(v, python) for k, v in value.items())
        return b"}(" + pairs + b"u"
    if isinstance(value, str) and python == "python 2":  # a byte string of Python 2
        return b"T" + len(value).to_bytes(4, "little") + value.encode("latin1")
    if isinstance(value, bytes):
        if python == "python 2":
            return b"T" + len(value).to_bytes(4, "little") + value
        text = value.decode("latin1")
        return encode(Call(Name(("_codecs", "encode")), (text, "latin1")), python)
    return pickle.dumps(value, protocol=2)[2:-1]  # None, numbers, bool, str: without frame


def array(values: np.ndarray) -> Call:
    objects = values.dtype == object
    code = "O8" if objects else values.dtype.str[1:]
    order = "|" if objects else values.dtype.str[0]
    dtype = Call(
        Name(("numpy", "dtype")),
        (code, 0, 1),
        (3, order, None, None, None, -1, -1, 63 if objects else 0),
    )
    fortran = values.flags.f_contiguous and values.ndim > 1
    raw = list(values) if objects else values.tobytes(order="F" if fortran else "C")
    return Call(
        Name(("numpy.core.multiarray", "_reconstruct")),
        (Name(("numpy", "ndarray")), (0,), b"b"),
        (1, values.shape, dtype, fortran, raw),
    )


def old_pickle(
    frame: pd.DataFrame, python: Python = "python 2", numbered: int | None = None
) -> bytes:
    """The frame as `DataFrame.to_pickle` of old wrote it: one block for each dtype.

    With `numbered` its columns claim to be so many, labelled by their numbers.
    """
    names = {key: Name(name) for key, name in NAMES[python].items()}

    def index(kind: str, state: dict[str, Any]) -> Call:
        return Call(names["new_index"], (names[kind], {**state, "name": None}))

    labels = np.array([str(c) for c in frame.columns], dtype=object)
    axes = [
        index("index", {"data": labels})
        if numbered is None
        else index("range", {"start": 0, "stop": numbered, "step": 1}),
        index("range", {"start": 0, "stop": len(frame), "step": 1}),
    ]
    blocks, items = [], []
    for dtype in dict.fromkeys(frame.dtypes):
        places = np.flatnonzero(frame.dtypes == dtype)
        values = np.asfortranarray(frame.iloc[:, places].to_numpy().T)
        steps = set(np.diff(places))
        if len(steps) <= 1:
            step = int(steps.pop()) if steps else 1
            located = Call(names["slice"], (int(places[0]), int(places[-1]) + 1, step))
        else:
            located = places.astype(np.int64)
        blocks.append({"values": values, "mgr_locs": located})
        items.append(index("index", {"data": labels[places]}))
    extra = {"0.14.1": {"axes": axes, "blocks": blocks}}
    manager = New(names["manager"], (axes, [b["values"] for b in blocks], items, extra))
    state = {"_metadata": [], "_typ": "dataframe", "_data": manager}
    whole = New(Name(("pandas.core.frame", "DataFrame")), state)
    return b"\x80\x02" + encode(whole, python) + b"."


def write_old_pickle(path: Path, frame: pd.DataFrame, python: Python = "python 2") -> None:
    path.write_bytes(old_pickle(frame, python))
