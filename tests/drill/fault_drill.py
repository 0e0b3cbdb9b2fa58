"""The fault drill: a grid of 24 short runs while children and parents are killed at random moments.

Half of the methods are sick: one raises, one returns NaN, one hangs, one hangs and listens to
nobody, one eats memory, one breaks the process. At the end every healthy run must have the bits of
an undisturbed one, every sick one a record that says why, and nothing may be left over.

    python tests/drill/fault_drill.py [--parent-kills N] [--seed N] [--dask] [--slow-start SECONDS]
        [--clock-back]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

SICK = Path(__file__).parent.parent / "sick"

#: method -> the status that its runs must have
HEALTHY = dict.fromkeys(
    ("gaussian", "flow-matching", "rectified-flow", "jko", "ot-flow", "ffjord"), "ok"
)
AILING = {
    "raises": "error",
    "returns-nan": "diverged",
    "hangs": "timeout",
    "hangs-on": "timeout",
    "eats-memory": "oom",
    "segfaults": "error",
}

#: Small enough that a run takes seconds, and large enough that it can be killed in the midst.
STUDY = """
methods = [{methods}]
datasets = ["own.npy"]
seeds = [0, 1]
budget = "quick"
minibatches = 500
batch_size = 64
settings = [
    "flow-matching.width=32", "rectified-flow.width=32", "rectified-flow.pairs=512",
    "jko.width=16", "jko.blocks=3", "ffjord.width=16", "ot-flow.width=8",
]

[judge]
test_rows = 100
error_rows = 50
integral_cells = 64
mmd_n = 100
permutations = 99
validations = 2
validation_rows = 100
"""

#: Every process of a drill has this variable, with the drill's folder in it.
MARK = "FAULT_DRILL"

#: Seconds between two kills, from and to, beside the seconds that every child starts late.
CALM = (2.0, 9.0)

#: What every Python process of a drill imports first: a child starts late, and the clock goes back
#: by an hour as soon as the file is there.
SITE = """
import os, sys, time
if "bench.launch.worker" in sys.orig_argv:
    time.sleep({slow_start})
clock = time.time
time.time = lambda: clock() - 3600 * os.path.exists({turned!r})
"""


def main() -> None:
    """Run the drill; exit 0 where all held, 1 where something did not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parent-kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dask", action="store_true", help="two Dask workers, one is killed")
    parser.add_argument(
        "--slow-start", type=float, default=0.0, metavar="SECONDS", help="every child starts late"
    )
    parser.add_argument(
        "--clock-back", action="store_true", help="the clock is turned back by an hour midway"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drill-") as name:
        folder = Path(name)
        prepare(folder, asked.slow_start)
        say("undisturbed")
        finish(folder, start(folder, "undisturbed"))
        if asked.dask:
            on_dask(folder, asked.clock_back)
        else:
            disturb(folder, asked)
        problems = list(check(folder))
        for problem in problems:
            say(f"NOT HELD: {problem}")
        say(f"{len(problems)} problems")
    sys.exit(1 if problems else 0)


def prepare(folder: Path, slow_start: float) -> None:
    """A table of rows, a study of it, and what every process imports first."""
    (folder / "site").mkdir()
    text = SITE.format(slow_start=slow_start, turned=str(folder / "turned"))
    (folder / "site" / "sitecustomize.py").write_text(text, encoding="utf-8")
    rows = np.random.default_rng(0).multivariate_normal([1, -1], [[1, 0.8], [0.8, 1]], 1_000)
    np.save(folder / "own.npy", rows.astype(np.float32))
    methods = ", ".join(f'"{name}"' for name in [*HEALTHY, *AILING])
    (folder / "drill.toml").write_text(STUDY.format(methods=methods), encoding="utf-8")


def environment(folder: Path) -> dict[str, str]:
    paths = [str(folder / "site"), str(SICK), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), MARK: str(folder)}
    return os.environ | own | {"BENCH_CACHE": str(folder / "cache"), "COLUMNS": "100"}


