"""The worked example, installed from its own distributions (`tox -e example`)."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ..cli.conftest import Bench, bench  # noqa: F401  (a fixture)

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_method_takes_about_forty_lines() -> None:
    source = EXAMPLES / "spline_flow" / "spline_flow.py"
    if not source.is_file():
        pytest.skip("no checkout: only the installed packages are here")
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 42


def test_the_density_of_the_data_set() -> None:
    """It integrates to one, its entropy is ln(2 pi) + 1, and the rows have its moments."""
    path = EXAMPLES / "banana" / "banana.py"
    if not path.is_file():
        pytest.skip("no checkout: only the installed packages are here")
    spec = importlib.util.spec_from_file_location("banana_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x, y = np.linspace(-6, 6, 601), np.linspace(-7, 20, 1351)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    area = (x[1] - x[0]) * (y[1] - y[0])
    log_density = module.log_density(grid)
    mass = np.exp(log_density) * area
    assert mass.sum() == pytest.approx(1, abs=1e-4)
    assert -(mass * log_density).sum() == pytest.approx(module.BANANA.entropy, abs=1e-3)
    rows = module.read(Path()).train
    # y = z2 + (z1^2 - 1) / 2 has mean 0 and variance 1 + 2 / 4
    assert rows.shape == (20_000, 2)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows.mean(0), [0, 0], atol=4 * np.sqrt(1.5 / 20_000))
    np.testing.assert_allclose(rows.var(0), [1, 1.5], rtol=0.06)


@pytest.mark.skipif(
    not importlib.util.find_spec("spline_flow") or not importlib.util.find_spec("banana"),
    reason="the example is not installed; tox -e example installs it",
)
def test_beside_the_methods_here(bench: Bench, tmp_path: Path) -> None:  # noqa: F811
    """`bench list` names both, `bench test` passes, and the table has the method's figures."""
    listed = json.loads(bench("list", "--json").stdout)
    method = next(line for line in listed["methods"] if line["name"] == "spline-flow")
    assert method["from"] == "bench-spline-flow 0.1.0"
    assert method["unavailable"] is None
    assert "banana" in {line["name"] for line in listed["datasets"]}

    tested = bench("test", "spline-flow", "--set", "width=16", "--json")
    assert tested.returncode == 0, tested.stdout
    checks = {check["check"]: check["outcome"] for check in json.loads(tested.stdout)["checks"]}
    assert checks["samples"] == checks["integral"] == checks["resume"] == "ok"

    run = [
        *("run", "-m", "gaussian", "-m", "spline-flow", "-d", "banana", "--set", "width=32"),
        *("--minibatches", "300", "--batch-size", "256"),
    ]
    done = bench(*run)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(io.StringIO(bench("table", "-f", "csv").stdout)).set_index("method")
    assert set(rows.index) == {"gaussian", "spline-flow"}
    # The entropy is 2.838 nats; the Gaussian with the same moments has 2.838 + ln(1.5) / 2 = 3.041.
    assert rows.loc["gaussian", "nll_mean"] == pytest.approx(3.04, abs=0.06)
    assert 2.78 < rows.loc["spline-flow", "nll_mean"] < 2.96

    name = next(path for path in (tmp_path / "results" / "runs").glob("spline-flow-*"))
    record = json.loads((name / "record.json").read_text(encoding="utf-8"))
    assert record["environment"]["packages"]["bench-spline-flow"] == "0.1.0"
    assert record["environment"]["packages"]["zuko"]
