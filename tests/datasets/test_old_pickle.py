"""The reader of old pickles: what it reads, and that it runs nothing."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.errors import DataError
from bench_datasets.old_pickle import read_frame

from .old_frame import Call, Name, Python, encode, old_pickle


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.pickle"


@pytest.mark.parametrize("python", ["python 2", "python 3"])
@pytest.mark.parametrize("mixed", [False, True])
def test_reads_what_old_pandas_wrote(path: Path, python: Python, mixed: bool) -> None:
    source = np.random.default_rng(0)
    frame = pd.DataFrame(source.normal(size=(30, 6)), columns=list("abcdef"))
    if mixed:  # blocks of floats, of integers side by side, and of integers apart
        frame["b"] = source.integers(-9, 9, 30)
        frame["c"] = source.integers(-9, 9, 30)
        frame["f"] = source.integers(-9, 9, 30)
        frame["d"] = frame["d"].astype(np.float32)
    path.write_bytes(old_pickle(frame, python))
    columns, values = read_frame(path)
    assert columns == list("abcdef")
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, frame.to_numpy(dtype=np.float64))


def test_the_names_are_those_that_new_pandas_lacks(path: Path) -> None:
    """Else this would not be a test of the old format."""
    path.write_bytes(old_pickle(pd.DataFrame({"a": [1.0, 2.0]})))
    with pytest.raises((ImportError, AttributeError, TypeError)):
        pickle.loads(path.read_bytes(), encoding="latin1")


class _Runs:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


def nested(module: str, name: str) -> bytes:
    """A dotted name, which only STACK_GLOBAL can have: attributes of attributes."""
    parts = b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name))
    return b"\x80\x04" + parts + b"\x93."


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, "system"), (eval, "eval"), (np.load, "load"), (getattr, "getattr")],
)
def test_refuses_other_names(
    path: Path, tmp_path: Path, function: object, named: str, protocol: int
) -> None:
    mark = tmp_path / "ran"
    argument = f"touch {mark}" if function is os.system else f"open({str(mark)!r}, 'w')"
    path.write_bytes(pickle.dumps(_Runs(function, argument), protocol=protocol))
    with pytest.raises(DataError, match=rf"names \S+\.{named}, .*nothing was run"):
        read_frame(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("pandas.core.frame", "DataFrame.__init__.__globals__"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "ndarray.__class__"),
        ("builtins", "slice.__class__"),
        ("pandas", "read_pickle"),
        ("numpy", "load"),
        ("_codecs", "decode"),
        ("copyreg", "__newobj__"),
    ],
)
def test_refuses_nested_names(path: Path, module: str, name: str) -> None:
    path.write_bytes(nested(module, name))
    with pytest.raises(DataError, match=f"names {module}.{name}"):
        read_frame(path)


def test_refuses_a_bad_name_deep_inside_a_good_pickle(path: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    good = old_pickle(pd.DataFrame({"a": [1.0, 2.0]}))
    call = encode(Call(Name(("posix", "system")), (f"touch {mark}",)), "python 2")
    # before the state is built: the call's result is put on the stack and dropped
    path.write_bytes(good[:2] + call + b"0" + good[2:])
    with pytest.raises(DataError, match=r"posix\.system"):
        read_frame(path)
    assert not mark.exists()


def ndarray_with(dtype: str, state: tuple[object, ...]) -> bytes:
    made = Call(Name(("numpy.core.multiarray", "_reconstruct")), (Name(("numpy", "ndarray")),))
    made.state = (1, (2,), Call(Name(("numpy", "dtype")), (dtype, 0, 1)), False, *state)
    return b"\x80\x02" + encode(made, "python 2") + b"."


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"no pickle",
        pickle.dumps({"a": 1}),
        pickle.dumps(None),
        old_pickle(pd.DataFrame({"a": [1.0, 2.0]}))[:-40],
        ndarray_with("f8", (b"too short",)),
        ndarray_with("V16", (bytes(32),)),
        ndarray_with("f8,O", (bytes(32),)),
        b"\x80\x02cpandas.core.frame\nDataFrame\n)\x81.",
        b"\x80\x02cpandas.core.frame\nDataFrame\n)\x81}b.",
        b"\x80\x02cpandas.core.internals\nBlockManager\n.",
        old_pickle(pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})),
    ],
)
def test_damaged_or_other(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        read_frame(path)


@pytest.mark.parametrize(
    "content",
    [
        old_pickle(pd.DataFrame({"a": [1.0, 2.0]}), numbered=2**36),
        ndarray_with("f8", (2**36,)),
    ],
)
def test_a_small_file_takes_little_memory(path: Path, content: bytes) -> None:
    """Whatever it claims to hold."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=path.name):
            read_frame(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_numbered_columns(path: Path) -> None:
    path.write_bytes(old_pickle(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}), numbered=2))
    assert read_frame(path)[0] == ["0", "1"]
