"""What the judge measures of a flow in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.data.arrays import Loaded
from bench.flow import Flow
from bench.judging import judge_method
from bench.method import Continuous, Field, Log, Options, Piece
from bench.numerics.ode import Solver
from bench.spec import Judge
from bench.stream import Stream
from bench.training import ContractBroken

JUDGE = Judge(test_rows=200, error_rows=50, mmd_n=60, permutations=99, rtol=1e-7, atol=1e-7)
RATE = 0.8


class Growth(Field):
    """dx/dt = a x; with `wrong` its divergence is not its own."""

    def __init__(self, wrong: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("rate", torch.tensor(RATE))
        self.wrong = wrong

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.rate * x

    def trace(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        div = (self.rate * x.shape[1] + self.wrong).expand(len(x))
        return self.forward(t, x), div


class Chain(Continuous):
    """Growth over [0, 1], then over [1, 1.5], each solved natively by `natives`."""

    def __init__(self, natives: Sequence[Solver | None], wrong: float = 0.0) -> None:
        super().__init__(2, Options())
        self.field, self.natives = Growth(wrong), natives

    def learn(self, batches: Stream) -> Iterator[Log]:
        yield from ()

    def pieces(self) -> Sequence[Piece]:
        times = [(0.0, 1.0), (1.0, 1.5)]
        return [Piece(self.field, *t, n) for t, n in zip(times, self.natives, strict=True)]


def rows(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, (n, 2)).astype(np.float32)


DATA = Loaded(rows(300, 0), rows(100, 1), rows(200, 2), "r", "generated", "", {})


def metrics(method: Continuous) -> dict[str, object]:
    return judge_method(method, DATA, JUDGE, lambda event: None).metrics


def by_hand(factor: float, gain: float) -> float:
    """The NLL where x goes to `factor` x and the log-density gains `gain`."""
    z = factor * DATA.test.astype(np.float64)
    return float(0.5 * (z**2).sum(1).mean() + math.log(2 * math.pi) - gain)


def test_the_reference_and_the_native_nll() -> None:
    """The exact flow grows by exp(1.5 a); 2 and 1 Euler steps by (1 + a/2)^2 (1 + a/2).

    Both gain the exact integral of the divergence, as it is constant.
    """
    found = metrics(Chain([Solver("euler", steps=2), Solver("euler", steps=1)]))
    gain = 2 * RATE * 1.5
    assert found["nll"] == pytest.approx(by_hand(math.exp(1.5 * RATE), gain), abs=1e-4)
    assert found["nll_native"] == pytest.approx(by_hand((1 + RATE / 2) ** 3, gain), abs=1e-4)
    assert abs(found["nll"] - found["nll_native"]) > 0.05
    assert [(s["name"], s["steps"]) for s in found["native"]] == [("euler", 2), ("euler", 1)]


@pytest.mark.parametrize("natives", [[None, None], [Solver("euler", steps=2), None]])
def test_no_native_nll_without_native_steps(natives: list[Solver | None]) -> None:
    found = metrics(Chain(natives))
    assert "nll_native" not in found
    assert math.isfinite(found["nll"])


def test_a_flow_without_native_steps_says_so() -> None:
    with pytest.raises(TypeError, match="Chain has no discretisation of its own"):
        Flow(Chain([None, None]), None).log_prob(torch.zeros(1, 2))


def test_a_divergence_that_is_not_the_fields() -> None:
    with pytest.raises(ContractBroken, match=r"off by 0\.01"):
        metrics(Chain([None, None], wrong=0.01))


def test_transport_of_a_growing_flow() -> None:
    """Each path is a ray; the cost is (1 - exp(-1.5 a))^2 E|z|^2."""
    found = metrics(Chain([None, None]))
    z = Flow(Chain([None, None]), Solver()).noise(JUDGE.mmd_n, JUDGE.seed)
    expected = (1 - math.exp(-1.5 * RATE)) ** 2 * float(z.square().sum(1).mean())
    assert found["transport_cost"] == pytest.approx(expected, rel=1e-4)
    assert found["straightness"] > 0
