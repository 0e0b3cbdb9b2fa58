"""JKO-iFlow against closed forms, a slow loop and its own laws."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from bench.api.method import evaluations
from bench.api.stream import Stream
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver
from bench.study import presets
from bench_methods.jko import JKO, JKOConfig, evened
from bench_methods.networks import FourierMLP

SMALL = {"width": 8, "blocks": 2}


def jko(d: int = 2, **config: object) -> JKO:
    torch.manual_seed(0)
    return JKO(d, JKOConfig(**{**SMALL, **config}))


def stream(rows: np.ndarray, total: int, batch_size: int = 32) -> Stream:
    return Stream(rows.astype(np.float32), batch_size, total, seed=0)


def normal(n: int, *deviations: float, mean: float = 0.0) -> np.ndarray:
    z = np.random.default_rng(3).standard_normal((n, len(deviations)))
    z = (z - z.mean(0)) / z.std(0)
    return mean + z * np.array(deviations)


def run(method: JKO, batches: Stream) -> list[dict[str, float]]:
    return [{k: float(v) for k, v in log.items()} for log in method.learn(batches)]


def optimum(s0: float, h: float) -> float:
    """The standard deviation that the proximal step from N(0, s0^2) to N(0, 1) ends at."""
    return float(brentq(lambda s: s - 1 / s + (s - s0) / h, 1e-6, 1e3))


# --- closed forms between Gaussians -------------------------------------------------------------


@pytest.mark.parametrize("h", [0.1, 0.5, 2.0])
def test_one_block_between_gaussians(h: float) -> None:
    """Each axis ends at the root of s - 1/s + (s - s0)/h = 0, and the map is linear."""
    s0 = (0.4, 1.7)
    rows = normal(4_096, *s0)
    method = jko(blocks=1, free=False, h0=h, width=32, steps=2, learning_rate=1e-2)
    run(method, stream(rows, 250, 256))
    x = torch.from_numpy(rows)
    z = Flow(method, Solver()).encode(x)
    for axis, s in enumerate(s0):
        assert float(z[:, axis].std()) == pytest.approx(optimum(s, h), rel=0.03)
        slope = float((z[:, axis] * x[:, axis]).mean() / s**2)
        assert slope == pytest.approx(optimum(s, h) / s, rel=0.03)


def test_the_chain_follows_the_proximal_steps() -> None:
    """Block by block the standard deviation is the closed form's, from the one before."""
    h, s = 0.4, 2.5
    rows = normal(4_096, s)
    config = {"blocks": 3, "free": False, "h0": h, "rho": 1.0, "termination": 0.0}
    method = jko(1, width=32, steps=2, learning_rate=1e-2, **config)
    run(method, stream(rows, 450, 256))
    x, first = torch.from_numpy(rows), s
    for block in method.blocks:
        s = optimum(s, h)
        x = block.double()(x).detach()
        assert float(x.std()) == pytest.approx(s, rel=0.03)
    assert s < first - 1


@pytest.mark.parametrize("s0", [0.3, 2.0])
def test_proximal_steps_become_the_ornstein_uhlenbeck_process(s0: float) -> None:
    """As h shrinks, n steps of h = 1/n reach the marginal at time 1, with an error of O(h)."""
    true = math.sqrt(1 + (s0**2 - 1) * math.exp(-2))
    errors = []
    for n in (10, 20, 40):
        s = s0
        for _ in range(n):
            s = optimum(s, 1 / n)
        errors.append(abs(s - true))
    assert errors[2] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


# --- the chain ----------------------------------------------------------------------------------


