"""Where a run gives the same bits as the baseline's, and what stands against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: The libraries whose arithmetic reaches a figure.
LIBRARIES = ("torch", "torchdiffeq", "numpy", "scipy", "scikit-learn")

#: What a baseline keeps of an environment.
KEPT = ("device", "threads", "cpu", "cpu_capability", "arithmetic", "python", "platform")


def kept(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What the gate keeps of a record's environment."""
    packages = environment.get("packages") or {}
    found = {name: environment.get(name) for name in KEPT}
    return found | {"packages": {name: packages.get(name) for name in LIBRARIES}}


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Why runs can't be held against each other to the bit, in words; none where they can.

    They can on a CPU with the same number of threads, the same versions of torch, torchdiffeq,
    numpy, scipy and scikit-learn, the same instruction set that torch has chosen, and the same bits
    of `bench.training.reference_timing.arithmetic`. The processor's name is no part of it: virtual
    machines hide it, and what it computes is known.
    """
    return list(_differences(now, before))


def _differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    if now["device"] != "cpu" or before["device"] != "cpu":
        yield "not on a CPU"
    names = {"threads": "threads", "cpu_capability": "instruction set", "arithmetic": "arithmetic"}
    for name, title in names.items():
        if now[name] is None or before[name] is None:
            yield f"{title} unknown"
        elif now[name] != before[name]:
            yield f"{title} {now[name]}, not {before[name]}"
    for name in LIBRARIES:
        one, other = now["packages"][name], before["packages"][name]
        if one != other:
            yield f"{name} {one}, not {other}"
