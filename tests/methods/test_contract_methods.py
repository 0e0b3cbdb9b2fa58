"""One contract over every installed method; a contributor's is tested by being installed.

Widths are shrunk where a method has them, so that this stays quick; the presets are only built.
"""

from __future__ import annotations

import copy
import io
import math
from dataclasses import FrozenInstanceError, fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import plugins, presets
from bench.flow import Flow
from bench.method import Continuous, Discrete, Field, Method
from bench.numerics.divergence import exact
from bench.numerics.ode import Solver
from bench.spec import Judge
from bench.stream import Stream
from bench.training import Diverged, train, validator

#: Sizes that make a method quick, for those hyper-parameters that it has.
SMALL = {"width": 16, "blocks": 2, "hidden": 2, "pairs": 256, "rtol": 1e-2, "atol": 1e-2}
#: The budget of most tests here.
UPDATES = 6
METHODS = sorted(plugins.methods())
SOLVER = Solver("dopri5", 1e-5, 1e-5)
COVARIANCE = np.array([[1.0, 0.6, 0.2], [0.6, 0.8, -0.1], [0.2, -0.1, 0.5]])
MEAN = np.array([0.3, -0.2, 0.1])

every_method = pytest.mark.parametrize("name", METHODS)
every_dimension = pytest.mark.parametrize("d", [2, 3])


