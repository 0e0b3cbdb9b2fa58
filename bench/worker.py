"""The child process that makes one run: `python -P -m bench.worker`, started by `bench.grid`.

It reads one line of JSON, the run's specification, and writes one line of JSON for each event.
Whatever else prints goes to standard error. It ends when its parent does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.spec import RunSpec

#: Seconds between two reports of steps; every step would choke the parent.
REPORT_EVERY = 0.2


def main() -> None:
    """Make the run that standard input describes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    results, spec = Path(request["results"]), RunSpec.from_json(request["spec"])
    lock = FileLock(lock_file(results, spec.run))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        channel.write(json.dumps({"event": "busy"}) + "\n")
        return
    with lock:
        _run(spec, results, channel)


def lock_file(results: Path, run: str) -> Path:
    """The lock that whoever writes a run's folder holds."""
    return results / ".locks" / f"{run}.lock"


def _run(spec: RunSpec, results: Path, channel: Any) -> None:
    import torch

    from bench.execution import execute

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    last = 0.0

    def report(event: dict[str, Any]) -> None:
        nonlocal last
        steps = event["event"] == "step" and "validation_nll" not in event
        if steps and time.monotonic() - last < REPORT_EVERY:
            return
        last = time.monotonic()
        channel.write(json.dumps(event) + "\n")

    content = execute(spec, results, report)
    channel.write(json.dumps({"event": "end", "status": content["status"]}) + "\n")


def _end_with_parent() -> None:
    """Standard input stays open as long as the parent lives."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
