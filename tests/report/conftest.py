"""Records written by hand, as for the tables, and a study with something of everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ..stats.conftest import Write, few_steps, results, write

__all__ = ["HOSTILE", "NAMED", "SHOWN", "SHOWN_NAME", "Study", "Write", "results", "write"]

#: A name that is markup, an attribute's end, a script's end, a template and a shell command.
HOSTILE = (
    "\"'><img src=x onerror=alert(1)></td></script><script>alert(2)</script>"
    "{{ 7*7 }} $(touch pwned); `id` \\ \u202e"
)

#: As a page shows it: a letter that turns the text after it round is named.
SHOWN = HOSTILE.replace("\u202e", "[U+202E]")

#: As much of it as the name of a data set may have, and as a page shows it.
NAMED, SHOWN_NAME = (text.replace("/", "").replace("\\", "") for text in (HOSTILE, SHOWN))

Study = Callable[[], Path]


@pytest.fixture
def study(results: Path, write: Write) -> Study:
    """Methods on two data sets with seeds; failed runs, a hostile name, a run under way."""

    def make() -> Path:
        for dataset, d in (("moons", 2), ("digits", 64)):
            for seed in (0, 1):
                few = few_steps([0.1, 0.02, 0.004])
                write("ffjord", dataset, seed, nll=2.5 + seed / 100, dataset__d=d, **few)
                write("flow-matching", dataset, seed, nll=2.375, dataset__d=d)
            write("gaussian", dataset, 0, nll=9.25, dataset__d=d)
        failed = write("jko", "moons", 0, status="diverged", reason="the loss is not finite")
        (results / failed / "log.txt").write_text("mini-batch 7 of 300: loss 1e9\nthe last line\n")
        (results / failed / "traceback.txt").write_text("ValueError: <b>no</b>\n")
        write("odd", "moons", 0, run="hostile", method__config={HOSTILE: HOSTILE}, nll=10.5)
        write("odd", NAMED, 0, run="hostile-2", status="error", reason=HOSTILE)
        part = results / "jko-rings-s0-00000000.part"
        part.mkdir()
        (part / "curve.jsonl").write_text('{"minibatch": 120, "seconds": 1.0, "loss": 3.0}\n{"mi')
        (part / "log.txt").write_text(
            "2026-01-01T00:00:00+00:00 mini-batch 100 of 300: loss 3, validation_nll 2.75\n"
        )
        return results

    return make


def curve(folder: Path, loss: list[float | None], every: int = 5) -> None:
    """A run's curve of these losses, validated at every so many mini-batches at half of them."""
    lines = []
    for i, value in enumerate(loss, start=1):
        entry = {"minibatch": i, "seconds": i / 10, "loss": value}
        if i % every == 0:
            entry["validation_nll"] = None if value is None else value / 2
        lines.append(json.dumps(entry))
    (folder / "curve.jsonl").write_text("\n".join(lines) + "\n")