def make(name: str, d: int, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    kind = plugins.method(name)
    known = presets.options(kind.Config)
    return kind(d, kind.Config(**{k: v for k, v in SMALL.items() if k in known}))


@cache
def rows(d: int, n: int = 600, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(MEAN[:d], COVARIANCE[:d, :d], n).astype(np.float32)


def stream(d: int, total: int, dealt: int = 0) -> Stream:
    return Stream(rows(d), 64, total, seed=0, dealt=dealt)


def learn(name: str, d: int, total: int) -> tuple[Method, list[float]]:
    """A method after its whole budget, by its generator alone, and its losses."""
    method = make(name, d)
    return method, [float(log["loss"]) for log in method.learn(stream(d, total))]


@cache
def learned(name: str, d: int) -> tuple[Method, list[float]]:
    """One trained method for all tests that only look at it."""
    return learn(name, d, UPDATES)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def normal(x: Tensor, d: int) -> Tensor:
    """The true log-density of the rows."""
    mean, covariance = torch.from_numpy(MEAN[:d]), torch.from_numpy(COVARIANCE[:d, :d])
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x.double())


@every_method
def test_the_plugin(name: str) -> None:
    kind = plugins.method(name)
    assert issubclass(kind, Continuous | Discrete)
    assert not (issubclass(kind, Continuous) and issubclass(kind, Discrete))
    assert len(plugins.summary(plugins.methods()[name])) > 20
    assert kind.__doc__
    assert len(plugins.version(plugins.methods()[name])) == 12


@every_method
def test_the_configuration(name: str) -> None:
    """A frozen dataclass; every hyper-parameter has a default, a meaning and a plain type."""
    config_class = plugins.method(name).Config
    assert is_dataclass(config_class)
    config = config_class()
    for field in fields(config_class):
        assert field.metadata["doc"].strip(), field.name
        assert isinstance(getattr(config, field.name), bool | int | float | str | None)
        with pytest.raises(FrozenInstanceError):
            setattr(config, field.name, getattr(config, field.name))


@every_method
def test_values_that_make_no_sense(name: str) -> None:
    """No number of a method may be minus a thousand: ValueError, at once."""
    config_class, taken = plugins.method(name).Config, []
    for key, kind in presets.options(config_class).items():
        for bad in {int: [-1_000], float: [-1_000.0]}.get(kind, []):
            try:
                config_class(**{key: bad})
            except ValueError:
                continue
            taken.append(f"{key} = {bad}")
    assert not taken


@every_method
def test_every_preset_can_be_built(name: str) -> None:
    """In the dimension that it is for; else in 2 and 3."""
    for preset, content in presets.read(name).items():
        assert content.evidence.strip()
        for d in [content.d] if content.d else [2, 3]:
            config, found = presets.configure(name, "none", d, {"preset": preset})
            assert found == preset
            method = plugins.method(name)(d, config)
            assert method.d == d


@every_method
@every_dimension
def test_it_learns(name: str, d: int) -> None:
    """One update a mini-batch and no more; finite losses; densities and samples of the shapes."""
    method, losses = learned(name, d)
    assert len(losses) == UPDATES
    assert all(map(math.isfinite, losses))
    flow = Flow(method, SOLVER)
    log_prob, samples = flow.log_prob(torch.from_numpy(rows(d)[:7])), flow.sample(5)
    assert log_prob.shape == (7,)
    assert samples.shape == (5, d)
    assert log_prob.dtype == samples.dtype == torch.float64
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(samples).all()
    assert method.size() > 0


@every_method
def test_the_harness_drives_it(name: str) -> None:
    """Exactly the budget, by the harness's own count; more is a broken contract there."""
    method, batches = make(name, 2), stream(2, 4)
    validate = validator(torch.from_numpy(rows(2)[:50]), Judge(validation_tol=1e-3))
    done = train(method, batches, validate, 2, lambda event: None)
    assert (done.minibatches, batches.dealt, done.samples_seen) == (4, 4, 4 * 64)
    assert math.isfinite(done.best_validation_nll)


@every_method
def test_learning_reaches_every_parameter(name: str) -> None:
    """Each trainable parameter moves, and what is frozen stays; without any, the state moves."""
    method = make(name, 2)
    before = copy.deepcopy(method.state_dict())
    trainable = {k for k, p in method.named_parameters() if p.requires_grad}
    frozen = {k for k, p in method.named_parameters() if not p.requires_grad}
    for _ in method.learn(stream(2, UPDATES)):
        pass
    after = method.state_dict()
    still = {k for k in before if k in after and torch.equal(before[k], after[k])}
    assert not trainable & still
    assert frozen <= still
    assert trainable or still < before.keys()


@every_method
@every_dimension
def test_a_seed_gives_the_same_bits(name: str, d: int) -> None:
    one, losses = learn(name, d, UPDATES)
    other, again = learned(name, d)
    assert losses == again
    assert same(one.state_dict(), other.state_dict())


@every_method
def test_another_seed_is_another_run(name: str) -> None:
    """Where a method draws anything at all: its parameters or its noise."""
    one, other = make(name, 2, seed=0), make(name, 2, seed=1)
    if not list(one.parameters()):
        pytest.skip("draws nothing")
    assert not same(one.state_dict(), other.state_dict())


@every_method
def test_stopped_and_continued_after_any_step(name: str) -> None:
    """State, progress, stream position and generator go through a file; the bits are the same."""
    total = 4
    method, checkpoints = make(name, 2), []
    batches = stream(2, total)
    for _ in method.learn(batches):
        file = io.BytesIO()
        kept = (method.state_dict(), method.progress(), torch.get_rng_state(), batches.dealt)
        torch.save(kept, file)
        checkpoints.append(file.getvalue())
    for k, checkpoint in enumerate(checkpoints, 1):
        state, progress, generator, dealt = torch.load(io.BytesIO(checkpoint), weights_only=True)
        assert dealt == k
        other = make(name, 2, seed=99)
        other.load_state_dict(state)
        other.resume(progress)
        torch.set_rng_state(generator)
        for _ in other.learn(stream(2, total, dealt)):
            pass
        assert same(method.state_dict(), other.state_dict()), f"stopped after {k}"


@every_method
def test_density_and_samples_are_of_one_distribution(name: str) -> None:
    """Mass, mean and covariance of the density on a grid; those of samples within 5 s.e.

    The grid reaches 8 standard deviations of the samples to each side.
    """
    flow, n, cells = Flow(learned(name, 2)[0], SOLVER, rows_at_once=10_000), 5_000, 120
    samples = flow.sample(n, seed=1)
    width = 16 * samples.std(0) / cells
    steps = torch.arange(cells) - (cells - 1) / 2
    grid = samples.mean(0) + torch.cartesian_prod(steps, steps) * width
    mass = flow.log_prob(grid).exp() * width.prod()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-3)
    mean = mass @ grid
    centred = grid - mean
    covariance = (mass[:, None] * centred).T @ centred
    assert ((samples.mean(0) - mean).abs() < 5 * (covariance.diagonal() / n).sqrt()).all()
    products = (samples - mean)[:, :, None] * (samples - mean)[:, None, :]
    se = products.std(0) / math.sqrt(n)
    assert ((products.mean(0) - covariance).abs() < 5 * se).all()


