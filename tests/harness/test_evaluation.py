"""What an evaluation measures of a flow in closed form."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import paths
from bench.api.dataset import Source, Splits
from bench.api.declarations import Evaluated
from bench.api.method import Continuous, ContractBroken, Discrete, Field, Log, Options, Piece
from bench.api.stream import Stream
from bench.data.arrays import Loaded
from bench.evaluation.checks import check_formulas, integral, movements, round_trip
from bench.evaluation.evaluate import certify, evaluate
from bench.evaluation.flow import Flow, pick, reference_solver
from bench.evaluation.two_samples import two_samples
from bench.numerics.ode import Solver
from bench.records.spec import Judge

JUDGE = Judge(
    test_rows=200,
    error_rows=50,
    integral_cells=64,
    mmd_n=60,
    permutations=99,
    rtol=1e-7,
    atol=1e-7,
)
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


SPLITS = Splits(rows(300, 0), rows(100, 1), rows(200, 2))
SOURCE = Source(lambda root: SPLITS, "generated", "")
DATA = Loaded(**vars(SPLITS), revision="r", source=SOURCE)


def metrics(method: Continuous) -> dict[str, object]:
    return evaluate(method, DATA, JUDGE, lambda event: None).metrics


def by_hand(factor: float, gain: float) -> float:
    """The NLL where x goes to `factor` x and the log-density gains `gain`."""
    z = factor * DATA.test.astype(np.float64)
    return float(0.5 * (z**2).sum(1).mean() + math.log(2 * math.pi) - gain)


def test_reference_and_native_nll_differ_as_in_closed_form() -> None:
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


def test_a_flow_without_native_steps_needs_a_solver() -> None:
    with pytest.raises(TypeError, match="Chain has no discretisation of its own"):
        Flow(Chain([None, None]), None).log_prob(torch.zeros(1, 2))


def test_a_wrong_divergence_breaks_the_contract() -> None:
    with pytest.raises(ContractBroken, match=r"off by 0\.01"):
        metrics(Chain([None, None], wrong=0.01))


class Shifted(Discrete):
    """x = 2 z + 1 with log-densities that are `extra` too high."""

    def __init__(self, extra: float, d: int = 2) -> None:
        super().__init__(d, Options())
        self.extra = extra

    def learn(self, batches: Stream) -> Iterator[Log]:
        yield from ()

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.distributions.Normal(1.0, 2.0).log_prob(x).sum(-1) + self.extra

    def inverse(self, z: Tensor) -> Tensor:
        return 2 * z + 1


@pytest.mark.parametrize("d", [2, 7])
def test_a_density_unlike_that_of_its_inverse_breaks_the_contract(d: int) -> None:
    """By 0.1 nat: named, whatever the dimension; the honest one passes."""
    with pytest.raises(ContractBroken, match=r"log-densities that are off by 0\.1 nat"):
        check_formulas(Flow(Shifted(0.1, d), None), torch.zeros(1, d), torch.randn(4, d))
    check_formulas(Flow(Shifted(0.0, d), None), torch.zeros(1, d), torch.randn(4, d))


def test_the_integral_shows_a_density_that_is_too_high() -> None:
    """One for a flow; exp(0.05) for one that scores itself 0.05 nat too well."""
    points = Flow(Chain([None, None]), Solver(rtol=1e-7, atol=1e-7)).sample(500)
    flow = Flow(Chain([None, None]), Solver(rtol=1e-7, atol=1e-7))
    found = integral(flow, points, 256)
    assert found["density_integral"] == pytest.approx(1, abs=1e-3)
    assert found["density_integral_error"] < 2e-3
    points = 2 * torch.randn(5_000, 2, generator=torch.Generator().manual_seed(0)) + 1
    cheat = integral(Flow(Shifted(0.05), None), points, 256)
    assert cheat["density_integral"] == pytest.approx(math.exp(0.05), abs=2e-3)
    assert metrics(Chain([None, None]))["density_integral"] == pytest.approx(1, abs=0.03)


def test_a_density_too_thin_for_the_grid_shows_in_its_error() -> None:
    """Sheared normals of sd 0.002 along a line: the grid's cells are wider than that."""

    class Thin(Shifted):
        def log_prob(self, x: Tensor) -> Tensor:
            across = torch.distributions.Normal(0.0, 0.002).log_prob(x[:, 0] - x[:, 1])
            return across + torch.distributions.Normal(0.0, 1.0).log_prob(x[:, 1])

    points = torch.randn(1_000, generator=torch.Generator().manual_seed(0))
    found = integral(Flow(Thin(0.0), None), torch.stack([points, points], 1), 256)
    assert abs(found["density_integral"] - 1) < 3 * found["density_integral_error"]
    assert found["density_integral_error"] > 0.05


