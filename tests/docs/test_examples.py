"""The examples in docstrings."""

from __future__ import annotations

import doctest
import importlib

import pytest

#: module -> how many lines of examples it has at least
MODULES = {
    "bench.metrics.flow_measures": 2,
    "bench.metrics.mmd": 3,
    "bench.numerics.divergence": 2,
    "bench.numerics.ode": 3,
    "bench.stats.significance": 1,
}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted >= MODULES[name]
    assert found.failed == 0
