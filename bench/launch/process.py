"""One run in a child process: start it, listen to it, end it in time, record how it ended."""

from __future__ import annotations

import itertools
import json
import math
import os
import pickle
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import psutil
from filelock import FileLock, Timeout

from bench.errors import BenchError
from bench.launch.worker import END_WITHIN, GUARDED, OUT_OF_TIME, Event, Job, Tell
from bench.records import store
from bench.records.model import STATUSES, Damaged

#: Seconds past its time limit after which a run is killed. It stops by itself between two steps,
#: and is interrupted wherever it is after half of them.
GRACE = 20.0

#: Seconds that a run has to finish its step and to write a checkpoint when it is asked to stop.
PATIENCE = 120.0

#: How often a run is started that is killed each time before it writes a new checkpoint.
LIVES = 3

#: Lines of its log that the record of a run keeps whose process died.
KEPT_LINES = 40

#: Bytes of a run's log: of a longer one the beginning and the end are kept.
LOG_BYTES, LOG_HEAD, LOG_TAIL = 2**24, 2**23, 2**20

#: Bytes of a message from a child; a longer one ends the run.
MESSAGE_BYTES = 2**20

#: What is taken from a message of each kind; all but the validation's NLL must be there.
MESSAGES: dict[str, dict[str, type]] = {
    "step": {"minibatch": int, "total": int, "loss": float, "validation_nll": float},
    "stage": {"stage": str},
    "note": {"note": str},
    "end": {"status": str},
    "elsewhere": {},
    "ready": {},
}

#: Seconds between two looks for the processes that a run has started.
LOOK_EVERY = 1.0

#: The variable that all processes of a run inherit, with a value of its own for each child.
MARK = "BENCH_CHILD"


class StudyLost(BenchError):
    """The study can't go on; finished runs are kept."""

    exit_code = 1


@dataclass(frozen=True)
class Halt:
    """Ends runs without a record: `stop` after a step and a checkpoint, `kill` at once."""

    stop: threading.Event = field(default_factory=threading.Event)
    kill: threading.Event = field(default_factory=threading.Event)


@dataclass
class Ending:
    """How a child ended: with a status of its own, or for a reason that its parent has.

    `status` is the record's, `busy` or `interrupted`; with a `reason` it is `timeout`, `oom`,
    `killed` or `error`.
    """

    status: str = ""
    reason: str = ""


@dataclass
class Child:
    """A started process, what it writes to standard error, and its value of `MARK`."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    mark: str

    def dismiss(self) -> None:
        """End it where it is ready for another job, and wait for its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class Place:
    """A place for runs, one after the other: its GPU, and a child that is ready for the next run.

    A child ends with the thread that has started it (see `prctl(2)`), so a place has one for that.
    """

    def __init__(self, gpu: str | None = None) -> None:
        self.gpu = gpu
        self.ready: Child | None = None
        self.starter = ThreadPoolExecutor(1)

    def close(self) -> None:
        """End the child that is ready."""
        if self.ready:
            self.ready.dismiss()
        self.starter.shutdown()


def make(job: Job, tell: Tell, halt: Halt, place: Place | None = None) -> str:
    """Make one run in a child process, which leaves a record however it ends.

    A child that is killed, but not for its time or memory, is resumed from its last checkpoint.

    Args:
        job: the run.
        tell: gets the events of the child as they come.
        halt: ends it from outside.
        place: where it is made; the child is kept there, for the next run, if this one ends well.

    Returns:
        The record's status; `busy` if another process makes the run; `interrupted`.

    Raises:
        OSError: no process can be started, or the record of one that died can't be written.
        StudyLost: the results folder is gone.
    """
    if place is None:
        place = Place()
        try:
            return make(job, tell, halt, place)
        finally:
            place.close()
    lives, last, began = LIVES, None, store.utc()
    while True:
        ending, output = _attempt(job, tell, halt, place)
        if halt.stop.is_set() or halt.kill.is_set():
            return "interrupted" if ending.reason else ending.status
        if ending.status == "interrupted":
            ending = Ending("killed", "Stopped by SIGTERM")
        if not ending.reason:
            return ending.status
        found = store.read(job.results, job.spec.run)
        if found and store.stamp(found) != job.seen:  # killed when all was done
            return found.status
        paths = store.part(job.results, job.spec.run).glob(store.CHECKPOINTS)
        checkpoint = max((path.stat().st_mtime_ns for path in paths), default=None)
        lives = LIVES if checkpoint != last else lives - 1
        last = checkpoint
        if ending.status != "killed" or lives <= 0:
            status = "error" if ending.status == "killed" else ending.status
            reason = ": ".join([ending.reason, *_telling(output)])
            times = {"started": began, "finished": store.utc()}
            return leave_record(job, status, reason, output=output, **times)
        tell({"event": "note", "note": f"{ending.reason}; it will be resumed."})