class Rotation(Field):
    """dx/dt = w (-x2, x1): there and back it is off by what the solver's steps lose."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return 9 * torch.stack([-x[:, 1], x[:, 0]], 1)


class Turn(Chain):
    """One turn."""

    def pieces(self) -> Sequence[Piece]:
        return [Piece(self.turn, 0.0, 1.0)]

    def __init__(self) -> None:
        super().__init__([])
        self.turn = Rotation()


def test_the_round_trip_is_off_by_what_euler_steps_lose() -> None:
    """Of Euler steps |1 + i w h|^2 each, there and back: x grows by (1 + (w h)^2)^n."""
    x = torch.randn(301, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    n = 10
    found = round_trip(Flow(Turn(), Solver("euler", steps=n)), x)
    # there (1 + i w h)^n, back (1 - i w h)^n
    lost = ((1 + (9 / n) ** 2) ** n - 1) * x.norm(dim=1)
    assert found["round_trip_median"] == pytest.approx(float(lost.median()), rel=1e-9)
    assert found["round_trip_max"] == pytest.approx(float(lost.max()), rel=1e-9)
    assert found["row_scale"] == pytest.approx(float((x**2).sum(1).mean().sqrt()), rel=1e-12)
    exact = round_trip(Flow(Turn(), Solver(rtol=1e-9, atol=1e-9)), x)
    assert exact["round_trip_max"] < 1e-6


def test_a_round_trip_that_fails_gives_its_reason() -> None:
    found = round_trip(
        Flow(Turn(), Solver(rtol=1e-9, atol=1e-9, max_num_steps=3)), torch.ones(2, 2)
    )
    assert "ran out of steps" in found["round_trip_failed"]
    assert "round_trip_median" not in found


def certified(judge: Judge) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
    """A chain that grows by exp(4.5): certificate and log-densities, the first and true ones."""
    x = torch.from_numpy(DATA.test)
    method = Chain([None, None])
    method.field.rate.fill_(3.0)
    flow = Flow(method, reference_solver(judge), torch.float32)
    log_prob = flow.log_prob(x)
    z = math.exp(4.5) * x.double()
    true = 2 * 4.5 - 0.5 * z.square().sum(1) - math.log(2 * math.pi)
    after, certificate = certify(flow, x, log_prob, judge, lambda event: None)
    return certificate, after.double(), log_prob.double(), true


def test_a_fine_solver_is_certified_at_once() -> None:
    judge = replace(JUDGE, rtol=1e-6, atol=1e-6, error_bound=0.1)
    found, after, log_prob, true = certified(judge)
    assert (found["nll_uncertified"], found["nll_rtol"]) == (None, 1e-6)
    error = abs((log_prob - true)[::4].mean().item())
    assert found["nll_solver_error"] == pytest.approx(error, rel=0.2)
    torch.testing.assert_close(after, log_prob, atol=0, rtol=0)


def test_a_coarse_solver_is_caught_and_tightened() -> None:
    """The mean is off by half a nat; the certificate ends below the bound, and is true."""
    judge = replace(JUDGE, rtol=1e-3, atol=1e-3, error_bound=1e-3, tightenings=8)
    found, after, log_prob, true = certified(judge)
    assert (log_prob - true).mean().abs() > 0.5
    assert found["nll_uncertified"] is None
    assert found["nll_rtol"] < 1e-3
    assert found["nll_solver_error"] < 1e-3
    assert (after - true).mean().abs() < 2e-3
    assert found["nll_solver_error_max"] >= found["nll_solver_error"]


def test_an_error_above_the_bound_gives_its_reason() -> None:
    judge = replace(JUDGE, rtol=1e-3, atol=1e-3, error_bound=1e-9, tightenings=1)
    found = certified(judge)[0]
    assert found["nll_uncertified"].startswith("at rtol 0.0001 it is still ")
    assert found["nll_solver_error"] >= 1e-9


def test_a_tighter_solve_that_fails_gives_its_reason() -> None:
    x = torch.from_numpy(DATA.test)
    log_prob = Flow(Turn(), Solver(), torch.float32).log_prob(x)
    judge = replace(JUDGE, max_num_steps=3)
    after, found = certify(Flow(Turn(), Solver()), x, log_prob, judge, lambda event: None)
    assert found["nll_uncertified"].startswith("at rtol 1e-08 the solver gave up: ")
    assert "ran out of steps" in found["nll_uncertified"]
    assert found["nll_solver_error"] is None
    torch.testing.assert_close(after, log_prob)


def test_the_standard_error_is_clustered_where_the_data_have_groups() -> None:
    grouped = replace(DATA, source=replace(SOURCE, test_groups=lambda index: index % 20))
    found = evaluate(Chain([None, None]), grouped, JUDGE, lambda event: None)
    log_prob = torch.from_numpy(found.log_prob).double()
    sums = [float((log_prob - log_prob.mean())[g::20].sum()) for g in range(20)]
    by_hand = math.sqrt(20 / 19 * sum(s**2 for s in sums)) / 200
    assert found.metrics["nll_groups"] == 20
    np.testing.assert_array_equal(found.arrays()["groups"], np.arange(200) % 20)
    assert found.metrics["nll_se"] == pytest.approx(by_hand, rel=1e-5)
    assert found.metrics["nll_se_rows"] == pytest.approx(metrics(Chain([None, None]))["nll_se"])


def test_all_tests_reject_wide_samples_and_accept_true_ones() -> None:
    """By no test; samples twice as wide are, by all."""
    spread = math.exp(-1.5 * RATE)  # what the chain makes of standard noise
    for factor, rejected in ((1.0, False), (2.0, True)):
        data = Loaded(
            *(factor * spread / 0.3 * s for s in (rows(900, 0), rows(900, 1), rows(900, 2))),
            revision="r",
            source=SOURCE,
        )
        found = evaluate(Chain([None, None]), data, replace(JUDGE, mmd_n=800), lambda e: None)
        for name in ("p_m", "p_aggregated", "p_c2st"):
            assert (found.metrics[name] < 0.05) is rejected, name
        assert found.metrics["aggregated_n"] == found.metrics["c2st_rows"] == 800
        assert found.metrics["tau_m_se"] > 0


EVALUATED = Evaluated(
    *(torch.from_numpy(rows(60, seed)) for seed in range(3)), log_prob=None, seed=0
)


def compared(permutations: int = 99) -> tuple[dict[str, Any], list[str]]:
    """What the two-sample tests say of the rows above, and the notes."""
    notes: list[str] = []
    found = two_samples(
        EVALUATED,
        replace(JUDGE, permutations=permutations),
        lambda event: notes.append(event["note"]),
    )
    return found, notes


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kept file of what the real rows give to tau, in a cache of its own."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    compared()
    (file,) = paths.array_cache().iterdir()
    return file


def test_what_real_rows_give_is_summed_once(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compared()
    assert before[1] == []
    monkeypatch.setattr("bench.evaluation.two_samples.null_sums", None)
    assert compared() == before
    kept.unlink()
    with pytest.raises(TypeError):
        compared()


def test_other_relabellings_are_other_sums(kept: Path) -> None:
    compared(199)
    assert len(list(kept.parent.iterdir())) == 2


@pytest.mark.parametrize("damage", ["bit", "end", "empty", "foreign"])
def test_damaged_sums_are_noticed_and_made_anew(kept: Path, damage: str) -> None:
    sound, before = kept.read_bytes(), compared()
    if damage == "foreign":
        compared(199)
        (other,) = set(kept.parent.iterdir()) - {kept}
        kept.write_bytes(other.read_bytes())
    else:
        flipped = sound[:2000] + bytes([sound[2000] ^ 1]) + sound[2001:]
        kept.write_bytes({"bit": flipped, "end": sound[:-1], "empty": b""}[damage])
    found, notes = compared()
    assert found == before[0]
    assert [str(kept) in note for note in notes] == ([] if damage == "empty" else [True])
    assert compared() == before


@pytest.mark.parametrize("problem", ["a file", "read-only", "full"])
def test_sums_that_cannot_be_kept_are_made_each_time(
    kept: Path, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = compared()
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / problem))

    def fails(*_: object) -> None:
        raise OSError(30 if problem == "read-only" else 28, "cannot be written")

    if problem != "a file":
        monkeypatch.setattr(Path, "write_bytes", fails)
    assert compared() == before
    assert problem != "full" or list(paths.array_cache().iterdir()) == []


#: Compares rows with others; prints tau.
COMPARE = """
import torch
from bench.api.declarations import Evaluated
from bench.evaluation.two_samples import two_samples
from bench.records.spec import Judge
rows = torch.randn(3, 200, 2, generator=torch.Generator().manual_seed(0))
print(two_samples(Evaluated(*rows, None, 0), Judge(permutations=99))["tau_m"])
"""


def test_processes_share_the_sums(kept: Path) -> None:
    """Each finds no file, or a whole one, and one whole file is left."""
    command = [sys.executable, "-P", "-c", COMPARE]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {process.communicate(timeout=120)[0] for process in processes}
    found.add(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1
    assert float(found.pop()) > 0
    assert len(os.listdir(kept.parent)) == 2


def test_quality_by_evaluations_is_the_mmd_of_euler_samples() -> None:
    """One Euler step a piece sends z to (1 - a)(1 - a/2) z; the last line is the reference's."""
    found = metrics(Chain([None, None]))
    lines = found["quality"]
    assert isinstance(lines, list)
    assert [line["steps"] for line in lines[:-1]] == [1, 2, 4, 8, 16, 32]
    assert all(line["nfe"] == 2 * line["steps"] for line in lines[:-1])
    z = Flow(Chain([None, None]), Solver()).noise(JUDGE.mmd_n, JUDGE.seed)
    x = torch.from_numpy(pick(DATA.test, JUDGE.mmd_n, JUDGE.seed))
    for line, factor in (
        (lines[0], (1 - RATE) * (1 - RATE / 2)),
        (lines[-1], math.exp(-1.5 * RATE)),
    ):
        pooled = torch.cat([x.double(), factor * z])
        kernel = torch.exp(-(torch.cdist(pooled, pooled) ** 2) / (2 * found["gamma_m"] ** 2))  # type: ignore[operator]
        signs = torch.cat([torch.ones(len(x)), -torch.ones(len(x))]).double()
        assert line["mmd_m"] == pytest.approx(float(signs @ kernel @ signs) / len(x) ** 2, rel=1e-3)
    assert lines[-1]["solver"] == "dopri5"


