"""The costs of a run whose costs are known: it sleeps, and it takes memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

#: A Gaussian that sleeps and holds memory, in a process of its own as every run is.
SCRIPT = """
import json, sys, time
from pathlib import Path

import numpy as np

from bench.registry import plugins
from bench.training.run import execute
from bench.study.planning import plan
from bench.records.spec import Judge
from bench.study.studies import Study

folder, sleep, steps, mebibytes = Path(sys.argv[1]), *map(float, sys.argv[2:])
kind = plugins.method("gaussian")
learn = kind.learn
slept = 0.0

def slow(self, batches):
    global slept
    held = np.ones(1 + int(mebibytes * 2**20), dtype=np.uint8)
    for log in learn(self, batches):
        start = time.perf_counter()
        time.sleep(sleep)  # a busy machine wakes it late
        slept += time.perf_counter() - start
        yield log
    assert held[-1] == 1

kind.learn = slow
judge = Judge(test_rows=40, mmd_n=30, permutations=99, integral_cells=16, validation_rows=20,
              validations=5)
study = Study(("gaussian",), (str(folder / "own.npy"),), (0,), "quick", judge, int(steps), 32)
spec = plan(study, folder / "runs", folder).runs[0]
content = execute(spec, folder / "runs", lambda event: time.sleep(0.1))
print(json.dumps([content["status"], content["reason"], content["cost"] | {"slept": slept}]))
"""


def cost(folder: Path, sleep: float, steps: int, mebibytes: int) -> dict[str, float]:
    """The costs in the record of such a run, and the seconds that it slept."""
    np.save(folder / "own.npy", np.random.default_rng(1).normal(size=(400, 2)).astype(np.float32))
    numbers = [str(sleep), str(steps), str(mebibytes)]
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, str(folder), *numbers],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    status, reason, found = json.loads(done.stdout.splitlines()[-1])
    assert status == "ok", reason
    return dict(found)


def test_seconds_are_those_of_the_method(tmp_path: Path) -> None:
    """Within 5 %: the second and more that the harness takes to report is not among them."""
    found = cost(tmp_path, 0.4, 10, 0)
    assert found["slept"] >= 4
    assert found["train_seconds"] == pytest.approx(found["slept"], rel=0.05)
    assert 0 < found["validation_seconds"] < 1


def test_memory_is_what_the_method_took(tmp_path: Path) -> None:
    """Within 5 %, once what the libraries took before is subtracted."""
    held = np.ones(600 * 2**20, dtype=np.uint8)  # the parent's own is none of the child's
    found = cost(tmp_path, 0.0, 5, 800)
    assert held[-1] == 1
    own = found["peak_rss_bytes"] - found["baseline_rss_bytes"]
    assert own == pytest.approx(800 * 2**20, rel=0.05)


#: All test rows of BSDS300's size and dimension, scored and certified by the judge.
SCORE = """
import numpy as np, torch
from bench.api.dataset import Source
from bench.data.arrays import Loaded
from bench.training.session import peak_rss_bytes
from bench.evaluation.flow import Flow
from bench.evaluation.evaluate import likelihood
from bench.evaluation.flow import reference_solver
from bench.records.spec import Judge
from bench_methods.ffjord import FFJORD, FFJORDConfig

torch.set_num_threads(1)
rows = np.random.default_rng(0).normal(size=(250_000, 63)).astype(np.float32)
source = Source(None, "generated", "", test_groups=lambda index: index % 100)
data = Loaded(rows[:2], rows[:2], rows, revision="r", source=source)
judge = Judge(test_rows=250_000)
method = FFJORD(63, FFJORDConfig(hidden=3, width=32))
flow = Flow(method, reference_solver(judge), torch.float32, judge.rows_at_once)
log_prob, metrics, _ = likelihood(flow, data, judge, lambda event: None)
print(len(log_prob), metrics["nll_uncertified"], peak_rss_bytes())
"""


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_a_quarter_of_a_million_rows_are_scored_in_4_gib() -> None:
    """By a field of three hidden layers, whose divergence takes 63 products."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCORE], capture_output=True, text=True, check=True
    )
    rows, reason, peak = done.stdout.split()
    print(f"peak {int(peak) / 2**30:.2f} GiB")
    assert (rows, reason) == ("250000", "None")
    assert int(peak) < 4 * 2**30
