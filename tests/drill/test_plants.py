"""The planted regressions still apply: their text occurs once in the file that they name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load() -> ModuleType:
    path = Path(__file__).with_name("plant_regressions.py")
    spec = importlib.util.spec_from_file_location("plant_regressions", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


DRILL = load()


@pytest.mark.parametrize("name", DRILL.PLANTS)
def test_a_plant_changes_one_place(name: str) -> None:
    plant = DRILL.PLANTS[name]
    text = (DRILL.ROOT / plant.file).read_text(encoding="utf-8")
    assert text.count(plant.old) == 1
    assert text.replace(plant.old, plant.new) != text
