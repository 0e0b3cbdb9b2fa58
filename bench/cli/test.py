"""`bench test`: the contract, asked of a method."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import include_all, include_option
from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from bench.conformance import Finding, Subject

#: Seconds of processor time that a check may take.
LIMIT = 120.0

_COLOURS = {"ok": "green", "failed": "red", "skipped": "yellow"}


@click.command()
@click.argument("method", metavar="METHOD|FILE.py[:CLASS]")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A hyper-parameter; repeat it."
)
@click.option("--check", "checks", multiple=True, metavar="NAME", help="Only it; repeat it.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--limit",
    type=click.FloatRange(min=0, min_open=True),
    default=LIMIT,
    show_default=True,
    metavar="SECONDS",
    help="Processor time that a check may take.",
)
@include_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def test(
    method: str,
    settings: tuple[str, ...],
    checks: tuple[str, ...],
    device: str,
    limit: float,
    include: tuple[str, ...],
    as_json: bool,
) -> None:
    """Ask a method whether it keeps the contract; a line for each check.

    Does it learn from each mini-batch once, in all its parameters, from its mini-batches alone? Can
    a run be stopped, continued, repeated? Is its density one, and that of its samples? What fails
    is said in a sentence, with where to look. It takes seconds for a small method; make a large one
    small with --set.

    Exits with 1 where a check fails, with 2 where there is no such method.

    \b
    Examples:
      bench test my_flow.py
      bench test my_flow.py:MyFlow --set width=16
      bench test flow-matching --check resume --check "same seed"
      bench test my_flow.py --json
    """
    include_all(include)
    subject = _subject(method, settings, device)
    import torch

    from bench.conformance import CHECKS, examine

    torch.set_num_threads(1)  # a method this small is slower with more
    known = [check.name for check in CHECKS]
    for name in checks:
        if name not in known:
            raise unknown("check", name, known)
    began = time.perf_counter()
    findings = []
    for finding in examine(subject, checks, limit):
        findings.append(finding)
        if not as_json:
            _print(finding)
    counts: Counter[str] = Counter(finding.outcome for finding in findings)
    if as_json:
        click.echo(json.dumps(_content(subject, findings), indent=1))
    else:
        parts = [f"{counts[k]} {k.replace('failed', 'FAILED')}" for k in _COLOURS if counts[k]]
        seconds = time.perf_counter() - began
        click.echo(f"{subject.name}: {', '.join(parts)}, in {seconds:.0f} s")
    sys.exit(1 if counts["failed"] else 0)


def _subject(method: str, settings: tuple[str, ...], device: str) -> Subject:
    """The method that is meant, with its hyper-parameters.

    Raises:
        UsageError: there is none, or its hyper-parameters make no sense.
    """
    from bench.registry import plugins

    name = _name(method)
    kind, files = plugins.method(name), plugins.sources(plugins.methods()[name])
    from bench.conformance import Subject
    from bench.launch.driver import device_of

    return Subject(name, kind, _settings(name, kind, settings), files, device_of(device))


def _name(method: str) -> str:
    """The name of the method; a file is included for it."""
    file, colon, wanted = method.rpartition(":") if ".py:" in method else (method, "", "")
    if not file.endswith(".py"):
        return method
    from bench.registry import plugins

    found = plugins.include(file).methods
    if not found:
        raise UsageError(f"{file} holds no method.", "A data set is tested by `bench info`.")
    classes = {plugin.attr: name for name, plugin in found.items()}
    if colon and wanted not in classes:
        raise unknown("method", wanted, classes, f"in {file}")
    if not colon and len(classes) > 1:
        raise UsageError(
            f"{Path(file).name} holds {len(classes)} methods.",
            f"Name one, as {file}:{next(iter(classes))}; there are {', '.join(classes)}.",
        )
    return classes[wanted] if colon else next(iter(found))


def _settings(name: str, kind: Any, assignments: tuple[str, ...]) -> dict[str, Any]:
    """The hyper-parameters that the user sets; their types are those of the method's `Config`."""
    if not assignments:
        return {}
    from bench.study import presets

    return presets.parsed(name, kind.Config, presets.share(assignments, [name])[name])


def _print(finding: Finding) -> None:
    outcome = finding.outcome.replace("failed", "FAILED")
    click.secho(f"{outcome:<8}", fg=_COLOURS[finding.outcome], nl=False)
    lines = _wrapped(f"{finding.says} {finding.look}".strip())
    click.echo(f"{finding.check:<18}" + f"\n{' ' * 26}".join(lines))


def _wrapped(text: str) -> Iterable[str]:
    return textwrap.wrap(text, 74) or [""]


def _content(subject: Subject, findings: Iterable[Finding]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "method": subject.name,
        "settings": dict(subject.settings),
        "device": subject.device,
        "checks": [asdict(finding) for finding in findings],
    }
