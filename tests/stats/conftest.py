"""Records written by hand, as a run would leave them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.records.store import write_json

Write = Callable[..., str]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def write(results: Path) -> Write:
    """`write(method, dataset, seed, status=..., nll=..., method__config={...})` makes a record.

    A keyword names a metric, or `part__field` a field of any other part of the record.
    """

    def make(method: str, dataset: str, seed: int = 0, status: str = "ok", **given: Any) -> str:
        label = re.sub(r"[^A-Za-z0-9_.-]+", "-", dataset)
        run = given.pop("run", f"{method}-{label}-s{seed}-{len(list(results.glob('*'))):08x}")
        record: dict[str, Any] = {
            "format": 1,
            "run": run,
            "key": "0" * 64,
            "status": status,
            "reason": given.pop("reason", None),
            "method": {
                "name": method,
                "version": "aaaaaaaaaaaa",
                "preset": "any",
                "config": {"width": 256},
                "params": 98_623,
            },
            "dataset": {
                "name": dataset,
                "revision": "0123456789ab",
                "kind": "generated",
                "note": "",
                "subset": False,
                "d": 2,
                "rows": {"train": 100_000, "validation": 10_000, "test": 20_000},
                "entropy": None,
                "notes": {},
            },
            "budget": {"name": "equal", "minibatches": 300, "batch_size": 1000},
            "seed": seed,
            "judge": {
                "rtol": 1e-5,
                "atol": 1e-5,
                "solver": "dopri5",
                "dtype": "float64",
                "test_rows": 20_000,
                "mmd_n": 10_000,
                "permutations": 1_000,
            },
            "training": {},
            "metrics": {},
            "cost": {},
            "environment": {"device": "cpu"},
            "started": given.pop("started", "2026-01-01T00:00:00+00:00"),
            "finished": "2026-01-01T01:00:00+00:00",
        }
        if status == "ok":
            record["training"] = {"minibatches": 300, "samples_seen": 300_000}
            record["metrics"] = {
                "nll": 2.0,
                "nll_se": 0.01,
                "nll_rows": 20_000,
                "nll_solver_error": 1e-5,
                "nll_native": None,
                "mmd_m": 4e-4,
                "tau_m": 1.7e-4,
                "p_m": 0.001,
                "mmd_1": 5e-4,
                "tau_1": 2.9e-4,
                "p_1": 0.001,
                "mmd_m_u": 2e-4,
                "tau_m_u": 6e-5,
                "mmd_1_u": 3e-4,
                "tau_1_u": 7e-5,
                "mmd_n": 10_000,
                "permutations": 1_000,
                "gamma_m": 1.4,
            }
            record["cost"] = {
                "train_seconds": 12.34,
                "sample_seconds": 1.5,
                "density_seconds": 20.0,
                "peak_gpu_bytes": None,
                "peak_rss_bytes": 512 * 2**20,
                "nfe_train": 300,
                "nfe_sample": 38,
                "nfe_density": 44,
            }
            record["environment"] |= {"threads": 1, "cpu": "A processor", "gpu": None}
        for name, value in given.items():
            part, _, field = name.rpartition("__")
            record[part or "metrics"][field] = value
        folder = results / run
        folder.mkdir(parents=True)
        write_json(folder / "record.json", record)
        return run

    return make


def few_steps(
    mmd: Sequence[float | None], reference: float = 3e-4, pieces: int = 1, nfe: float = 40.0
) -> dict[str, Any]:
    """The metrics of quality by 1, 2, 4, ... Euler steps in each of the pieces; None failed."""
    lines: list[dict[str, Any]] = [
        {"solver": "euler", "steps": 2**i, "nfe": pieces * 2.0**i, "mmd_m": v, "mmd_m_u": None}
        for i, v in enumerate(mmd)
    ]
    last = {"solver": "dopri5", "nfe": nfe, "mmd_m": reference, "mmd_m_u": None}
    return {"quality": [*lines, last], "aggregated_n": 2_500}
