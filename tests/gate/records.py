"""Records as the gate's runs leave them, with the curves that hold their times."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.records.store import write_json

from .made import ENVIRONMENT


def write(results: Path, method: str, dataset: str, seed: int = 0, **given: Any) -> str:
    """A record of a run that ended well; a keyword is a metric, or `part__field` of another part.

    `status`, `started` and `name` (that of its folder) are the record's own; `steps` are its steps'
    times and the yardstick's, in CPU seconds.
    """
    name: str = given.pop("name", f"{method}-{dataset}-s{seed}")
    record: dict[str, Any] = {
        "format": 1,
        "run": name,
        "key": "0" * 64,
        "status": given.pop("status", "ok"),
        "reason": given.pop("reason", None),
        "method": {
            "name": method,
            "version": "bbbbbbbbbbbb",
            "preset": "any",
            "settings": {},
            "config": {"learning_rate": 0.005},
        },
        "dataset": {"name": dataset, "revision": "aaaaaaaaaaaa", "d": 2},
        "budget": {"name": "equal", "minibatches": 100, "batch_size": 128},
        "seed": seed,
        "judge": {"solver": "dopri5", "test_rows": 300},
        "training": {"minibatches": 100, "best_validation_nll": 2.1 + seed / 10},
        "metrics": {
            "nll": 2.0 + seed / 10,
            "nll_se": 0.02 + seed / 1_000,
            "nll_rows": 300,
            "nll_solver_error": 1e-5 * (1 + seed),
            "mmd_m": 4e-4 * (1 + seed),
            "mmd_1": 5e-4 * (1 + seed),
            "mmd_n": 300,
            "gamma_m": 1.4,
            "tau_m": 6e-3,
            "tau_1": 7e-3,
            "density_integral": 0.9995,
        },
        "cost": {
            "baseline_rss_bytes": 500,
            "peak_rss_bytes": 600,
            "nfe_train": 100,
            "nfe_sample": 40.0,
            "nfe_density": 44.0,
        },
        "environment": asdict(ENVIRONMENT) | {"cores": 2, "commit": None},
        "started": given.pop("started", "2026-01-01T00:00:00+00:00"),
        "finished": "2026-01-01T01:00:00+00:00",
    }
    steps = given.pop("steps", [(6e-3, 2e-3)] * 10)
    for key, value in given.items():
        part, _, field = key.rpartition("__")
        record[part or "metrics"][field] = value
    folder = results / name
    folder.mkdir(parents=True)
    write_json(folder / "record.json", record)
    lines = [
        {"minibatch": k, "seconds": k, "loss": 1, "step_cpu_seconds": s, "yardstick_cpu_seconds": y}
        for k, (s, y) in enumerate(steps, 1)
    ]
    lines[-1]["validation_nll"] = 2.0
    (folder / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return name