def test_step_sizes_grow_to_the_largest_and_the_last_block_is_free() -> None:
    """h_k = min(rho^k h0, h_max), and the last block free; each starts from the one before."""
    method = jko(blocks=4, h0=0.5, rho=2.0, h_max=1.5, termination=0.0)
    logs = run(method, stream(normal(64, 1, 1), 8))
    assert [block.h.item() for block in method.blocks] == [0.5, 1.0, 1.5, math.inf]
    assert [log["block"] for log in logs] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_block_starts_from_the_one_before() -> None:
    method = jko(blocks=2, termination=0.0)
    for log in method.learn(stream(normal(64, 1, 1), 6)):
        if log["block"] == 0:
            before = [p.detach().clone() for p in method.blocks[0].parameters()]
    assert all(map(torch.equal, before, (p.detach() for p in method.blocks[0].parameters())))
    method = jko(blocks=2, termination=0.0, learning_rate=1e-12)
    run(method, stream(normal(64, 1, 1), 6))
    for one, other in zip(*(block.parameters() for block in method.blocks), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_block_that_starts_afresh_is_the_identity_first() -> None:
    method = jko(blocks=2, initial="fresh", termination=0.0, learning_rate=1e-12)
    run(method, stream(normal(64, 1, 1), 6))
    one, other = (block.field.layers[0].space.weight for block in method.blocks)
    assert not torch.equal(one, other)
    assert method.blocks[1].field.layers[-1].space.weight.abs().max() < 1e-9


def test_evaluations_are_those_that_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all blocks, of pushes and of what refinement splits: each is counted once."""
    calls = 0

    def counted(original: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            return original(*arguments)

        return call

    for name in ("forward", "trace"):
        monkeypatch.setattr(FourierMLP, name, counted(getattr(FourierMLP, name)))
    method = jko(blocks=3, refinements=1, termination=0.0, steps=1, max_steps=2)
    run(method, stream(normal(64, 1, 2), 24))
    assert len(method.blocks) == 5
    assert evaluations(method) == calls > 24 * 4


def test_the_number_of_blocks_is_found() -> None:
    """Rows at equilibrium do not move: one block settles, a free one follows, and no more."""
    method = jko(blocks=8, termination=0.05, learning_rate=1e-4)
    logs = run(method, stream(normal(512, 1, 1), 40))
    assert [block.h.item() for block in method.blocks] == [0.25, math.inf]
    assert [log["block"] for log in logs] == [0.0] * 5 + [1.0] * 35
    assert method.blocks[0].movement < 0.1


def test_a_block_learns_from_pushed_rows() -> None:
    """What the second block is given is what the first one makes of the same rows."""
    rows, seen = normal(64, 1, 2), []
    method = jko(blocks=2, termination=0.0)
    step = method._step
    method._step = lambda x, dealt: (seen.append(x.clone()), step(x, dealt))[1]
    run(method, stream(rows, 4))
    raw = list(stream(rows, 4))
    first = method.blocks[0]
    assert torch.equal(seen[1], raw[1])
    with torch.no_grad():
        torch.testing.assert_close(seen[3], first(raw[3]), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(seen[3], raw[3], atol=1e-3)


@given(
    total=st.integers(24, 60),
    blocks=st.integers(1, 3),
    reparametrisations=st.integers(0, 2),
    refinements=st.integers(0, 1),
    free=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_the_budget_is_used_exactly(
    total: int, blocks: int, reparametrisations: int, refinements: int, free: bool
) -> None:
    sizes = {"blocks": blocks, "refinements": refinements, "termination": 0.0, "free": free}
    method = jko(reparametrisations=reparametrisations, **sizes, width=2, steps=1, max_steps=1)
    batches = stream(normal(16, 1.0, 1.0), total, 4)
    logs = run(method, batches)
    assert len(logs) == batches.dealt == total
    penalised = blocks - free
    assert len(method.blocks) == penalised * 2**refinements + free
    assert logs[-1]["block"] == len(method.blocks) - 1


def test_a_run_stopped_in_any_sweep_continues_with_the_same_bits() -> None:
    """First fit, reparametrisation, refinement: a state and a stream position are enough."""
    rows, total = normal(32, 1.0, 2.0), 18
    config = {"reparametrisations": 1, "refinements": 1, "termination": 0.0, "steps": 1}
    config |= {"width": 4, "divergence": "gaussian", "max_steps": 2}
    method = jko(**config)
    kept = [
        copy.deepcopy((method.state_dict(), method.progress(), torch.get_rng_state()))
        for _ in method.learn(stream(rows, total, 8))
    ]
    assert len(method.blocks) == 3
    for dealt, (state, progress, generator) in enumerate(kept, 1):
        other = jko(**config)
        other.load_state_dict(state)
        other.resume(progress)
        torch.set_rng_state(generator)
        for _ in other.learn(Stream(rows.astype(np.float32), 8, total, seed=0, dealt=dealt)):
            pass
        ends = zip(method.state_dict().values(), other.state_dict().values(), strict=True)
        assert all(torch.equal(one, two) for one, two in ends), f"stopped after {dealt}"


def test_a_reparametrisation_evens_the_movement() -> None:
    """With Gaussians: movements of equal steps differ, those after some sweeps differ less."""
    rows, spread = normal(512, 4.0), []
    config = {"blocks": 3, "free": False, "h0": 0.5, "rho": 1.0, "termination": 0.0}
    for sweeps in (0, 2):
        method = jko(1, reparametrisations=sweeps, steps=2, learning_rate=2e-2, **config)
        run(method, stream(rows, 150 * (sweeps + 1), 64))
        x, moved = torch.from_numpy(rows), []
        for block in method.blocks:
            y = block.double()(x).detach()
            moved.append(float((y - x).square().mean().sqrt()))
            x = y
        spread.append(max(moved) / min(moved))
    assert spread[0] > 2
    assert spread[1] < 0.7 * spread[0]


# --- reparametrisation --------------------------------------------------------------------------


def test_evened_steps_by_hand() -> None:
    """Movements 3 and 1 over steps 1 and 1: half of the way, 2, is reached at t = 2/3."""
    assert evened([1.0, 1.0], [3.0, 1.0], 1.0, 9.0) == pytest.approx([2 / 3, 4 / 3])
    assert evened([1.0, 1.0], [3.0, 1.0], 0.5, 9.0) == pytest.approx([5 / 6, 7 / 6])
    assert evened([1.0, 1.0], [3.0, 1.0], 0.5, 1.1) == pytest.approx([5 / 6, 1.1])


steps_and_movements = st.lists(
    st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=1, max_size=8
)


@given(steps_and_movements, st.floats(0, 1))
def test_evening_keeps_the_total_time_and_even_steps(
    pairs: list[tuple[float, float]], eta: float
) -> None:
    """The time in all stays the same; even movements leave the steps as they are."""
    steps, movements = zip(*pairs, strict=True)
    new = evened(steps, movements, eta, math.inf)
    assert sum(new) == pytest.approx(sum(steps), rel=1e-9)
    assert min(new) > 0
    same = evened(steps, [0.3] * len(steps), eta, math.inf)
    assert same == pytest.approx(list(steps), rel=1e-9)
    assert evened(steps, movements, 0.0, math.inf) == pytest.approx(list(steps))


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"steps": 65},
        {"h0": 0.0},
        {"h_max": -1.0},
        {"blocks": 0},
        {"eta": 1.5},
        {"sigma0": 0.0},
    ],
)
def test_a_bad_value_is_refused_by_its_name(values: dict[str, float]) -> None:
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"^{name} .*got {value}$"):
        JKOConfig(**values)


def test_a_budget_smaller_than_the_number_of_blocks_is_refused() -> None:
    config = JKOConfig(blocks=4, reparametrisations=1, refinements=1)
    config.check(2, 24, 10)
    with pytest.raises(ValueError, match=r"4 blocks.* 24 .*got 23"):
        config.check(2, 23, 10)


@pytest.mark.parametrize(
    ("name", "d", "params"),
    [("power", 6, 76e3), ("gas", 8, 76e3), ("miniboone", 43, 112e3), ("bsds300", 63, 396e3)],
)
def test_presets_have_the_posters_sizes(name: str, d: int, params: float) -> None:
    """Of a chain of four blocks."""
    config, found = presets.configure("jko", name, d, {})
    assert found == name
    assert config.blocks == 4
    assert 4 * JKO(d, config).size() == pytest.approx(params, rel=0.02)
