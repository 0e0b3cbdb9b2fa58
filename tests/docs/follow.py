"""Execute a page of the documentation, command by command, and compare the output with the page.

    python tests/docs/follow.py docs/tutorial.md [--installed] [--update]

`console` blocks have commands after `$ `, each followed by its standard output; a block with a
caption is a file of that name. The commands run in one shell, in a copy of the checkout. Each must
end with exit code 0 and print what the page says. Numbers, and the width of columns that follows
from them, may differ between machines.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: A fenced block: its language, its caption if any, its body.
BLOCK = re.compile(
    r"^```(?:\{code-block\} )?(?P<language>\w+)\n(?::caption: (?P<caption>\S+)\n\n?)?"
    r"(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

#: What differs between machines: numbers, hashes in names, the width of columns.
NUMBER = re.compile(r"\b[0-9a-f]{8,12}\b|[-+±]?\d(?:[\d,.]*\d)?(e[-+]?\d+)?")
SPACE = re.compile(r"[\s─]+")
#: The processor in a table and its details, after numbers became 0 and spaces single.
PROCESSOR = re.compile(r"(?<=cpu \().*?(?=, 0 threads?\))|(?<= apart; ).*?(?=, 0 threads?\b)")
#: Commands that make an environment; skipped with --installed.
INSTALLING = re.compile(r"-m venv|pip install|bin/activate")

END = "--the-command-has-ended--"


@dataclass(frozen=True)
class File:
    """A file that the page asks to create."""

    name: str
    content: str


@dataclass(frozen=True)
class Command:
    """A command, its output on the page, and where on the page that output is."""

    text: str
    printed: str
    start: int
    end: int


def steps(page: str) -> Iterator[File | Command]:
    """The files and commands of a page, in order."""
    for block in BLOCK.finditer(page):
        if block["caption"]:
            yield File(block["caption"], block["body"])
        elif block["language"] == "console":
            yield from _commands(block["body"], block.start("body"))


def _commands(body: str, offset: int) -> Iterator[Command]:
    starts = [match.start() for match in re.finditer(r"^\$ ", body, re.MULTILINE)]
    for start, end in zip(starts, [*starts[1:], len(body)], strict=True):
        line, _, printed = body[start:end].partition("\n")
        yield Command(line[2:], printed, offset + start + len(line) + 1, offset + end)


def skeleton(text: str) -> list[str]:
    """The words of a text, without numbers and processors, however lines are broken."""
    return PROCESSOR.sub("processor", SPACE.sub(" ", NUMBER.sub("0", text))).split()


class Shell:
    """A shell that keeps its folder and variables between commands."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str) -> tuple[str, int]:
        """Return the standard output of a command, and its exit code."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f'{command}\necho "{END} $?"\n')
        self.process.stdin.flush()
        printed = []
        for line in self.process.stdout:
            text, found, code = line.partition(END)
            printed.append(text)
            if found:
                return "".join(printed), int(code)
        raise SystemExit(f"The shell ended in {command!r}.")


def follow(page: Path, installed: bool, update: bool) -> int:
    """Execute the page; return how many commands did not do what it says."""
    text = page.read_text(encoding="utf-8")
    wrong, edits = 0, []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "checkout"
        _copy(folder)
        shell = Shell(folder, _environment(Path(place), installed))
        for step in steps(text):
            if isinstance(step, File):
                shell.run(f"cat > {step.name} <<'{END}'\n{step.content}{END}")
                continue
            if installed and INSTALLING.search(step.text):
                continue
            print(f"$ {step.text}", flush=True)
            printed, code = shell.run(step.text)
            print(printed, end="", flush=True)
            edits.append((step, "".join(f"{line.rstrip()}\n" for line in printed.splitlines())))
            if code:
                print(f"WRONG: exit code {code}.")
                wrong += 1
            elif not update and skeleton(step.printed) != skeleton(printed):
                print(f"WRONG: the page says:\n{step.printed}")
                wrong += 1
        shell.process.terminate()
        shell.process.wait()
    if update and not wrong:
        for step, printed in reversed(edits):
            text = text[: step.start] + printed + text[step.end :]
        page.write_text(text, encoding="utf-8")
    return wrong


def _copy(folder: Path) -> None:
    """Copy the files of the checkout, without build products."""
    for name in _names():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def _names() -> Iterator[str]:
    """The files that git knows or would add, or those of an unpacked source distribution."""
    if not (ROOT / ".git").exists():
        yield from (ROOT / "cnf_bench.egg-info" / "SOURCES.txt").read_text("utf-8").splitlines()
        return
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    yield from filter(None, done.stdout.split("\0"))


def _environment(place: Path, installed: bool) -> dict[str, str]:
    """The environment, without variables that name another installation or other results."""
    gone = ("PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV", "BENCH_DATA", "BENCH_RESULTS")
    kept = {name: value for name, value in os.environ.items() if installed or name not in gone}
    return {**kept, "BENCH_CACHE": str(place / "cache"), "COLUMNS": "100"}


def main() -> None:
    """Parse the arguments, execute the page, print the outcome."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("--installed", action="store_true", help="skip the installation")
    parser.add_argument("--update", action="store_true", help="write the output into the page")
    asked = parser.parse_args()
    wrong = follow(asked.page, asked.installed, asked.update)
    print(f"\n{wrong} commands did not do what the page says." if wrong else "\nAll as stated.")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
