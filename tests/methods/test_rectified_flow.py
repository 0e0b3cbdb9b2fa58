"""Rectified flow: its rounds, its pairs, its student, and what stays while paths straighten."""

from __future__ import annotations

import copy
import io
import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm
from torch import Tensor, nn

from bench.api.method import evaluations
from bench.api.stream import Stream
from bench.numerics.ode import Solver
from bench.study import presets
from bench.training.loop import train
from bench_methods.rectified_flow import MEASURED, RectifiedFlow, RectifiedFlowConfig
from bench_methods.reflow import follow

QUICK = {"width": 16, "pairs": 64, "rtol": 1e-2, "atol": 1e-2}
#: Two modes of deviation 0.5.
MODES = torch.tensor([[2.0, 0.0], [-2.0, 1.0]])


def rows(n: int) -> Tensor:
    return MODES[torch.randint(2, (n,))] + 0.5 * torch.randn(n, 2)


def stream(total: int, batch_size: int = 32, dealt: int = 0) -> Stream:
    torch.manual_seed(5)
    return Stream(rows(500).numpy(), batch_size, total, seed=0, dealt=dealt)


def make(**config: Any) -> RectifiedFlow:
    torch.manual_seed(0)
    return RectifiedFlow(2, RectifiedFlowConfig(**QUICK | config))