def start(folder: Path, results: str, *more: str) -> subprocess.Popen[bytes]:
    """`bench run` on the study, in a session of its own."""
    command = [
        *(sys.executable, "-P", "-c", "from bench.cli import main; main()", "run"),
        *("--study", str(folder / "drill.toml"), "--results", str(folder / results)),
        *("--timeout", "60", "--memory", "1.2", "--checkpoint-every", "0.1", "-j", "2", *more),
    ]
    log = open(folder / f"{results}.log", "ab")  # noqa: SIM115 - the child has it
    return subprocess.Popen(
        command, env=environment(folder), stdout=log, stderr=log, start_new_session=True
    )


def finish(folder: Path, parent: subprocess.Popen[bytes]) -> None:
    """Wait for an undisturbed end: exit code 1, since the sick ones fail."""
    code = parent.wait(1_800)
    if code != 1:
        sys.exit(f"bench run ended with {code}, not 1: {tail(folder)}")


def turn_back_the_clock(folder: Path) -> None:
    if not (folder / "turned").exists():
        (folder / "turned").touch()
        say("the clock is turned back by an hour")


def disturb(folder: Path, asked: argparse.Namespace) -> None:
    """Kill children and parents, start parents anew, now and then two at once; then let it end."""
    chance, killed = random.Random(asked.seed), {"children": 0, "parents": 0}
    calm = [seconds + asked.slow_start for seconds in CALM]
    while killed["parents"] < asked.parent_kills:
        parents = [start(folder, "disturbed") for _ in range(chance.choice((1, 1, 2)))]
        for _ in range(chance.randrange(3)):
            time.sleep(chance.uniform(*calm))
            victims = workers(folder)
            if victims:
                with suppress(psutil.Error):
                    chance.choice(victims).send_signal(signal.SIGKILL)
                    killed["children"] += 1
        time.sleep(chance.uniform(*calm))
        for parent in parents:
            if parent.poll() is None:
                killed["parents"] += 1
                parent.send_signal(signal.SIGKILL)
            parent.wait()
        if asked.clock_back and killed["parents"] >= asked.parent_kills / 2:
            turn_back_the_clock(folder)
        say(f"killed so far: {killed['parents']} parents, {killed['children']} children")
        if len(records(folder / "disturbed")) == 2 * len(HEALTHY | AILING):
            sys.exit("the grid was done before enough parents were killed; make it longer")
    finish(folder, start(folder, "disturbed"))


def on_dask(folder: Path, clock_back: bool) -> None:
    """The same study on a scheduler and two workers, of which one is killed in mid-run."""
    address = "tcp://127.0.0.1:18786"
    dask = [sys.executable, "-P", "-m", "dask"]
    quiet: dict[str, Any] = {
        "env": environment(folder),
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "start_new_session": True,
    }
    worker = [*dask, "worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard"]
    here = ["--local-directory", str(folder / "dask")]
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", "18786", "--no-dashboard"],
            **quiet,
        ),
        *(subprocess.Popen([*worker, *here], **quiet) for _ in range(2)),
    ]
    try:
        parent = start(folder, "disturbed", "--scheduler", address)
        lost = worker_of_a_run(folder, parent)
        lost.kill()
        if clock_back:
            turn_back_the_clock(folder)
        say(f"killed one of two Dask workers, {lost.pid}")
        finish(folder, parent)
    finally:
        for process in started:
            process.kill()
            process.wait()


def worker_of_a_run(folder: Path, parent: subprocess.Popen[bytes]) -> psutil.Process:
    """The Dask worker of a healthy run that is learning and has a checkpoint."""
    while parent.poll() is None:
        for part in (folder / "disturbed").glob("*.part"):
            healthy = part.name.partition("-own")[0] in HEALTHY
            with suppress(OSError, ValueError, psutil.Error):
                log = (part / "log.txt").read_text(encoding="utf-8")
                child = int(log.rpartition("process ")[2].partition(",")[0])
                if healthy and (part / "checkpoint.bin").exists() and "density" not in log:
                    return psutil.Process(child).parent().parent()  # of its guard
        time.sleep(0.05)
    sys.exit(f"the study ended before a worker was killed: {tail(folder)}")


