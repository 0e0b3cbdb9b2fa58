"""`bench doctor`: versions, devices, data, and what is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import click

from bench.paths import array_cache, data_root, results_dir

#: extra -> what needs it
OPTIONAL = {"parquet": ".parquet tables need", "cluster": "--scheduler and --cluster need"}


@dataclass(frozen=True)
class Finding:
    """One line of the examination: `bad` is broken, `note` is missing but not needed."""

    state: Literal["ok", "note", "bad"]
    what: str
    text: str


@click.command()
@click.option("--results", metavar="DIR", help="The results folder [default: results/runs].")
@click.option("--data", metavar="DIR", help="The data root.")
def doctor(results: str | None, data: str | None) -> None:
    """Examine the installation: exit 0 if it is healthy, 1 if something is broken.

    Data that are not here and a GPU that is not here break nothing.

    \b
    Examples:
      bench doctor
      bench doctor --data ~/data --results results/runs
    """
    broken = 0
    for finding in _examine(data_root(data), results_dir(results)):
        mark, colour = {"ok": ("ok", "green"), "note": ("--", "yellow"), "bad": ("BAD", "red")}[
            finding.state
        ]
        broken += finding.state == "bad"
        click.echo(f"{click.style(mark.ljust(3), fg=colour)}  {finding.what:16}  {finding.text}")
    click.echo(f"\n{broken} broken." if broken else "\nHealthy.")
    sys.exit(1 if broken else 0)


def _examine(root: Path, results: Path) -> Iterator[Finding]:
    yield from _machine()
    yield from _packages()
    yield from _devices()
    yield from _plugins(root)
    yield _folder("results", results)
    yield _folder("array cache", array_cache())


def _machine() -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} at {sys.executable}")
    yield Finding("ok", "platform", platform.platform())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("ok", "cores", f"{usable} usable of {os.cpu_count()}")
    try:
        import psutil
    except ImportError:
        return  # reported among the packages
    memory = psutil.virtual_memory()
    text = f"{_gib(memory.available)} available of {_gib(memory.total)}"
    yield Finding("ok", "memory", text)


def _packages() -> Iterator[Finding]:
    """The packages that the distribution requires, and whether they are installed."""
    for requirement in requires("cnf-bench") or ():
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"](\w+)", requirement)
        try:
            yield Finding("ok", name, version(name))
        except PackageNotFoundError:
            if extra is None:
                yield Finding("bad", name, f"not installed; pip install '{requirement}'")
            elif extra[1] in OPTIONAL:
                text = f"not installed (only {OPTIONAL[extra[1]]} it)"
                yield Finding("note", name, f"{text}; pip install 'cnf-bench[{extra[1]}]'")


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken build can raise anything
        yield Finding("bad", "torch", f"can't be imported: {type(error).__name__}: {error}")
        return
    if not torch.cuda.is_available():
        built = (
            f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for the CPU"
        )
        yield Finding("note", "CUDA", f"no device (torch is {built}); runs use the CPU")
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Finding("ok", f"cuda:{index}", f"{device.name}, {_gib(device.total_memory)}")


def _plugins(root: Path) -> Iterator[Finding]:
    from bench.cli.list import needs
    from bench.registry import plugins

    for name, plugin in sorted(plugins.methods().items()):
        try:
            plugins.method(name)
            yield Finding("ok", name, f"method, {plugin.value}")
        except Exception as error:  # a contributor's module can raise anything
            yield Finding("bad", name, f"method: {error}")
    yield Finding("ok" if root.is_dir() else "note", "data root", _where(root))
    for name, plugin in sorted(plugins.datasets().items()):
        if name == plugins.PATH:
            continue
        try:
            dataset = plugins.dataset(name)
        except Exception as error:  # as above
            yield Finding("bad", name, f"data set, {plugin.value}: {error}")
            continue
        source = dataset.find(root)
        if source is None:
            yield Finding("note", name, f"data set: {needs(dataset, root)}")
        else:
            yield Finding("ok", name, f"data set: {source.kind}")


def _folder(what: str, path: Path) -> Finding:
    """Whether a folder can be written, or made where it is not there yet."""
    there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        return Finding("bad", what, f"{path} can't be written; name another folder")
    return Finding("ok", what, f"{_where(path)}, {_gib(shutil.disk_usage(there).free)} free")


def _where(path: Path) -> str:
    return str(path) if path.exists() else f"{path} (not there yet)"


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
