"""What sick methods do by means that a method's own source may not name."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress


def leave_behind(forks: int = 5) -> None:
    """Leave processes of which each has a session of its own and no parent.

    Most are forks that hold all that the run has open. The last is another program that inherits no
    variable: `sleep`, for as many seconds as SICK_SECONDS says.
    """
    for k in range(forks + 1):
        child = os.fork()
        if not child:
            os.setsid()
            if not os.fork():
                if k == forks:
                    os.execve("/bin/sleep", ["sleep", os.environ["SICK_SECONDS"]], {})
                time.sleep(3_600)
            os._exit(0)
        os.waitpid(child, 0)
    time.sleep(1.5)  # long enough to be seen


def eat_memory_elsewhere(processes: int = 4, mebibytes: int = 300) -> None:
    """Take memory in other processes, and wait for them."""
    for _ in range(processes):
        if not os.fork():
            eaten = b"x" * (mebibytes * 2**20)
            time.sleep(3_600)
            os._exit(len(eaten) == 0)
    time.sleep(3_600)


def write_junk() -> None:
    """Write into every pipe that is open, as if to the parent."""
    for fd in range(3, 256):
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.write(fd, b'{"event": "step", "minibatch": [], "total": "all"}\n')


def shout(mebibytes: int = 64) -> None:
    """Print that much, in lines."""
    for _ in range(mebibytes):
        os.write(1, b"all work and no play\n" * (2**20 // 21))
    time.sleep(0.5)