def workers(folder: Path) -> list[psutil.Process]:
    return [p for p in processes(folder) if "bench.launch.worker" in command_of(p)]


def processes(folder: Path) -> Iterator[psutil.Process]:
    """The processes of this drill, but for this one."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(folder):
                yield process


def command_of(process: psutil.Process) -> Sequence[str]:
    try:
        found: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return found


def records(results: Path) -> dict[str, dict[str, Any]]:
    """Every record by its run."""
    found = {}
    for path in results.glob("*/record.json"):
        if path.parent.suffix != ".part":
            found[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def check(folder: Path) -> Iterator[str]:
    """What did not hold."""
    time.sleep(1.0)
    left = [f"{p.pid} {' '.join(command_of(p))[:80]}" for p in processes(folder)]
    if left:
        yield f"processes are left: {left}"
    calm, wild = records(folder / "undisturbed"), records(folder / "disturbed")
    if calm.keys() != wild.keys() or len(calm) != 2 * len(HEALTHY | AILING):
        yield f"the runs are not the same: {len(calm)} and {len(wild)}"
    debris = [
        path.name
        for path in (folder / "disturbed").iterdir()
        if path.name != ".locks" and path.name not in wild
    ]
    if debris:
        yield f"left over in the results: {debris}"
    for run in sorted(calm.keys() & wild.keys()):
        one, other = calm[run], wild[run]
        wanted = (HEALTHY | AILING)[one["method"]["name"]]
        if (one["status"], other["status"]) != (wanted, wanted):
            yield f"{run}: {one['status']} and {other['status']} ({other['reason']}), not {wanted}"
        elif wanted == "ok":
            yield from differences(folder, run, one, other)
            after = [session["after"] for session in other["sessions"]]
            if after != sorted(after) or after.count(0) > 2:
                yield f"{run}: it was begun anew after it had begun: sessions after {after}"
            log = (folder / "disturbed" / run / "log.txt").read_text(encoding="utf-8")
            if ended := sum(line.endswith(" ok") for line in log.splitlines()) - 1:
                yield f"{run}: it was made {ended + 1} times"
        elif not other["reason"]:
            yield f"{run}: {other['status']}, and no reason"
    resumed = sum(len(r.get("sessions", [])) > 1 for r in wild.values())
    say(f"{len(wild)} records, {resumed} of resumed runs")
    if not resumed:
        yield "no run was resumed: nothing was tested"


def differences(
    folder: Path, run: str, one: dict[str, Any], other: dict[str, Any]
) -> Iterator[str]:
    """In what two records of a run differ, and the numbers beside them."""
    for part in ("method", "dataset", "budget", "judge", "training", "metrics"):
        if one[part] != other[part]:
            yield f"{run}: {part} differs"
    for name in ("nfe_train", "nfe_sample", "nfe_density"):
        if one["cost"].get(name) != other["cost"].get(name):
            yield f"{run}: {name} is {one['cost'].get(name)} and {other['cost'].get(name)}"
    models, samples = [], []
    for results in ("undisturbed", "disturbed"):
        models.append(torch.load(folder / results / run / "model.pt", weights_only=True)["state"])
        samples.append(np.load(folder / results / run / "samples.npz")["samples"])
    if any(not torch.equal(models[0][k], models[1][k]) for k in models[0]):
        yield f"{run}: the parameters differ"
    if not np.array_equal(*samples):
        yield f"{run}: the samples differ"


def tail(folder: Path) -> str:
    logs = sorted(folder.glob("*.log"))
    return " | ".join(log.read_text(errors="replace")[-800:] for log in logs)


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


if __name__ == "__main__":
    main()
