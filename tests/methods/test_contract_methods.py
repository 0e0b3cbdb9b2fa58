"""One contract over every method here; the checks are those of `bench test`.

Widths are shrunk where a method has them, so that this stays
quick; the presets are only built.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from bench.api.stream import Stream
from bench.conformance import CHECKS, Subject, examine
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver
from bench.registry import plugins
from bench.study import presets

#: Sizes that make a method quick, for those hyper-parameters that it has.
SMALL = {"width": 16, "blocks": 2, "hidden": 2, "pairs": 256, "rtol": 1e-2, "atol": 1e-2}
METHODS = sorted(n for n, p in plugins.methods().items() if not plugins.from_elsewhere(p))
SOLVER = Solver("dopri5", 1e-5, 1e-5)

#: What is skipped, and the code of the reason.
SKIPPED = {
    ("gaussian", "other seed"): "deterministic",
    ("gaussian", "evaluations"): "discrete",
    ("gaussian", "divergence"): "discrete",
}

every_method = pytest.mark.parametrize("name", METHODS)
every_dimension = pytest.mark.parametrize("d", [2, 3])


@cache
def subject(name: str) -> Subject:
    """The method, made small; what it learned is kept for all checks."""
    kind = plugins.method(name)
    known = presets.options(kind.Config)
    settings = {key: value for key, value in SMALL.items() if key in known}
    return Subject(name, kind, settings, plugins.sources(plugins.methods()[name]))


@pytest.mark.parametrize("check", [check.name for check in CHECKS if check.name != "speed"])
@every_method
def test_it_keeps_the_contract(name: str, check: str) -> None:
    (result,) = examine(subject(name), [check])
    assert result.outcome != "failed", f"{result.says} {result.look}"
    if result.outcome == "skipped" and check != "device":
        assert SKIPPED[name, check] == result.code


@every_method
def test_the_plugin_is_well_formed(name: str) -> None:
    kind = plugins.method(name)
    assert len(plugins.summary(plugins.methods()[name])) > 20
    assert kind.__doc__
    assert len(plugins.version(plugins.methods()[name])) == 12


@every_method
def test_impossible_values_are_refused(name: str) -> None:
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
