"""The score along the flow against closed forms and differences of the log-density."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.api.method import Method
from bench.evaluation.flow import Flow
from bench.numerics.ode import Solver
from bench_methods.ffjord import FFJORD, FFJORDConfig
from bench_methods.flow_matching import FlowMatching, FlowMatchingConfig
from bench_methods.gaussian import Gaussian, GaussianConfig
from bench_methods.jko import JKO, JKOConfig
from bench_methods.ot_flow import OTFlow, OTFlowConfig
from bench_methods.rectified_flow import RectifiedFlow, RectifiedFlowConfig

SOLVER = Solver(rtol=1e-9, atol=1e-9, max_num_steps=20_000)


def differences(flow: Flow, x: Tensor, step: float = 1e-4) -> Tensor:
    """Central differences of the log-density, of order 4."""
    columns = []
    for direction in step * torch.eye(x.shape[1], dtype=x.dtype):
        near = flow.log_prob(x + direction) - flow.log_prob(x - direction)
        far = flow.log_prob(x + 2 * direction) - flow.log_prob(x - 2 * direction)
        columns.append((8 * near - far) / (12 * step))
    return torch.stack(columns, 1)


@pytest.mark.parametrize(
    "method",
    [
        lambda d: FlowMatching(d, FlowMatchingConfig(width=16, activation="tanh")),
        lambda d: FlowMatching(d, FlowMatchingConfig(width=16, affine="full")),
        lambda d: RectifiedFlow(d, RectifiedFlowConfig(width=16)),
        lambda d: FFJORD(d, FFJORDConfig(flows=2, hidden=2, width=16, gradient="backprop")),
        lambda d: OTFlow(d, OTFlowConfig(width=16)),
    ],
    ids=["flow-matching", "flow-matching, affine", "rectified-flow", "ffjord", "ot-flow"],
)
@pytest.mark.parametrize("d", [2, 5])
def test_the_score_is_the_gradient_of_the_log_density(method: object, d: int) -> None:
    torch.manual_seed(d)
    made = method(d)  # type: ignore[operator]
    made.affine.fit((torch.randn(500, d) @ torch.randn(d, d)).numpy())
    flow = Flow(made, SOLVER)
    x = torch.randn(6, d, dtype=torch.float64)
    torch.testing.assert_close(flow.score(x), differences(flow, x), rtol=1e-5, atol=1e-5)


def test_a_method_without_a_velocity_has_no_score() -> None:
    with pytest.raises(TypeError, match="no velocity"):
        Flow(Gaussian(2, GaussianConfig()), SOLVER).score(torch.zeros(1, 2))


def test_a_score_needs_a_reference_solver() -> None:
    method: Method = JKO(2, JKOConfig(width=8))
    with pytest.raises(TypeError, match="reference solver"):
        Flow(method, None).score(torch.zeros(1, 2))
