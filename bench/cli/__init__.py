"""The command line: `bench COMMAND`. Each command lives in a module that is imported when used."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from bench.errors import BenchError, unknown
from bench.terminal import echo, guard

#: command -> its module, and its line in `bench --help`
COMMANDS = {
    "run": ("run", "Run methods on data sets; with none named, the quick study."),
    "list": ("listing", "List methods, data sets, metrics, budgets, studies and runs."),
    "info": ("listing", "Show a method, a data set or a run in full."),
    "data": ("data", "Show, download and check data sets."),
    "table": ("table", "Show the comparison, in the terminal or for a paper."),
    "plot": ("plot", "Draw a figure: samples, density, trajectories, curves, pareto, ranks, ..."),
    "report": ("report", "Write one HTML page with the whole comparison."),
    "watch": ("report", "Show that page in a browser while runs are made."),
    "export": ("report", "Bundle records, tables and figures in one folder, with checksums."),
    "sample": ("sample_score", "Draw rows from a trained flow."),
    "score": ("sample_score", "Compute the log-density of rows under a trained flow."),
    "test": ("test", "Check that a method or a data set keeps the contract."),
    "check": ("check", "Check a small study against its baseline: the regression gate."),
    "doctor": ("doctor", "Check the installation: versions, devices, data, plug-ins."),
}


#: The exit code where nobody reads the output any more, as that of a program that SIGPIPE ends.
PIPE_CLOSED = 141

#: What writing to a full or broken disk or to a closed pipe raises, without the name of the file.
_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)

_format_of_others = warnings.formatwarning


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning of this program in one line; that of a library with its place."""
    if filename.startswith(os.path.dirname(os.path.dirname(__file__))):
        return f"Warning: {message}\n"
    return _format_of_others(message, category, filename, lineno, line)


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn the errors that a user can mend into one line and their exit code."""
    warnings.formatwarning = _format_warning
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed: nothing else may be opened in its place
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    try:
        yield
        return
    except BenchError as error:
        text, code = f"{error.problem} {error.remedy}".strip(), error.exit_code
    except OSError as error:
        if error.filename is None and error.errno not in _WRITING:
            raise
        what = f"{error.filename} can't be read or" if error.filename else "The output can't be"
        text, code = f"{what} written: {error.strerror}.", 2
        if isinstance(error, BrokenPipeError):
            text, code = "", PIPE_CLOSED
    try:
        sys.stdout.flush()
    except OSError:  # what is left of the output would fail again at the end
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    with suppress(OSError):
        if text:
            echo("Error: ", fg="red", bold=True, nl=False, err=True)
            echo(text, err=True)
    sys.exit(code)


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            raise unknown("command", cmd_name, COMMANDS)
        module = importlib.import_module(f"bench.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(self, *args: Any, **options: Any) -> Any:
        guard()
        return super().main(*args, **options)

    def make_context(self, *given: Any, **options: Any) -> click.Context:
        with _one_line():  # it prints the help
            return super().make_context(*given, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line():
            return super().invoke(ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cnf-bench", prog_name="bench")
def main() -> None:
    """Which continuous normalizing flow fits these data best, at what cost, and how sure is that?

    \b
    Examples:
      bench run                                     the quick study: minutes, no download
      bench run -m flow-matching -d power -s 0 -s 1 one method, one data set, two seeds
      bench table -f latex -o table.tex             the comparison for a paper
      bench COMMAND --help                          examples of each command

    Exit codes: 0 done; 1 done, and the answer is no (a failed run); 2 the call was wrong;
    3 nothing could be measured.
    """
