"""No name, reason, note or log steers the terminal that it is shown on, or forges a line there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import terminal
from bench.launch.progress import display
from bench.records.store import write_json

from ..harness.test_progress import END, ONE, START

#: Colour and title, in 7 and in 8 bits; bell, backspace, carriage return, NUL, DEL; marks that turn
#: the text after them; a line that the program did not print; what rich takes for markup.
HOSTILE = (
    "\x1b[35mred\x1b[8m\x1b]0;owned\x07\x9b35m\x9downed\x9c\x08\r\x00\x7f\u202eabc\u2066\u200f\u061c"
    "\u2028\nforged line\n[/red][bold]\ud800"
)

#: The same without what no file can be called.
HOSTILE_NAME = HOSTILE.replace("\x00", "").replace("/", "").replace("\ud800", "")

#: What may not come through, and what the program's own colours are.
UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
COLOUR = re.compile(r"\x1b\[((?:0|1|2|4|22|31|32|33|36)(?:;(?:0|1|2|22|31|32|33|36))*)?m")

#: Runs each command that it is given as JSON, one after another.
PROGRAM = """
import json, sys
from bench.cli import main
for command in json.loads(sys.argv[1]):
    try:
        main(command)
    except SystemExit:
        pass
"""


def shown(commands: list[list[str]], folder: Path, *, on_terminal: bool) -> str:
    """The bytes of these commands on a pipe, or on a terminal of 100 columns."""
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    environment["BENCH_CACHE"] = str(folder / "cache")
    program = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    ours, theirs = os.openpty() if on_terminal else os.pipe()
    if on_terminal:
        state = termios.tcgetattr(theirs)
        state[1] &= ~termios.OPOST
        termios.tcsetattr(theirs, termios.TCSANOW, state)
    child = subprocess.Popen(program, stdout=theirs, stderr=theirs, env=environment, cwd=folder)
    os.close(theirs)
    text = b"".join(everything(ours))
    os.close(ours)
    assert child.wait(60) == 0, text.decode()
    return text.decode()


def everything(end: int) -> Iterator[bytes]:
    try:
        while part := os.read(end, 65_536):
            yield part
    except OSError:  # how a terminal ends
        return


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Results folders: of a run with hostile texts, with a hostile data set, with hostile names."""
    made = []
    for kind in ("texts", "dataset", "names" + HOSTILE_NAME):
        run = "jko-moons-s0-00000000" if kind in ("texts", "dataset") else HOSTILE_NAME
        (tmp_path / kind / run).mkdir(parents=True)
        for status in ("ok", "error"):
            name = run if status == "ok" else f"{run}-failed"
            (tmp_path / kind / name).mkdir(exist_ok=True)
            write_json(tmp_path / kind / name / "record.json", record(kind, name, status))
        made.append(tmp_path / kind)
    return made


def record(kind: str, run: str, status: str) -> dict[str, Any]:
    text = HOSTILE.replace("\ud800", "")
    names = kind.startswith("names")
    return {
        "format": 1, "run": run, "key": "0" * 64, "status": status, "reason": text,
        "method": {
            "name": text if names else "jko", "version": text, "config": {text: text}
        },
        "dataset": {
            "name": "moons" if kind == "texts" else text, "revision": "0123456789ab",
            "kind": text, "note": text, "notes": {text: text}, "d": 2,
        },
        "budget": {"name": text, "minibatches": 3, "batch_size": 4}, "seed": 0, "judge": {},
        "environment": {"device": "cpu", "cpu": text, "packages": {text: text}, "commit": text},
        "metrics": {"nll": 2.0, "nll_se": 0.1} if status == "ok" else {},
        "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T01:00:00+00:00",
        "output": [text],
    }  # fmt: skip


@pytest.mark.parametrize("on_terminal", [False, True])
def test_every_command_prints_what_can_be_seen(
    places: list[Path], tmp_path: Path, on_terminal: bool
) -> None:
    plugin = tmp_path / "evil.py"
    plugin.write_text(
        "import logging, sys, warnings\n"
        f"text = {HOSTILE!r}\n"
        "print(text); print(text, file=sys.stderr); warnings.warn(text)\n"
        "logging.getLogger().warning(text)\nraise ValueError(text)\n"
    )
    free = [["list", "methods", "--include", str(plugin)]]
    free += [["table", "-f", "csv", "--results", str(place)] for place in places]
    commands = [["info", HOSTILE_NAME], ["data"], ["doctor", "--results", str(places[2])]]
    commands += [["run", "-m", "gaussian", "-d", HOSTILE_NAME, "--dry-run"], [HOSTILE_NAME]]
    for place in places:
        for command in (
            ["list", "runs"], ["table", "--notes", "full"], ["table", "--details"],
            ["table", "-f", "markdown"], ["table", "--by", "method"],
            ["plot", "ranks"], ["sample", "jko", "-o", "x.csv"], ["check", "--no-run"],
        ):  # fmt: skip
            commands.append([*command, "--results", str(place)])
        for run in sorted(path.name for path in place.iterdir()):
            commands.append(["info", run, "--results", str(place)])
    commands += [["report", "-o", "page", "--results", str(places[0])]]
    commands += [["export", HOSTILE_NAME, "--no-figures", "--results", str(places[0])]]
    texts = [shown(each, tmp_path, on_terminal=on_terminal) for each in (free, commands)]
    assert re.findall(r"(?:.*\n){2}^forged line", texts[1], re.MULTILINE) == []
    for text in texts:
        assert "[U+202E]abc[U+2066]" in text
        assert "Traceback" not in text
        text = COLOUR.sub("", text) if on_terminal else text
        assert sorted({f"U+{ord(c):04X}" for c in UNSEEN.findall(text)}) == []


def test_progress_on_a_terminal_takes_no_markup_and_no_colours_from_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = os.openpty()
    parts: list[bytes] = []
    reader = threading.Thread(target=lambda: parts.extend(everything(ours)), daemon=True)
    reader.start()
    monkeypatch.setenv("TERM", "xterm-256color")
    with open(theirs, "w", encoding="utf-8") as screen:
        monkeypatch.setattr(sys, "stderr", screen)
        with display([ONE], [60.0]) as show:
            show(ONE, START)
            show(ONE, {"event": "stage", "stage": HOSTILE})
            show(ONE, {"event": "note", "note": HOSTILE})
            print(HOSTILE.replace("forged", "print"), file=sys.stderr)  # a library in the parent
            show(ONE, END | {"status": "error", "reason": HOSTILE})
    reader.join(20)
    text = b"".join(parts).decode()
    assert "[/red][bold]" in text
    assert "[U+202E]abc[U+2066]" in text
    assert "\x1b[35m" not in text
    assert "\x1b[8m" not in text
    assert not re.search(r"\x1b\]|[\x07\x9b\x9d\x00\u202e]", text)
    assert not re.search("^forged line", text, re.MULTILINE)


def test_a_stream_of_ascii_takes_every_letter(tmp_path: Path) -> None:
    code = f"from bench.terminal import guard; guard(); print('é∞', {HOSTILE!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.startswith(b"\\xe9\\u221e [U+001B][35mred")
    assert done.stdout.endswith(b"[U+D800]\n")


def test_what_can_be_seen_stays_as_it_is() -> None:
    assert terminal.visible("é ∞ 密度 👩‍🚀 a\nb") == "é ∞ 密度 👩‍🚀 a\nb"
    assert terminal.visible("a\nb\tc", keep="") == "a[U+000A]b[U+0009]c"
