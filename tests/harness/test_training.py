"""Driving a method: counts, clocks, validation, and every way in which learning can go wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.api.method import (
    RESERVED,
    Continuous,
    ContractBroken,
    Discrete,
    Field,
    Log,
    Method,
    Options,
    Piece,
)
from bench.api.stream import Stream
from bench.numerics.ode import Solver, SolverFailed, integrate
from bench.records.spec import Judge
from bench.training.loop import Diverged, TimedOut, Training, train, validator
from bench_methods.flow_matching import FlowMatching, FlowMatchingConfig

ROWS = np.random.default_rng(3).normal(size=(40, 2)).astype(np.float32)


def stream(total: int = 6, batch_size: int = 8, dealt: int = 0) -> Stream:
    return Stream(ROWS, batch_size, total, seed=0, dealt=dealt)


class Counter(Discrete):
    """A method whose only state is the number of its updates; its log is given by `log_of`."""

    def __init__(self, log_of: Callable[[int], Any] = lambda step: {"loss": 1.0 / step}) -> None:
        super().__init__(2, Options())
        self.updates = nn.Parameter(torch.zeros(()))
        self.log_of = log_of

    def learn(self, batches: Stream) -> Iterator[Log]:
        for _ in batches:
            with torch.no_grad():
                self.updates += 1
            yield self.log_of(int(self.updates))

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(-1) * self.updates

    def inverse(self, z: Tensor) -> Tensor:
        return z


def updates(method: Method) -> float:
    return float(method.state_dict()["updates"])


class Given(Counter):
    """A counter that learns by another generator."""

    def __init__(self, learn: Callable[[Stream], Iterator[Log]]) -> None:
        super().__init__()
        self.learn = learn  # type: ignore[method-assign]


@dataclass
class Clock:
    """A clock that goes only when it is told to."""

    now: float = 0.0
    cpu: float = 0.0

    def process_time(self) -> float:
        return self.cpu

    def perf_counter(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bench.training.loop.time", clock)
    return clock


def run(method: Method, total: int = 6, validations: int = 1, **given: Any) -> Training:
    given = {"validate": lambda m: 0.0, "report": lambda event: None} | given
    return train(method, stream(total), validations=validations, **given)


@pytest.mark.parametrize("total", [1, 5, 12])
def test_exactly_the_budget(total: int) -> None:
    events: list[dict[str, Any]] = []
    method = Counter()
    done = run(method, total, report=events.append)
    assert updates(method) == total
    assert (done.minibatches, done.samples_seen) == (total, 8 * total)
    assert done.last_loss == 1 / total
    assert [e["minibatch"] for e in events] == list(range(1, total + 1))
    assert all(e["total"] == total for e in events)
    assert [e["loss"] for e in events] == [1 / k for k in range(1, total + 1)]


@pytest.mark.parametrize(
    ("total", "validations", "steps"),
    [
        (6, 1, [6]),
        (6, 3, [2, 4, 6]),
        (10, 4, [3, 5, 8, 10]),
        (3, 10, [1, 2, 3]),
        (1, 10, [1]),
        (7600, 10, [760 * k for k in range(1, 11)]),
    ],
)
def test_validations_are_even_and_the_last_is_after_the_last_step(
    total: int, validations: int, steps: list[int]
) -> None:
    seen: list[int] = []
    events: list[dict[str, Any]] = []

    def validate(method: Method) -> float:
        seen.append(int(updates(method)))
        return -float(len(seen))

    run(Counter(), total, validations, validate=validate, report=events.append)
    assert seen == steps
    assert [e["minibatch"] for e in events if "validation_nll" in e] == steps


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_divergence_with_its_step(bad: float) -> None:
    done = Training()
    method = Counter(lambda step: {"loss": torch.tensor(bad if step == 4 else 1.0)})
    with pytest.raises(Diverged, match=rf"{bad} at mini-batch 4"):
        run(method, done=done)
    assert (done.minibatches, done.samples_seen) == (4, 32)


@pytest.mark.parametrize(("error", "at"), [(SolverFailed("too stiff"), 3)])
def test_a_solve_that_fails_is_divergence_with_its_step(error: Exception, at: int) -> None:
    def learn(batches: Stream) -> Iterator[Log]:
        for k, _ in enumerate(batches, 1):
            if k == at:
                raise error
            yield {"loss": 0.0}

    with pytest.raises(Diverged, match=f"at mini-batch {at}: too stiff"):
        run(Given(learn))


class Late(Field):
    """dx/dt = w x, whose derivative's derivative can be made too stiff for the adjoint."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.ones(()))
        self.backward = False

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.rate * x * (math.nan if self.backward else 1.0)