def _attempt(job: Job, tell: Tell, halt: Halt, place: Place) -> tuple[Ending, list[str]]:
    """Make the run once; return how it ended, and its last lines where there is a reason."""
    ending, status, killed_before = Ending(), "", _killed_for_memory()
    job = replace(job, deadline=time.monotonic() + (job.spec.timeout or math.inf))
    child, place.ready = place.ready, None
    if child is None or child.process.poll() is not None:
        child = place.starter.submit(_start, job).result()
    child.errors.truncate(child.errors.seek(0))
    _say(child, pickle.dumps(replace(job, results=job.results.absolute())).hex())
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(child, job, halt, ending, over), daemon=True)
    watch.start()
    assert child.process.stdout is not None
    heard = ready = False
    for line in iter(partial(child.process.stdout.readline, MESSAGE_BYTES), b""):
        if not line.endswith(b"\n") and len(line) < MESSAGE_BYTES:  # it was killed meanwhile
            break
        try:
            event = understood(line, job.spec.minibatches)
        except ValueError as error:
            if not heard or status:  # what Python prints when it starts, or when it ends
                continue
            ending = Ending("error", f"Its process sent a message that is not valid: {error}")
            _end(child)
            break
        heard = True
        if event["event"] == "ready":
            ready = True
            break
        if event["event"] == "end":
            status = event["status"]
        else:
            tell(event)
    code = 0
    if ready:
        over.set()
    else:
        code = child.process.wait()
    watch.join()
    if not status or (status == "interrupted" and ending.reason):
        if not ending.reason:
            ending = Ending(*_cause(code, _killed_for_memory() > killed_before))
        output = _last_lines(job, child.errors)
        child.dismiss()
        return ending, output
    if ready:
        place.ready = child
    else:
        child.dismiss()
    return Ending(status), []


def understood(line: bytes, minibatches: int) -> Event:
    """Return the event in a line from a child: what is known of it, and nothing else.

    Raises:
        ValueError: there is none, and why.
    """
    start = f"{line[:40]!r}"
    if not line.endswith(b"\n"):
        raise ValueError(f"{start} ... is longer than {MESSAGE_BYTES:,} bytes")
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{start} is not JSON") from error
    kind = event.get("event") if isinstance(event, dict) else None
    if not isinstance(kind, str) or kind not in MESSAGES:
        raise ValueError(f"{start} is not an event")
    known: Event = {"event": kind}
    for name, wanted in MESSAGES[kind].items():
        if name in event or name != "validation_nll":
            known[name] = event.get(name)
            if type(known[name]) is not wanted:
                raise ValueError(f"{name} is not {wanted.__name__} in {start}")
    if kind == "step" and not 1 <= known["minibatch"] <= known["total"] == minibatches:
        raise ValueError(f"no step of {minibatches:,} mini-batches is {start}")
    if kind == "end" and known["status"] not in (*STATUSES, "busy", "interrupted"):
        raise ValueError(f"{known['status']!r:.40} is not a status")
    return known


def _cause(code: int, short_of_memory: bool) -> tuple[str, str]:
    if code == -signal.SIGKILL and short_of_memory:
        return "oom", "Killed by SIGKILL when the kernel ran out of memory"
    if code in (-signal.SIGKILL, -signal.SIGTERM):
        return "killed", f"Killed by {signal.Signals(-code).name}"
    by = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return "error", f"Ended {by}"


def _start(job: Job) -> Child:
    mark, errors = secrets.token_hex(), tempfile.TemporaryFile()  # noqa: SIM115
    environment = os.environ | {MARK: mark}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(job.limits.threads or 1)
    environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # deterministic cuBLAS
    # glibc keeps the pages of freed arrays for the next step, which else pays for new ones.
    environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**25))
    environment.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**32))
    if job.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = job.gpu
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.launch.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
        start_new_session=True,  # Ctrl-C is the parent's to handle
    )
    return Child(process, errors, mark)


def _say(child: Child, line: str) -> None:
    assert child.process.stdin is not None
    with suppress(BrokenPipeError):
        child.process.stdin.write(f"{line}\n".encode())
        child.process.stdin.flush()


