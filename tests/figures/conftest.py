"""Records, samples, curves and models written by hand, as a run would leave them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure

from bench.cli import main
from bench.data.arrays import Loaded, load
from bench.registry import plugins

from ..stats.conftest import Write, few_steps, results, write

__all__ = ["Call", "Write", "few_steps", "keep", "overlaps", "results", "write"]

Call = Callable[..., Result]
Keep = Callable[..., None]


@pytest.fixture
def call(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`call(kind, ...)` is `bench plot kind ...` on the records, in the folder that holds them."""

    def run(*arguments: str) -> Result:
        monkeypatch.chdir(tmp_path)
        return CliRunner().invoke(main, ["plot", *arguments, "--results", str(results)])

    return run


@pytest.fixture
def keep(results: Path) -> Keep:
    """`keep(run, samples=..., curve=[...])` puts files beside the record of a run."""

    def make(
        run: str, samples: Any = None, curve: list[dict[str, Any]] | None = None, tail: str = ""
    ) -> None:
        if samples is not None:
            np.savez(results / run / "samples.npz", samples=np.asarray(samples, dtype=np.float32))
        if curve is not None:
            text = "".join(f"{json.dumps(line)}\n" for line in curve)
            (results / run / "curve.jsonl").write_text(text + tail)

    return make


@pytest.fixture
def keep_model(results: Path) -> Callable[..., None]:
    """`keep_model(run, method, d, config)` puts a model that was not trained beside the record.

    Keywords are entries of its state.
    """

    def make(run: str, method: str, d: int, config: Mapping[str, Any], **given: Any) -> None:
        import torch

        kind = plugins.method(method)
        state = kind(d, kind.Config(**config)).state_dict()
        state |= {name: torch.as_tensor(value) for name, value in given.items()}
        content = {"method": method, "config": dict(config), "d": d, "state": state}
        torch.save(content, results / run / "model.pt")

    return make


@pytest.fixture(scope="session")
def moons(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(plugins.dataset("moons"), tmp_path_factory.mktemp("none"))


def overlaps(figure: Figure) -> list[str]:
    """What is wrong with the places of texts: those that lie on another, or beyond the figure."""
    figure.draw_without_rendering()
    texts = []
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    for part in [figure, *figure.subfigs, *(s for f in figure.subfigs for s in f.subfigs)]:
        texts += [text for one in part.legends for text in one.get_texts()]
        texts += [part._suptitle] if part._suptitle else []
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if t.get_text().strip()]
    found = []
    for i, (one, box) in enumerate(boxes):
        if not (figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1):
            found.append(f"{one!r} lies beyond the figure")
        found += [f"{one!r} lies on {other!r}" for other, its in boxes[:i] if box.overlaps(its)]
    return found
