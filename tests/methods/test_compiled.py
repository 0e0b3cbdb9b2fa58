"""Methods under `--compile`: the same losses, and nothing that is compiled again at each step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench.api.method import compiling, evaluations
from bench.api.stream import Stream
from bench.registry import plugins
from bench.training.compiling import Compiler

ROWS = np.random.default_rng(0).standard_normal((200, 3), dtype=np.float32)


def learned(name: str, compiler: Compiler | None, **config: Any) -> tuple[list[float], int]:
    """The losses of six mini-batches, and the evaluations."""
    kind = plugins.method(name)
    torch.manual_seed(0)
    method = kind(3, kind.Config(**config))
    batches = Stream(ROWS, 64, 6, seed=0)
    with compiling(compiler):
        losses = [float(log["loss"]) for log in method.learn(batches)]
    return losses, evaluations(method)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("flow-matching", {"width": 16}),
        ("rectified-flow", {"width": 16, "rounds": 1}),
        ("ot-flow", {"width": 16, "layers": 3}),
        ("ffjord", {"width": 16, "flows": 2}),
        ("ffjord", {"width": 16, "divergence": "exact", "gradient": "backprop"}),
        ("jko", {"width": 16, "blocks": 2, "hidden": 3, "steps": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value)),
)
def test_a_compiled_method_learns_the_same(name: str, config: dict[str, Any]) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, counted = learned(name, None, **config)
    compiler = Compiler("cpu")
    with compiler.counting():
        losses, again = learned(name, compiler, **config)
    np.testing.assert_allclose(losses, plain, rtol=1e-4)
    assert again == counted
    assert compiler.seconds > 0
    stats = torch._dynamo.utils.counters
    assert not stats["graph_break"]
    # With and without gradients, and as often where only some of the inputs need one.
    assert 1 <= stats["stats"]["unique_graphs"] <= 8
