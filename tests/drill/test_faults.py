"""The table of the drill: fifteen faults, and every test that it names is there."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load() -> ModuleType:
    path = Path(__file__).with_name("faults.py")
    spec = importlib.util.spec_from_file_location("faults", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


DRILL = load()


def test_every_fault_has_its_place() -> None:
    assert list(DRILL.FAULTS) == list(range(1, 16))


@pytest.mark.parametrize("number", DRILL.FAULTS)
def test_its_tests_are_there(number: int) -> None:
    assert DRILL.FAULTS[number].tests
    for test in DRILL.FAULTS[number].tests:
        file, _, name = test.partition("::")
        tree = ast.parse((DRILL.ROOT / file).read_bytes())
        assert not name or name in {each.name for each in tree.body if hasattr(each, "name")}