class AdjointFails(Continuous):
    """Its forward solves are fine; those of the adjoint, inside backward(), see NaN."""

    def __init__(self) -> None:
        super().__init__(2, Options())
        self.field = Late()

    def learn(self, batches: Stream) -> Iterator[Log]:
        for k, x in enumerate(batches, 1):
            (end,) = integrate(
                lambda t, s: (self.field(t, s[0]),), (x,), 0.0, 1.0, Solver(), self.field
            )
            self.field.backward = k == 2
            end.sum().backward()
            yield {"loss": end.sum().detach()}

    def pieces(self) -> list[Piece]:
        return [Piece(self.field, 0.0, 1.0)]


def test_an_adjoint_that_fails_inside_backward_is_divergence() -> None:
    with pytest.raises(Diverged, match="at mini-batch 2: backward, "):
        run(AdjointFails())


def test_an_assertion_of_the_methods_own_is_not_divergence() -> None:
    def learn(batches: Stream) -> Iterator[Log]:
        for _ in batches:
            raise AssertionError("mine")
            yield {}

    with pytest.raises(AssertionError, match="mine"):
        run(Given(learn))


def greedy(batches: Stream) -> Iterator[Log]:
    for _ in batches:
        next(batches)
        yield {"loss": 0.0}


def idle(batches: Stream) -> Iterator[Log]:
    for _ in batches:
        yield {"loss": 0.0}
        yield {"loss": 0.0}


def lazy(batches: Stream) -> Iterator[Log]:
    for k, _ in enumerate(batches, 1):
        yield {"loss": 0.0}
        if k == 4:
            return


def hasty(batches: Stream) -> Iterator[Log]:
    yield {"loss": 0.0}
    for _ in batches:
        yield {"loss": 0.0}


def endless(batches: Stream) -> Iterator[Log]:
    for _ in batches:
        yield {"loss": 0.0}
    while True:
        yield {"loss": 0.0}


def silent(batches: Stream) -> Iterator[Log]:
    for k, _ in enumerate(batches, 1):
        if k < 6:
            yield {"loss": 0.0}


@pytest.mark.parametrize(
    ("learn", "words"),
    [
        (greedy, "took 2 mini-batches for 1 updates"),
        (idle, "took 1 mini-batches for 2 updates"),
        (lazy, "stopped after 4 of 6"),
        (hasty, "took 0 mini-batches for 1 updates"),
        (endless, "took 6 mini-batches for 7 updates"),
        (silent, "stopped after 5 of 6"),
    ],
)
def test_a_broken_contract(learn: Callable[[Stream], Iterator[Log]], words: str) -> None:
    with pytest.raises(ContractBroken, match=words):
        run(Given(learn))


def test_a_log_without_a_loss_is_a_broken_contract() -> None:
    with pytest.raises(ContractBroken, match="loss"):
        run(Counter(lambda step: {"stage": 1.0}))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_log_with_a_name_of_the_harness_is_a_broken_contract(name: str) -> None:
    with pytest.raises(ContractBroken, match=f"Counter logged '{name}', a name that the harness"):
        run(Counter(lambda step: {"loss": 1.0, name: 7.0}))


def test_the_time_limit(clock: Clock) -> None:
    def log(step: int) -> Log:
        clock.now += 1
        return {"loss": 0.0}

    done = Training()
    with pytest.raises(TimedOut, match="at mini-batch 4 of 6"):
        run(Counter(log), deadline=3.5, done=done)
    assert done.minibatches == 4
    assert done.train_seconds == 4
    assert run(Counter(log), deadline=math.inf).minibatches == 6


def test_training_seconds_are_the_generators_alone(clock: Clock) -> None:
    """Validation and reports have clocks of their own; work after the last update counts too."""

    def learn(batches: Stream) -> Iterator[Log]:
        clock.now += 7  # before the first update
        for _ in batches:
            clock.now += 2
            clock.cpu += 0.5
            yield {"loss": 0.0}
        clock.now += 5  # after the last

    def validate(method: Method) -> float:
        clock.now += 100
        clock.cpu += 100
        return 0.0

    def report(event: dict[str, Any]) -> None:
        clock.now += 1_000

    done = run(Given(learn), 6, 3, validate=validate, report=report)
    assert done.train_seconds == 7 + 6 * 2 + 5
    assert done.train_cpu_seconds == 6 * 0.5
    assert done.validation_seconds == 3 * 100


