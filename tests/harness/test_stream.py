"""The stream's laws: every row once an epoch, one order for a seed, a start anywhere."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.api.stream import Stream


def numbered(n: int) -> NDArray[np.float32]:
    """Row i is (i, -i)."""
    index = np.arange(n, dtype=np.float32)
    return np.stack([index, -index], axis=1)


def deal(n: int, batch_size: int, total: int, seed: int = 0, dealt: int = 0) -> list[list[int]]:
    stream = Stream(numbered(n), batch_size, total, seed, dealt=dealt)
    return [batch[:, 0].int().tolist() for batch in stream]


sizes = st.integers(1, 12)
seeds = st.integers(0, 2**31)


@settings(max_examples=60, deadline=None)
@given(n=sizes, batch_size=st.integers(1, 30), seed=seeds)
def test_every_row_exactly_once_an_epoch(n: int, batch_size: int, seed: int) -> None:
    """Mini-batches laid end to end fall into epochs; each is a permutation of the rows."""
    total = -(-4 * n // batch_size)
    batches = deal(n, batch_size, total, seed)
    assert [len(b) for b in batches] == [batch_size] * total
    rows = list(chain(*batches))
    for start in range(0, 4 * n, n):
        assert sorted(rows[start : start + n]) == list(range(n))


@settings(max_examples=60, deadline=None)
@given(n=sizes, batch_size=st.integers(1, 30), total=sizes, seed=seeds, data=st.data())
def test_a_stream_started_at_k_continues_the_whole_one(
    n: int, batch_size: int, total: int, seed: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(0, total))
    whole = deal(n, batch_size, total, seed)
    assert deal(n, batch_size, total, seed, dealt=k) == whole[k:]


@settings(max_examples=30, deadline=None)
@given(n=sizes, batch_size=sizes, seed=seeds, total=sizes, more=sizes)
def test_a_larger_budget_begins_with_the_same_rows(
    n: int, batch_size: int, seed: int, total: int, more: int
) -> None:
    assert deal(n, batch_size, total + more, seed)[:total] == deal(n, batch_size, total, seed)


@settings(max_examples=30, deadline=None)
@given(n=sizes, one=sizes, other=sizes, seed=seeds)
def test_the_order_does_not_depend_on_the_batch_size(
    n: int, one: int, other: int, seed: int
) -> None:
    rows = [list(chain(*deal(n, size, -(-2 * n // size), seed)))[: 2 * n] for size in (one, other)]
    assert rows[0] == rows[1]


def test_seeds_and_epochs_differ_and_nothing_else_does() -> None:
    assert deal(50, 10, 10, seed=1) == deal(50, 10, 10, seed=1)
    assert deal(50, 10, 10, seed=1) != deal(50, 10, 10, seed=2)
    rows = list(chain(*deal(50, 10, 10, seed=1)))
    assert rows[:50] != rows[50:]
    assert rows[:50] != list(range(50))


def test_the_global_generators_do_not_matter() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = deal(20, 7, 5)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert deal(20, 7, 5) == first


def test_a_stream_ends_after_its_budget() -> None:
    stream = Stream(numbered(5), 2, 3, seed=0)
    assert stream.spent == 0
    for k in range(3):
        assert stream.dealt == k
        next(stream)
    assert stream.dealt == 3
    assert stream.spent == pytest.approx(2 / 3)  # before the last of three
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(stream)
    assert stream.dealt == 3


def test_mini_batches_are_whole_float32_rows() -> None:
    batch = next(Stream(numbered(9), 4, 1, seed=0))
    assert batch.shape == (4, 2)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[:, 1], -batch[:, 0])


def test_a_mini_batch_is_a_copy(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A method may write into its mini-batch; a mapped split can't be written."""
    np.save(tmp_path / "rows.npy", numbered(6))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for split in (rows, numbered(6)):
        before = np.array(split)
        for batch in Stream(split, 4, 3, seed=0):
            batch.zero_()
        assert np.array_equal(split, before)
        again = torch.cat(list(Stream(split, 6, 1, seed=0)))
        assert sorted(again[:, 0].tolist()) == list(range(6))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gets_the_same_rows() -> None:
    on_gpu = [b[:, 0].int().tolist() for b in Stream(numbered(11), 4, 9, 3, "cuda")]
    assert on_gpu == deal(11, 4, 9, seed=3)


def doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


@settings(max_examples=30, deadline=None)
@given(n=sizes, batch_size=sizes, before=st.integers(0, 5), pushes=st.integers(0, 3))
def test_pushed_rows_keep_their_order(n: int, batch_size: int, before: int, pushes: int) -> None:
    """After k pushes through x -> 2x the rows are 2^k times those that would have come."""
    stream, raw = (Stream(numbered(n), batch_size, 10, seed=4) for _ in range(2))
    for _ in range(before):
        next(stream), next(raw)
    for _ in range(pushes):
        stream.push(doubled)
    for batch, expected in zip(stream, raw, strict=True):
        assert torch.equal(batch, 2**pushes * expected)


def test_rewinding_restores_the_original_rows() -> None:
    stream, raw = (Stream(numbered(9), 4, 6, seed=4) for _ in range(2))
    stream.push(doubled)
    next(stream), next(raw)
    stream.rewind()
    assert torch.equal(next(stream), next(raw))


def test_movement_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means over all rows of |T(x) - x|^2 and |T(x)|^2, whatever the chunks."""
    rows = np.array([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]], dtype=np.float32)
    for at_once in (2**13, 2):
        monkeypatch.setattr("bench.api.stream.ROWS_AT_ONCE", at_once)
        stream = Stream(rows, 2, 4, seed=0)
        movement = stream.push(lambda x: x + torch.tensor([0.0, 2.0]))
        assert movement.step == pytest.approx(4)
        assert movement.size == pytest.approx((9 + 36 + 9 + 4 + 4) / 3)
        assert movement.relative == pytest.approx(4 / (62 / 3))


def test_a_push_has_no_gradient_and_spares_the_split() -> None:
    rows, weight = numbered(6), torch.ones(2, requires_grad=True)
    before = rows.copy()
    stream = Stream(rows, 3, 2, seed=0)
    stream.push(lambda x: x * weight * 3)
    assert not next(stream).requires_grad
    assert np.array_equal(rows, before)


def test_the_first_layer_is_applied_before_pushes() -> None:
    """Mini-batches and pushes get its output, and so do rewound rows."""
    raw = list(Stream(numbered(8), 4, 3, seed=1))
    stream = Stream(numbered(8), 4, 3, seed=1, first=lambda x: x + 1)
    assert torch.equal(next(stream), raw[0] + 1)
    assert stream.push(doubled).step == pytest.approx(
        np.mean([(i + 1) ** 2 + (1 - i) ** 2 for i in range(8)])
    )
    assert torch.equal(next(stream), 2 * (raw[1] + 1))
    stream.rewind()
    assert torch.equal(next(stream), raw[2] + 1)