def test_the_movement_of_each_piece_is_that_of_its_growth() -> None:
    """Growth by exp(a), then by exp(a/2), from the data's side."""
    x = torch.from_numpy(DATA.test[:50])
    size = float(x.double().square().sum(1).mean())
    first, second = movements(Flow(Chain([None, None]), Solver(rtol=1e-8, atol=1e-8)), x) or []
    grown = math.exp(RATE)
    assert first == pytest.approx((grown - 1) ** 2 * size, rel=1e-6)
    assert second == pytest.approx((grown * (math.exp(RATE / 2) - 1)) ** 2 * size, rel=1e-6)
    assert movements(Flow(Turn(), Solver(rtol=1e-9, atol=1e-9, max_num_steps=3)), x) is None
    with pytest.raises(TypeError, match="continuous"):
        movements(Flow(Shifted(0.0), Solver()), x)


def test_the_transport_cost_of_a_growing_flow_in_closed_form() -> None:
    """Each path is a ray; the cost is (1 - exp(-1.5 a))^2 E|z|^2."""
    found = metrics(Chain([None, None]))
    z = Flow(Chain([None, None]), Solver()).noise(JUDGE.mmd_n, JUDGE.seed)
    expected = (1 - math.exp(-1.5 * RATE)) ** 2 * float(z.square().sum(1).mean())
    assert found["transport_cost"] == pytest.approx(expected, rel=1e-4)
    assert found["straightness"] > 0