def _watch(child: Child, job: Job, halt: Halt, ending: Ending, over: threading.Event) -> None:
    """Stop, interrupt and kill the run as its limits and `halt` demand, until it is over."""
    timeout, memory = job.spec.timeout, job.limits.memory or math.inf
    log = store.part(job.results, job.spec.run) / "log.txt"
    asked, look, below = math.inf, -math.inf, list[psutil.Process]()
    while child.process.poll() is None:
        now = time.monotonic()
        late = now - job.deadline
        if halt.stop.is_set() and asked == math.inf:
            asked = now
            _say(child, "stop")
        if late > GRACE / 2 and not ending.status:
            ending.status = "timeout"
            ending.reason = f"interrupted {late:.3g} s after its time limit of {timeout:g} s"
            child.process.send_signal(OUT_OF_TIME)
        if late > GRACE:
            ending.reason = f"killed {late:.3g} s after its time limit of {timeout:g} s"
        if now - look >= LOOK_EVERY:
            look, below = now, _processes(child.process.pid)
        taken = _resident(below)
        if taken > memory and len(below) > 1:  # shared pages were counted several times
            taken = _resident(below, proportional=True)
        too_much = taken > memory
        if too_much:
            ending.status = "oom"
            who = "it" if len(below) < 2 else f"it and the {len(below) - 1} processes below it"
            what = f"used {taken:.2f} GiB of memory, the limit is {memory:.2f}"
            ending.reason = f"killed: {who} {what}"
        _shorten(log)
        if halt.kill.is_set() or now - asked > PATIENCE or late > GRACE or too_much:
            break
        if over.wait(0.05):
            return
    _end(child)
    _shorten(log)


def _processes(child: int) -> list[psutil.Process]:
    """Return the process that makes the run, and those below it."""
    with suppress(psutil.Error):  # it may have ended
        top = psutil.Process(child)
        return [*([] if GUARDED else [top]), *top.children(recursive=True)]
    return []


def _resident(processes: list[psutil.Process], proportional: bool = False) -> float:
    """Return their resident memory in GiB; where the system knows it, each one's share of it."""
    taken = 0
    for process in processes:
        with suppress(psutil.Error):
            info = process.memory_full_info() if proportional else process.memory_info()
            taken += getattr(info, "pss", info.rss)
    return taken / 2**30


def _end(child: Child) -> None:
    """End a child and what it has started: by its guard, or else by process group and mark."""
    process = child.process
    with suppress(ProcessLookupError):
        if GUARDED:
            process.send_signal(signal.SIGUSR1)
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_WITHIN + 1)
        os.killpg(process.pid, signal.SIGKILL)
    for each in psutil.process_iter() if process.wait() < 0 else ():  # its guard may be killed
        with suppress(psutil.Error):
            if each.environ().get(MARK) == child.mark:
                each.kill()


def _shorten(log: Path) -> None:
    """Leave out the middle of a log that is too long; its writers append wherever it ends."""
    with suppress(OSError):
        if log.stat().st_size <= LOG_BYTES:
            return
        with open(log, "r+b") as file:
            file.seek(-LOG_TAIL, os.SEEK_END)
            tail = file.read().partition(b"\n")[2]
            file.truncate(LOG_HEAD)
        with open(log, "ab") as file:
            file.write(b"\n... output left out: a log is at most %d MiB ...\n" % (LOG_BYTES >> 20))
            file.write(tail)


def _killed_for_memory() -> int:
    """Return how many processes the kernel has killed for lack of memory (Linux; elsewhere 0)."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _last_lines(job: Job, errors: IO[bytes]) -> list[str]:
    """Return the last lines of the run's log, and of the output before there was one."""
    errors.seek(0)
    said = errors.read()
    with suppress(OSError):
        said = (store.part(job.results, job.spec.run) / "log.txt").read_bytes() + said
    lines = said.decode(errors="replace").strip().splitlines()
    return [line for line in lines if not line.startswith("Extension modules:")][-KEPT_LINES:]


def leave_record(job: Job, status: str, reason: str, **more: Any) -> str:
    """Write the record of a run that left none.

    Returns:
        The status of its record, be it this one or one that was made meanwhile; `busy` where
        another process makes it now.
    """
    run = job.spec.run
    if not job.results.is_dir():
        raise StudyLost(
            f"The results folder {job.results} is gone.",
            "Type the command again when it is back.",
        )
    content = store.outline(job.spec) | {"status": status, "reason": reason} | more
    try:
        with FileLock(store.lock_file(job.results, run), timeout=5):
            with suppress(Damaged):  # made meanwhile, here or by another process
                found = store.finish(job.results, run) or store.read(job.results, run)
                if found and store.stamp(found) != job.seen:
                    return found.status
            store.part(job.results, run).mkdir(parents=True, exist_ok=True)
            store.publish(job.results, run, content)
    except Timeout:
        return "busy"
    return status


def _telling(output: list[str]) -> list[str]:
    """Return the most telling lines: those of Python's fault handler, or else the last one."""
    for k, line in enumerate(output):
        if line.startswith("Fatal Python error"):
            current = itertools.dropwhile(lambda line: "urrent thread" not in line, output[k:])
            where = [later.strip() for later in current if later.startswith("  File")]
            return [line, *where[:1]]
    return output[-1:]
