"""The affine first layer: its moments, its inverse, its part in the density."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import jacrev

from bench.api import method as methods_of_api
from bench.api.method import Affine, AffineKind
from bench.api.stream import Stream
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver
from bench.registry import plugins

RNG = np.random.default_rng(0)
MIX = np.array([[2.0, 0.0, 0.0], [1.0, 0.3, 0.0], [-0.5, 0.2, 0.05]])
ROWS = (RNG.standard_normal((2_000, 3)) @ MIX.T + [5.0, -3.0, 0.1]).astype(np.float32)
KINDS = ["none", "diagonal", "full"]


def fitted(kind: AffineKind, rows: np.ndarray = ROWS) -> Affine:
    layer = Affine(rows.shape[1], kind)
    layer.fit(rows)
    return layer.double()


def test_no_layer_is_the_identity() -> None:
    layer, x = fitted("none"), torch.from_numpy(ROWS).double()
    assert layer(x) is x
    assert layer.inverse(x) is x
    assert layer.log_det() == 0
    assert layer.state_dict() == {}


def test_z_scores() -> None:
    z = fitted("diagonal")(torch.from_numpy(ROWS).double()).numpy()
    expected = (ROWS - ROWS.mean(0, dtype=np.float64)) / ROWS.std(0, dtype=np.float64)
    np.testing.assert_allclose(z, expected, rtol=0, atol=1e-4)


def test_whitened_rows_are_white() -> None:
    z = fitted("full")(torch.from_numpy(ROWS).double()).numpy()
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(z.T, ddof=0), np.eye(3), atol=1e-3)


def test_whitening_is_the_optimal_map() -> None:
    """Between Gaussians that is the symmetric positive definite one (Brenier)."""
    matrix = fitted("full").matrix
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-5, atol=1e-6)
    assert torch.linalg.eigvalsh(matrix).min() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_inverse(kind: AffineKind) -> None:
    layer, x = fitted(kind), torch.from_numpy(ROWS[:50]).double()
    torch.testing.assert_close(layer.inverse(layer(x)), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_determinant_is_the_jacobians(kind: AffineKind) -> None:
    layer = fitted(kind)
    jacobian = jacrev(lambda x: layer(x[None])[0])(torch.from_numpy(ROWS[0]).double())
    expected = torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(torch.as_tensor(layer.log_det()).double(), expected)


@pytest.mark.parametrize(("kind", "size"), [("none", 0), ("diagonal", 6), ("full", 9)])
def test_the_size_counts_fitted_values(kind: AffineKind, size: int) -> None:
    assert fitted(kind).size() == size


def test_moments_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are summed in many parts."""
    whole = fitted("full").matrix
    monkeypatch.setattr(methods_of_api, "ROWS_AT_ONCE", 77)
    torch.testing.assert_close(fitted("full").matrix, whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_constant_rows_are_refused(kind: AffineKind) -> None:
    rows = np.column_stack([ROWS, np.full(len(ROWS), 0.5, dtype=np.float32)])
    with pytest.raises(ValueError, match=f"affine={kind} divides by the spread.*variance is 0"):
        fitted(kind, rows)


def test_dependent_columns_are_refused() -> None:
    """Whitening fails, z-scores do not."""
    rows = np.column_stack([ROWS, ROWS[:, 0] + ROWS[:, 1]])
    fitted("diagonal", rows)
    with pytest.raises(ValueError, match="affine=full"):
        fitted("full", rows)


def test_a_float64_split_keeps_its_digits() -> None:
    """A mean far from 0 does not spoil a small spread."""
    rows = (1_000 + 0.01 * RNG.standard_normal((4_000, 1))).astype(np.float32)
    true = rows.astype(np.float64).std()
    assert 1 / float(fitted("diagonal", rows).matrix) == pytest.approx(true, rel=1e-5)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize("name", ["gaussian", "flow-matching"])
def test_the_density_counts_the_layer(name: str, kind: AffineKind) -> None:
    """Against the same method on rows that were mapped beforehand, by the change of variables."""
    found = plugins.method(name)
    methods = []
    layer = fitted(kind)
    mapped = layer(torch.from_numpy(ROWS).double()).numpy().astype(np.float32)
    for rows, option in ((ROWS, kind), (mapped, "none")):
        torch.manual_seed(0)
        method = found(3, found.Config(affine=option))
        method.affine.fit(rows)
        for _ in method.learn(Stream(rows, 256, 6, seed=0, first=method.affine)):
            pass
        methods.append(method)
    own, other = (Flow(m, Solver(rtol=1e-8, atol=1e-8)) for m in methods)
    x = torch.from_numpy(ROWS[:20]).double()
    expected = other.log_prob(layer(x)) + layer.log_det()
    torch.testing.assert_close(own.log_prob(x), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        own.sample(40, seed=1), layer.inverse(other.sample(40, seed=1)), rtol=1e-3, atol=1e-3
    )


def test_samples_come_back_through_the_layer() -> None:
    """Encoding what was decoded gives the noise again."""
    found = plugins.method("flow-matching")
    method = found(3, found.Config(affine="full"))
    method.affine.fit(ROWS)
    flow = Flow(method, Solver(rtol=1e-8, atol=1e-8))
    z = flow.noise(10, seed=0)
    path = flow.decode(z)
    torch.testing.assert_close(flow.encode(path.rows), z, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(method.affine.double()(path.rows), path.end, rtol=1e-5, atol=1e-5)
