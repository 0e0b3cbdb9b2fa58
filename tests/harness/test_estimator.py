"""The estimator: scikit-learn's own checks, and densities against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from bench.estimator import FlowDensity

#: An adaptive solver takes its steps for all rows of a call together.
STEPS = "the solver's steps depend, within its tolerance, on which rows are scored together"


def can_not_apply(estimator: FlowDensity) -> dict[str, str]:
    if estimator.method == "gaussian":
        return {}
    return {"check_methods_subset_invariance": STEPS}


@parametrize_with_checks(
    [
        FlowDensity("gaussian", minibatches=3, batch_size=16),
        FlowDensity(
            "flow-matching", minibatches=3, batch_size=16, validations=1, settings=("width=8",)
        ),
    ],
    expected_failed_checks=can_not_apply,
)
def test_scikit_learns_checks_pass(estimator: FlowDensity, check: Callable[[Any], None]) -> None:
    check(estimator)


def table(n: int) -> tuple[np.ndarray, Any]:
    """Rows of a Gaussian in units of their own, and that Gaussian."""
    truth = multivariate_normal([100, -3], [[25, 4], [4, 1]], seed=3)
    return truth.rvs(n), truth


def test_the_floor_is_the_fitted_gaussian_in_the_tables_own_units() -> None:
    rows, truth = table(20_000)
    flow = FlowDensity("gaussian", minibatches=200, random_state=0).fit(rows)
    fresh = truth.rvs(1_000)
    np.testing.assert_allclose(flow.score_samples(fresh), truth.logpdf(fresh), atol=0.15)
    assert flow.score(fresh) == pytest.approx(truth.logpdf(fresh).mean(), abs=0.01)
    drawn = flow.sample(20_000, random_state=1)
    np.testing.assert_allclose(drawn.mean(0), [100, -3], atol=0.2)
    np.testing.assert_allclose(np.cov(drawn.T), [[25, 4], [4, 1]], rtol=0.08)


def test_a_flow_learns_two_moons() -> None:
    """Better than the best Gaussian, and its density integrates to one in the table's units."""
    from sklearn.datasets import make_moons

    rows, _ = make_moons(4_000, noise=0.1, random_state=0)
    rows = rows * [3, 0.5] + [10, 0]
    fresh, _ = make_moons(1_000, noise=0.1, random_state=1)
    fresh = fresh * [3, 0.5] + [10, 0]
    options = {"minibatches": 400, "random_state": 0}
    flow = FlowDensity("flow-matching", **options).fit(rows)
    assert flow.score(fresh) > FlowDensity("gaussian", **options).fit(rows).score(fresh) + 0.3
    x, y = np.linspace(0, 20, 120), np.linspace(-1.5, 2, 120)
    cells = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    area = (x[1] - x[0]) * (y[1] - y[0])
    assert np.exp(flow.score_samples(cells)).sum() * area == pytest.approx(1, abs=0.03)
    assert [entry["minibatch"] for entry in flow.curve_] == list(range(1, 401))
    assert flow.best_minibatch_ in range(1, 401)
    validated = [entry for entry in flow.curve_ if "validation_nll" in entry]
    assert len(validated) == 10
    best = min(validated, key=lambda entry: entry["validation_nll"])
    assert best["minibatch"] == flow.best_minibatch_


def test_subsets_agree_within_the_tolerance() -> None:
    """What `check_methods_subset_invariance` can't ask of an adaptive solver."""
    rows, _ = table(500)
    flow = FlowDensity(minibatches=20, random_state=0, tol=1e-8).fit(rows)
    whole = flow.score_samples(rows[:40])
    alone = np.concatenate([flow.score_samples(row[None]) for row in rows[:40]])
    np.testing.assert_allclose(whole, alone, atol=1e-6)


def test_a_seed_gives_the_same_bits_and_leaves_other_draws_alone() -> None:
    rows, _ = table(300)
    made = FlowDensity(minibatches=5, random_state=4, settings=("width=8",))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = made.fit(rows).score_samples(rows)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first, clone(made).fit(rows).score_samples(rows))
    other = clone(made).set_params(random_state=5).fit(rows)
    assert not np.array_equal(first, other.score_samples(rows))


def test_it_works_in_a_pipeline_and_a_search() -> None:
    rows, _ = table(300)
    flow = FlowDensity("flow-matching", minibatches=4, batch_size=32, random_state=0)
    scores = make_pipeline(PowerTransformer(), flow).fit(rows).score_samples(rows)
    assert scores.shape == (300,)
    assert np.isfinite(scores).all()
    grid = {"method": ["gaussian", "flow-matching"]}
    found = GridSearchCV(flow, grid, cv=2).fit(rows)
    assert found.best_params_ == {"method": "gaussian"}  # four mini-batches teach a flow nothing


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "flow-machting"}, "Did you mean 'flow-matching'"),
        ({"settings": ("widht=3",)}, "Did you mean 'width'"),
        ({"settings": ("width=x",)}, "must be an integer"),
        ({"minibatches": 0}, "minibatches .* 0"),
        ({"validation_fraction": 1.0}, "validation_fraction .* 1.0"),
        ({"tol": 0.0}, "tol .* 0.0"),
    ],
)
def test_invalid_options_are_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FlowDensity(**options).fit(table(100)[0])


def test_bad_rows_are_refused() -> None:
    rows = table(100)[0]
    with pytest.raises(ValueError, match=r"Column 1 .* 100 rows"):
        FlowDensity("gaussian").fit(np.column_stack([rows[:, 0], np.ones(100)]))
    with pytest.raises(ValueError, match=r"n_samples .* 0"):
        FlowDensity("gaussian", minibatches=2).fit(rows).sample(0)
