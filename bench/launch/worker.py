"""The child process that makes one run: `python -P -m bench.launch.worker`.

It reads one line of JSON, the run's specification, and writes one line of JSON for each event.
Whatever else prints goes to the run's log. A line `stop` on standard input asks it to stop after
the step in hand; when standard input ends, its parent is gone, and it ends too.
"""

from __future__ import annotations

import ctypes
import datetime
import faulthandler
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from bench.records import store
from bench.records.spec import RunSpec

#: Seconds between two reports of steps; every step would choke the parent.
REPORT_EVERY = 0.2

#: Seconds between two lines on steps in the log.
LOG_EVERY = 30.0


def main() -> None:
    """Make the run that standard input describes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    _first_to_go()
    request = json.loads(sys.stdin.readline())
    stop, judging = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(stop, judging), daemon=True).start()
    results, spec = Path(request["results"]), RunSpec.from_json(request["spec"])
    lock = FileLock(lock_file(results, spec.run))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _send(channel, {"event": "busy"})
        return
    with lock:
        made = store.finish(results, spec.run) or store.read(results, spec.run)
        if made and store.stamp(made) != request.get("seen"):
            _send(channel, {"event": "end", "status": made.status, "elsewhere": True})
            return
        _log_to(store.part(results, spec.run))
        every, yardstick = request.get("checkpoint_every", 60.0), request.get("yardstick", False)
        _run(spec, results, channel, stop, judging, every, yardstick)


def lock_file(results: Path, run: str) -> Path:
    """The lock that whoever writes a run's folder holds."""
    return results / ".locks" / f"{run}.lock"


def _run(
    spec: RunSpec,
    results: Path,
    channel: IO[str],
    stop: threading.Event,
    judging: threading.Event,
    every: float,
    yardstick: bool,
) -> None:
    import torch

    from bench.training.loop import TimedOut
    from bench.training.run import execute

    began = time.monotonic()

    def interrupt(*_: object) -> None:
        """SIGTERM: the parent's, when the time limit is over, or anybody's who wants an end."""
        if spec.timeout and time.monotonic() - began > spec.timeout:
            raise TimedOut(f"interrupted: the time limit of {spec.timeout:g} s was over")
        if judging.is_set():  # nothing is kept half-way; the last checkpoint is there already
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        stop.set()

    signal.signal(signal.SIGTERM, interrupt)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sent = logged = 0.0

    def report(event: dict[str, Any]) -> None:
        nonlocal sent, logged
        now, kind = time.monotonic(), event["event"]
        if kind == "stage":
            judging.set()
        plain = kind == "step" and "validation_nll" not in event
        if not plain or now - logged >= LOG_EVERY:
            logged = now
            _log(_line(event))
        if not plain or now - sent >= REPORT_EVERY:
            sent = now
            _send(channel, event)

    _log(f"process {os.getpid()}, {torch.get_num_threads()} threads, {spec.device}")
    content = execute(spec, results, report, stop, every, yardstick)
    _log(" ".join(str(content[name]) for name in ("status", "reason") if content[name]))
    _send(channel, {"event": "end", "status": content["status"]})


def _send(channel: IO[str], event: dict[str, Any]) -> None:
    channel.write(json.dumps(event) + "\n")


def _log_to(folder: Path) -> None:
    """Have all output of this process go to the end of the run's log; where it can't, on as it was.

    What brings the process down is written there too, with the Python lines that led to it.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        log = os.open(folder / "log.txt", flags, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    faulthandler.enable()


def _log(text: str) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with suppress(OSError):
        os.write(2, f"{now} {text}\n".encode())


def _line(event: dict[str, Any]) -> str:
    """An event as a line of the log."""
    if event["event"] == "step":
        left_out = ("event", "total", "minibatch")
        figures = [f"{k} {v:.6g}" for k, v in event.items() if k not in left_out]
        return f"mini-batch {event['minibatch']} of {event['total']}: {', '.join(figures)}"
    return str(event[event["event"]])


def _first_to_go() -> None:
    """Where memory runs out, the kernel shall end a run and not the parent of all runs (Linux).

    And when the parent dies, the kernel ends this process, even one that is stuck in C.
    """
    with suppress(OSError, AttributeError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
        prctl, on_parents_death = ctypes.CDLL(None).prctl, 1
        prctl(on_parents_death, signal.SIGKILL)


def _listen(stop: threading.Event, judging: threading.Event) -> None:
    """Do what the parent asks. Standard input stays open as long as it lives."""
    for line in sys.stdin:
        if line.strip() == "stop":
            stop.set()
            if judging.is_set():
                os._exit(0)
    if os.getpgrp() == os.getpid():  # what the run has started goes too
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
