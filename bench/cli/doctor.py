"""`bench doctor`: whether the installation works; versions, devices, plug-ins, folders."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import click

from bench.cli.options import data_option, results_option
from bench.paths import array_cache, usable_cores
from bench.records.format import memory
from bench.terminal import echo

#: extra -> what needs it
OPTIONAL = {"parquet": ".parquet tables", "cluster": "--scheduler and --cluster"}

#: What is broken -> how.
Problems = dict[str, str]


@click.command()
@results_option()
@data_option
def doctor(results: Path, data: Path) -> None:
    """Check the installation: exit 0 if it is healthy, 1 if something is broken.

    Data that are not downloaded and a missing GPU are not problems.

    \b
    Examples:
      bench doctor
      bench doctor --data ~/data --results results/runs
    """
    problems: Problems = {}
    folders = {"Data": data, "Results": results, "Cache": array_cache()}
    details = {
        "System": _system(problems),
        "Packages": _packages(problems),
        "Plug-ins": _plugins(problems, data),
        "Folders": {name: _folder(problems, name, path) for name, path in folders.items()},
    }
    if problems:
        count = "1 problem:" if len(problems) == 1 else f"{len(problems)} problems:"
        echo(count, fg="red", bold=True)
        for what, text in problems.items():
            echo(f"  {what}: {text}")
    else:
        echo("Healthy.", fg="green", bold=True)
    wrapper = textwrap.TextWrapper(100, subsequent_indent=" " * 13, break_on_hyphens=False)
    for group, lines in details.items():
        echo()
        echo(group, bold=True)
        for name, text in lines.items():
            echo(wrapper.fill(f"  {name:<10} {text}"), lines=True)
    sys.exit(1 if problems else 0)


def _system(problems: Problems) -> dict[str, str]:
    found = {
        "Python": f"{platform.python_version()}, {sys.executable}",
        "Platform": platform.platform(),
        "Cores": f"{usable_cores()} of {os.cpu_count()} usable",
    }
    try:
        import psutil
        import torch
    except Exception as error:  # a broken build can raise anything
        problems["imports"] = f"{type(error).__name__}: {error}"
        return found
    ram = psutil.virtual_memory()
    found["Memory"] = f"{memory(ram.available)} of {memory(ram.total)} available"
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
    names = "; ".join(f"cuda:{i} {g.name}, {memory(g.total_memory)}" for i, g in enumerate(gpus))
    return found | {"GPU": names or f"none (torch is built for {build})"}


def _packages(problems: Problems) -> dict[str, str]:
    """Return the versions of the packages that the distribution requires."""
    installed, absent = {}, {}
    for requirement in requires("cnf-bench") or ():
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"](\w+)", requirement)
        if extra and extra[1] not in OPTIONAL:
            continue
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            if extra:
                remedy = f"only for {OPTIONAL[extra[1]]}; pip install 'cnf-bench[{extra[1]}]'"
                absent[f"no {name}"] = remedy
            else:
                problems[name] = f"not installed; pip install '{requirement}'"
    return {"Installed": ", ".join(f"{name} {v}" for name, v in installed.items())} | absent


def _plugins(problems: Problems, root: Path) -> dict[str, str]:
    from bench.registry import plugins

    found: dict[str, list[str]] = {"Methods": [], "Data sets": [], "Metrics": [], "Not here": []}
    looks: dict[str, Callable[[str], Any]] = {
        "method": plugins.method,
        "data set": lambda name: plugins.dataset(name).find(root),
        "metric": plugins.metric,
    }
    names = plugins.methods(), plugins.datasets(), plugins.entries("metrics")
    for (kind, look), known in zip(looks.items(), names, strict=True):
        for name in sorted({*known} - {plugins.PATH}):
            try:
                found[f"{kind.capitalize()}s" if look(name) else "Not here"].append(name)
            except Exception as error:  # a contributor's module can raise anything
                problems[f"{kind} {name}"] = str(error)
    if found["Not here"]:
        found["Not here"][-1] += " (see bench data status)"
    return {what: ", ".join(names) for what, names in found.items() if names}


def _folder(problems: Problems, name: str, path: Path) -> str:
    """Describe a folder that has to be writable, or to be created; the data need only be read."""
    existing = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if name != "Data" and not (existing.is_dir() and os.access(existing, os.W_OK)):
        problems[f"{name.lower()} folder"] = f"{path} can't be written; choose another"
    state = "" if path.exists() else " (does not exist yet)"
    return f"{path}{state}, {memory(shutil.disk_usage(existing).free)} free"