def test_training_seconds_by_the_real_clock() -> None:
    def slow(method: Method) -> float:
        time.sleep(0.2)
        return 0.0

    done = run(Counter(), 2, 2, validate=slow)
    assert done.validation_seconds >= 0.4
    assert done.train_seconds < 0.2


def test_the_best_state_is_kept() -> None:
    """Validation falls until the fourth update and rises after it."""
    method = Counter()
    done = run(method, 6, 6, validate=lambda m: (updates(m) - 4) ** 2 + 1)
    assert updates(method) == 4
    assert (done.best_step, done.best_validation_nll) == (4, 1)
    assert done.minibatches == 6


@dataclass(frozen=True)
class FromTheFifth(Options):
    """Only what is learned from the fifth mini-batch on may be the result."""

    def first_candidate(self, minibatches: int) -> int:
        return 5


def test_a_state_before_the_first_candidate_is_validated_and_not_kept() -> None:
    method, seen = Counter(), []
    method.config = FromTheFifth()
    done = run(method, 6, 6, validate=lambda m: seen.append(updates(m)) or updates(m))
    assert seen == [1, 2, 3, 4, 5, 6]
    assert (done.best_step, done.best_validation_nll, updates(method)) == (5, 5, 5)


def test_the_first_of_equally_good_states_is_kept() -> None:
    method = Counter()
    assert run(method, 6, 3, validate=lambda m: 0.0).best_step == 2
    assert updates(method) == 2


def test_states_without_a_density_are_passed_over() -> None:
    method = Counter()
    done = run(method, 6, 6, validate=lambda m: math.inf if updates(m) != 3 else 9.0)
    assert (done.best_step, updates(method)) == (3, 3)


def test_no_state_with_a_density_is_divergence() -> None:
    with pytest.raises(Diverged, match="state"):
        run(Counter(), validate=lambda m: math.inf)


def learned(validations: int, judge: Judge, best_is_last: bool = True) -> dict[str, Tensor]:
    """What flow matching learns, validated by the real validator; the last state is taken."""
    torch.manual_seed(5)
    method = FlowMatching(2, FlowMatchingConfig(width=8))
    validate, calls = validator(torch.from_numpy(ROWS), judge), 0

    def falling(m: Method) -> float:
        nonlocal calls
        calls += 1
        assert math.isfinite(validate(m))
        return -float(calls)

    train(method, stream(20), falling, validations, lambda event: None)
    assert calls == validations
    return {k: v.clone() for k, v in method.state_dict().items()}


def test_validation_does_not_change_what_is_learned() -> None:
    """The same bits with one validation and with ten."""
    judge = Judge(validation_tol=1e-2)
    one, ten = learned(1, judge), learned(10, judge)
    assert one.keys() == ten.keys()
    assert all(torch.equal(one[k], ten[k]) for k in one)


def test_evaluations_in_training_leave_validation_out() -> None:
    torch.manual_seed(5)
    method = FlowMatching(2, FlowMatchingConfig(width=8))
    validate = validator(torch.from_numpy(ROWS), Judge(validation_tol=1e-2))
    assert run(method, 6, 3, validate=validate).nfe_train == 6


def test_a_run_that_is_continued_counts_on() -> None:
    method = Counter()
    done = train(method, stream(6, dealt=4), lambda m: 0.0, 3, lambda event: None)
    assert updates(method) == 2
    assert (done.minibatches, done.samples_seen, done.best_step) == (6, 48, 6)


def test_the_validators_nll() -> None:
    """The mean of -log N(x; 0, I) over the rows, times what the counter multiplies it by."""
    oracle = 0.5 * float(np.square(ROWS.astype(float)).sum(1).mean()) + math.log(2 * math.pi)
    method = Counter()
    validate = validator(torch.from_numpy(ROWS), Judge())
    with torch.no_grad():
        method.updates += 1
        assert validate(method) == pytest.approx(oracle, rel=1e-6)
        method.updates *= math.nan
        assert validate(method) == math.inf


def test_the_validator_of_a_field_that_can_not_be_solved() -> None:
    method = AdjointFails()
    validate = validator(torch.from_numpy(ROWS), Judge(max_num_steps=5))
    assert math.isfinite(validate(method))
    with torch.no_grad():
        method.field.rate.fill_(-1e6)
    assert validate(method) == math.inf