@every_method
def test_a_copy_in_double_precision(name: str) -> None:
    """`Flow` copies in float64 or float32; both agree, and the method itself keeps its types."""
    method = learned(name, 2)[0]
    types = {k: v.dtype for k, v in method.state_dict().items()}
    x = torch.from_numpy(rows(2)[:20])
    double, single = (Flow(method, SOLVER, t) for t in (torch.float64, torch.float32))
    assert {p.dtype for p in double.method.parameters()} <= {torch.float64}
    torch.testing.assert_close(single.log_prob(x).double(), double.log_prob(x), rtol=0, atol=1e-3)
    assert {k: v.dtype for k, v in method.state_dict().items()} == types


@every_method
@every_dimension
def test_closed_form_divergences_are_true(name: str, d: int) -> None:
    method = learned(name, d)[0]
    if not isinstance(method, Continuous):
        pytest.skip("no velocity")
    method = copy.deepcopy(method, {id(method.optimizer): None}).double()
    x = torch.from_numpy(rows(d)[:5]).double()
    pieces = method.pieces()
    assert pieces
    for piece in pieces:
        assert isinstance(piece.field, Field)
        assert piece.t_data != piece.t_noise
        t = torch.tensor((piece.t_data + 2 * piece.t_noise) / 3).double()
        velocity, div = piece.field.with_divergence(t, x)
        torch.testing.assert_close(velocity, piece.field(t, x))
        true = exact(lambda y, f=piece.field, t=t: f(t, y), x)[1]
        torch.testing.assert_close(div, true, rtol=1e-8, atol=1e-8)


@every_method
def test_evaluations_are_counted(name: str) -> None:
    """A continuous method's training evaluates its field at least once a mini-batch."""
    method = make(name, 2)
    done = train(method, stream(2, 3), lambda m: 0.0, 1, lambda event: None)
    assert done.nfe_train >= 3 if isinstance(method, Continuous) else done.nfe_train == 0


@every_method
def test_a_single_mini_batch_is_learned_from(name: str) -> None:
    """The smallest budget is one update, and it is one: the state changes."""
    method = make(name, 2)
    before = copy.deepcopy(method.state_dict())
    for _ in method.learn(stream(2, 1)):
        pass
    assert not same(before, method.state_dict())


@every_method
def test_rows_that_are_not_finite(name: str) -> None:
    """The run has diverged, at the first mini-batch, and says what broke."""
    broken = rows(2).copy()
    broken[:, 1] = math.nan
    batches = Stream(broken, 64, 4, seed=0)
    with pytest.raises(Diverged, match="at mini-batch 1: 64 of 64 rows are not finite"):
        train(make(name, 2), batches, lambda m: 0.0, 1, lambda event: None)


def gap(name: str, d: int, total: int, batch_size: int) -> float:
    """How far above the true NLL a method's default preset ends, on 4,000 fresh rows, in nats."""
    config, _ = presets.configure(name, "none", d, {})
    rng, basis = np.random.default_rng(1), np.random.default_rng(2).normal(size=(d, d))
    covariance = 0.3 * np.eye(d) + basis @ basis.T / d
    true = torch.distributions.MultivariateNormal(
        torch.full((d,), 0.3).double(), torch.from_numpy(covariance)
    )
    x = rng.multivariate_normal(np.full(d, 0.3), covariance, 50_000).astype(np.float32)
    test = torch.from_numpy(x[-4_000:])
    torch.manual_seed(0)
    method = plugins.method(name)(d, config)
    for _ in method.learn(Stream(x[:-4_000], batch_size, total, seed=0)):
        pass
    log_prob = Flow(method, SOLVER, torch.float32).log_prob(test)
    return float((true.log_prob(test.double()) - log_prob).mean())


@every_dimension
def test_the_floor_recovers_a_gaussian(d: int) -> None:
    assert -0.01 < gap("gaussian", d, 60, 256) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 8])
@every_method
def test_a_correlated_gaussian_is_recovered(name: str, d: int) -> None:
    """Within 0.05 nat of its entropy after 1,500 mini-batches of 512."""
    assert -0.02 < gap(name, d, 1_500, 512) < 0.05
