"""Compile what a method computes in each step (`--compile`), and time that apart from training."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from bench.errors import UsageError

#: The first torch that tells when it compiles a backward pass.
TORCH = (2, 7)

#: Without Python's headers, compiled functions can't be called.
PROGRAM = "#include <Python.h>\n#include <cmath>\n"


def require_compiler() -> None:
    """Raise UsageError where `torch.compile` could not work: its C++ compiler is called once."""
    torch = version("torch")
    if tuple(map(int, torch.split(".")[:2])) < TORCH:
        raise UsageError(
            f"--compile needs torch {'.'.join(map(str, TORCH))} or newer, and this is {torch}."
        )
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    headers = sysconfig.get_path("include")
    command = [name, "-x", "c++", "-fsyntax-only", "-I", headers, "-"]
    remedy = "Install one (on Debian: apt install g++), name it in CXX, or leave --compile out."
    try:
        done = subprocess.run(command, input=PROGRAM, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UsageError(
            f"--compile needs a C++ compiler, and {name!r} can't be run: {error.strerror}.", remedy
        ) from error
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), "no reason")
        raise UsageError(
            f"--compile needs a C++ compiler and Python's headers; {name} fails: {said}.", remedy
        )


class Compiler:
    """Compiles functions by `torch.compile`, and counts the seconds that this takes.

    A function is compiled when it is called, its backward pass when that is needed, both anew for
    rows of another shape. On a GPU the kernels of a function of fixed shapes become a CUDA graph.

    Attributes:
        seconds: wall-clock seconds of compiling so far, the imports that it needs included.
        cpu_seconds: CPU seconds of this process meanwhile; those of the C++ compiler are not
            among them.
    """

    def __init__(self, device: str) -> None:
        require_compiler()
        self.seconds = self.cpu_seconds = 0.0
        self._began = self._cpu_began = 0.0
        self._device = device
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._start()
        from torch._inductor import config

        config.compile_threads = 1  # in this process: no pool of others
        config.fallback_random = True  # the random numbers of torch, whose seed counts
        self._end()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, compiled; the same one each time."""
        import torch

        if function not in self._compiled:
            graphs: dict[str, Any] = {"triton.cudagraphs": True}
            graphs["triton.cudagraph_skip_dynamic_graphs"] = True  # where shapes vary: no graph
            options = graphs if self._device == "cuda" else None
            self._compiled[function] = torch.compile(function, options=options)
        return self._compiled[function]

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the seconds of compiling."""
        from torch._dynamo.callback import callback_handler

        callback_handler.register_start_callback(self._start)
        callback_handler.register_end_callback(self._end)
        try:
            yield
        finally:
            callback_handler.remove_start_callback(self._start)
            callback_handler.remove_end_callback(self._end)

    def step(self) -> None:
        """Say that a mini-batch begins: a CUDA graph may overwrite the tensors of the last one."""
        if self._device == "cuda":
            import torch

            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    def _start(self, *_: Any) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def _end(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._began
        self.cpu_seconds += time.process_time() - self._cpu_began
