"""`bench test`: the contract of methods and data sets, check by check."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import POSITIVE, include_option, json_option, listed, settings_option
from bench.errors import UsageError, unknown
from bench.terminal import echo

if TYPE_CHECKING:
    from bench.conformance import DatasetSubject, Subject

_COLOURS = {"ok": "green", "failed": "red", "skipped": "yellow"}


@click.command()
@click.argument("name", metavar="METHOD|DATASET|FILE.py[:NAME]")
@settings_option
@listed("--check", "checks", metavar="NAME", help="Run only this check. Repeatable.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--limit",
    type=POSITIVE,
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Processor time per check.",
)
@include_option()
@json_option
def test(
    name: str,
    settings: tuple[str, ...],
    checks: tuple[str, ...],
    device: str,
    limit: float,
    as_json: bool,
) -> None:
    """Check that a method or a data set keeps its contract.

    A method: does it learn from each mini-batch once, in all its parameters, from its mini-batches
    alone? Can a run be stopped, resumed, repeated? Is its density one, and that of its samples? A
    data set: are its rows valid, and do its density and its entropy agree with them? A failure says
    what is wrong and where to look. Use --set to make a large method small.

    Exits with 1 if a check fails, with 2 if there is no such method or data set.

    \b
    Examples:
      bench test my_flow.py
      bench test my_flow.py:MyFlow --set width=16
      bench test flow-matching --check resume --check "same seed"
      bench test my_rows.py --json
    """
    subject = _subject(name, settings, device)
    import torch

    from bench.conformance import Subject, examine

    torch.set_num_threads(1)  # a method this small is slower with more
    start = time.perf_counter()
    results = []
    for result in examine(subject, checks, limit):
        results.append(result)
        if not as_json:
            outcome = result.outcome.replace("failed", "FAILED")
            echo(f"{outcome:<8}", nl=False, fg=_COLOURS[result.outcome])
            lines = textwrap.wrap(f"{result.says} {result.look}".strip(), 74) or [""]
            echo(f"{result.check:<18}" + f"\n{' ' * 26}".join(lines), lines=True)
    counts: Counter[str] = Counter(result.outcome for result in results)
    if as_json:
        about: dict[str, Any] = {"dataset": subject.name}
        if isinstance(subject, Subject):
            about = {"method": subject.name, "settings": dict(subject.settings)}
            about["device"] = subject.device
        echo(json.dumps(about | {"checks": [asdict(r) for r in results]}, indent=1), lines=True)
    else:
        parts = [f"{counts[k]} {k.replace('failed', 'FAILED')}" for k in _COLOURS if counts[k]]
        seconds = time.perf_counter() - start
        echo(f"{subject.name}: {', '.join(parts)}, in {seconds:.0f} s")
    sys.exit(1 if counts["failed"] else 0)


def _subject(name: str, settings: tuple[str, ...], device: str) -> Subject | DatasetSubject:
    """The method or the data set of that name, or in that file.

    Raises:
        UsageError: there is none, or its hyper-parameters are wrong.
    """
    from bench.registry import plugins

    file, colon, wanted = name.rpartition(":") if ".py:" in name else (name, "", "")
    if file.endswith(".py"):
        found = plugins.include(file)
        usual = found["methods"] or found["datasets"]
        named = {p.attr: p.name for k in ("datasets", "methods") for p in found[k].values()}
        if colon and wanted not in named:
            raise unknown("method or data set", wanted, named, f"in {file}")
        if not colon and len(usual) != 1:
            problem = f"{Path(file).name} holds {len(usual)} methods or data sets, expected one."
            raise UsageError(problem, f"Name one as {file}:NAME: {', '.join(named) or 'none'}.")
        name = named[wanted] if colon else next(iter(usual))
    from bench.conformance import DatasetSubject, Subject
    from bench.data import arrays
    from bench.launch.driver import device_of
    from bench.paths import data_root
    from bench.study import presets

    if name not in (known := {**plugins.datasets(), **plugins.methods()}):
        raise unknown("method or data set", name, set(known) - {plugins.PATH})
    if name in plugins.methods():
        kind = plugins.method(name)
        own = presets.share(settings, [name])[name] if settings else {}
        own = presets.parsed(kind.Config, own, f"for {name}")
        return Subject(name, kind, own, plugins.sources(known[name]), device_of(device))
    if settings:
        raise UsageError("A data set has no hyper-parameters.", "Leave out --set.")
    dataset = plugins.dataset(name)
    rows = arrays.load(dataset, data_root())
    return DatasetSubject(dataset, rows, plugins.sources(known[name]))