def bits(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


shares = st.floats(0, 1, exclude_min=True, exclude_max=True)


@settings(deadline=None)
@given(st.integers(1, 10_000), st.integers(1, 5), shares, st.booleans(), shares)
def test_stages_share_the_whole_budget(
    total: int, rounds: int, first: float, distil: bool, student: float
) -> None:
    """Stages follow one another to the end of the budget; one without a mini-batch is refused."""
    config = RectifiedFlowConfig(rounds, first, distil=distil, student_share=student)
    ends = config.ends(total)
    lengths = [b - a for a, b in itertools.pairwise([0, *ends])]
    assert len(ends) == rounds + distil
    assert ends[-1] == total
    assert min(lengths) >= 0
    if min(lengths) == 0:
        with pytest.raises(ValueError, match=rf"{total} mini-batches"):
            config.check(2, total, 512)
        return
    config.check(2, total, 512)
    share = (1 - student if distil else 1) * (first if rounds > 1 else 1)
    assert lengths[0] == pytest.approx(share * total, abs=0.51)
    later = lengths[1:rounds]
    assert not later or max(later) - min(later) <= 1
    assert config.first_candidate(total) == (total if distil else total - lengths[-1] + 1)


@pytest.mark.parametrize(
    ("config", "ends"),
    [
        ({"rounds": 1}, [100]),
        ({"rounds": 2}, [60, 100]),
        ({"rounds": 3}, [60, 80, 100]),
        ({"rounds": 3, "first_share": 0.5, "distil": True}, [40, 60, 80, 100]),
        ({"rounds": 1, "distil": True, "student_share": 0.3}, [70, 100]),
    ],
)
def test_the_ends_of_the_stages_of_a_hundred_mini_batches(
    config: dict[str, Any], ends: list[int]
) -> None:
    assert RectifiedFlowConfig(**config).ends(100) == ends


def test_the_log_names_rounds_and_measures_each() -> None:
    """Evaluations: one an update, and at each round's end those of its pairs."""
    method, batches, counts, logs = make(rounds=3), stream(10), [0], []
    for log in method.learn(batches):
        logs.append(log)
        counts.append(evaluations(method))
    assert [log["round"] for log in logs] == [1] * 6 + [2] * 2 + [3] * 2
    measured = [k for k, log in enumerate(logs, 1) if {"straightness", "transport_cost"} <= {*log}]
    assert measured == [6, 8, 10]
    for k, (before, after) in enumerate(itertools.pairwise(counts), 1):
        assert after - before > 7 if k in measured else after - before == 1
    assert method.pairs.shape == (2, MEASURED, 2), "the last round's pairs are only measured"


@pytest.mark.parametrize(("distil", "step"), [(False, 12), (True, 20)])
def test_the_result_is_of_the_last_stage(distil: bool, step: int) -> None:
    """Though an earlier round validates better: of stages that end at 10 and 20, or 8, 16, 20."""
    nlls = iter([1, 1, 2, 2, 3, 4, 4, 5, 5, 5])
    method = make(first_share=0.5, distil=distil)
    done = train(method, stream(20), lambda m: next(nlls), 10, lambda event: None)
    assert done.best_step == step


def test_sigma_min_is_the_first_rounds() -> None:
    """The velocity of a path that ends s wide is x1 - (1 - s) x0; pairs of a flow have no width."""
    method = make(sigma_min=0.25)
    torch.nn.init.zeros_(list(method.field.parameters())[-1])
    torch.nn.init.zeros_(list(method.field.parameters())[-2])
    rows = torch.linspace(-2, 3, 32).reshape(16, 2)
    torch.manual_seed(3)
    noise = torch.randn(16, 2)
    torch.manual_seed(3)
    expected = (rows - 0.75 * noise).square().sum(-1).mean()
    torch.testing.assert_close(method._loss(0, rows), expected)
    method.pairs = torch.stack([noise[:1], rows[:1]])
    torch.testing.assert_close(method._loss(1, rows), (rows[0] - noise[0]).square().sum())


def test_the_pairs_are_the_flows_own() -> None:
    """Noise, and where the flow of that moment takes it; its cost is the one that is logged."""
    method = make(width=8)
    generator = method.learn(stream(10))
    log = [next(generator) for _ in range(6)][-1]
    field = copy.deepcopy(method.field)
    assert method.pairs.shape == (2, 64, 2)
    x0, x1 = method.pairs
    torch.testing.assert_close(follow(field, x0, method.solver).x1, x1)
    assert log["transport_cost"] == pytest.approx(float((x1 - x0).square().sum(-1).mean()))
    assert x0.std() == pytest.approx(1, abs=0.3)
    pool = method.pairs.clone()
    for _ in range(3):
        next(generator)
    assert torch.equal(method.pairs, pool), "one pool a round"


def test_later_rounds_leave_the_data_alone() -> None:
    """Other rows in the second round's mini-batches change nothing."""
    ends = []
    for scale in (1.0, 100.0):
        method, batches = make(), stream(10)
        generator = method.learn(batches)
        for _ in range(6):
            next(generator)
        batches._rows = scale * batches._rows
        for _ in generator:
            pass
        ends.append(bits(method.field))
    assert same(*ends)


@pytest.mark.parametrize("stage", ["first", "reflow", "student"])
def test_the_loss_matches_a_loop_over_rows(stage: str) -> None:
    """From the same draws: noise or a choice of pairs, then times; a student sees t = 0 alone."""
    method, x = make(rounds=1 if stage == "student" else 2, distil=stage == "student"), rows(5)
    for parameter in method.parameters():
        nn.init.normal_(parameter, std=0.5)
    method.pairs = torch.randn(2, 9, 2)
    torch.manual_seed(3)
    loss = method._loss({"first": 0, "reflow": 1, "student": 1}[stage], x).item()
    torch.manual_seed(3)
    if stage == "first":
        x0, x1 = torch.randn(5, 2), x
    else:
        x0, x1 = method.pairs[:, torch.randint(9, (5,))]
    times = torch.zeros(5) if stage == "student" else torch.rand(5)
    network, total = method.student if stage == "student" else method.field, 0.0
    assert network is not None
    for start, end, t in zip(x0, x1, times, strict=True):
        v = network(t, (start + t * (end - start))[None])[0]
        total += (end - start - v).square().sum().item()
    assert loss == pytest.approx(total / 5, rel=1e-5)


def test_the_student_learns_the_flows_map() -> None:
    """In one step, to 1 % of the cost; it starts as the flow, which then stays as it is."""
    method = make(
        rounds=1, distil=True, student_share=0.5, width=64, pairs=2_048, learning_rate=1e-2
    )
    field: list[Tensor] = []
    total = 800
    for k, log in enumerate(method.learn(stream(total, 128)), 1):
        if k == total // 2:
            field = bits(method.field)
            assert method.student is not None
            assert not same(bits(method.student), field)
        assert log["round"] == 1
    assert same(bits(method.field), field)
    x0 = torch.randn(1_000, 2)
    pairs = follow(method.field, x0, Solver("dopri5", 1e-5, 1e-5))
    with torch.no_grad():
        error = (method.one_step(x0) - pairs.x1).square().sum(-1).mean()
    assert error < 0.01 * pairs.cost
    (piece,) = method.pieces()
    assert piece.field is method.field
    assert method.size() == sum(p.numel() for p in method.field.parameters())


def test_without_a_student_one_step_is_eulers() -> None:
    method, x0 = make(), torch.randn(4, 2)
    nn.init.normal_(method.field.layers[-1].space.weight)
    torch.testing.assert_close(method.one_step(x0), x0 + method.field(torch.tensor(0.0), x0))


def test_a_run_stopped_in_any_stage_continues_with_the_same_bits() -> None:
    """Through a file, after every step of two rounds and a student."""
    method, checkpoints, batches = make(distil=True), [], stream(8)
    for _ in method.learn(batches):
        file = io.BytesIO()
        torch.save((method.state_dict(), method.progress(), torch.get_rng_state()), file)
        checkpoints.append(file.getvalue())
    assert method.config.ends(8) == [4, 6, 8]
    for k, checkpoint in enumerate(checkpoints, 1):
        state, progress, generator = torch.load(io.BytesIO(checkpoint), weights_only=True)
        other, batches = make(distil=True), stream(8, dealt=k)
        other.load_state_dict(state)
        other.resume(progress)
        torch.set_rng_state(generator)
        for _ in other.learn(batches):
            pass
        assert same(bits(other), bits(method)), f"stopped after {k}"


@pytest.mark.slow
def test_three_rounds_straighten_and_keep_the_data() -> None:
    """From noise to two modes: the cost does not rise, the data's distribution stays.

    It is held against the mixture's on four lines, in Kolmogorov's distance: draws of it alone
    come to 0.018 in one of a hundred.
    """
    torch.manual_seed(0)
    method = RectifiedFlow(2, RectifiedFlowConfig(3, width=64, pairs=8_192, learning_rate=1e-2))
    logs = [
        log
        for log in method.learn(Stream(rows(20_000).numpy(), 256, 2_500, seed=0))
        if "straightness" in log
    ]
    costs = [float(log["transport_cost"]) for log in logs]
    straightness = [float(log["straightness"]) for log in logs]
    assert costs[1] < 1.02 * costs[0]  # its standard error is below 1 %
    assert costs[2] < 1.02 * costs[1]
    assert straightness[1] < 0.05 * straightness[0]
    assert straightness[2] < 1.1 * straightness[1]
    x1 = follow(method.field, torch.randn(8_192, 2), Solver("dopri5", 1e-4, 1e-4)).x1
    for angle in (0.0, 0.25, 0.5, 0.75):
        line = torch.tensor([math.cos(math.pi * angle), math.sin(math.pi * angle)])
        centres = (MODES @ line).numpy()
        distance = kstest(x1 @ line, lambda v, m=centres: norm.cdf((v[:, None] - m) / 0.5).mean(1))
        assert distance.statistic < 0.03


@pytest.mark.parametrize(
    ("preset", "d", "size"),
    [("power", 6, 76e3), ("gas", 8, 76e3), ("miniboone", 43, 112e3), ("bsds300", 63, 396e3)],
)
def test_presets_have_the_posters_sizes(preset: str, d: int, size: float) -> None:
    config, found = presets.configure("rectified-flow", preset, d, {})
    assert found == preset
    assert RectifiedFlow(d, config).size() == pytest.approx(size, rel=0.02)


@pytest.mark.parametrize(
    "config",
    [
        {"rounds": 0},
        {"pairs": 0},
        {"width": 0},
        {"frequencies": -1},
        {"first_share": 0.0},
        {"first_share": 1.0},
        {"first_share": math.nan},
        {"student_share": 1.0},
        {"learning_rate": 0.0},
        {"clip": -1.0},
        {"scale": 0.0},
        {"sigma_min": 1.0},
        {"rtol": 0.0},
        {"atol": -1e-3},
    ],
)
def test_a_bad_value_is_refused_by_its_name(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="|".join(config)):
        RectifiedFlowConfig(**config)


@pytest.mark.parametrize(("config", "least"), [({}, 2), ({"rounds": 3}, 4), ({"distil": True}, 3)])
def test_budgets_too_small_for_the_rounds_are_refused(config: dict[str, Any], least: int) -> None:
    with pytest.raises(ValueError, match=f"{least - 1} mini-batches"):
        RectifiedFlowConfig(**config).check(2, least - 1, 512)
    RectifiedFlowConfig(**config).check(2, least, 512)
