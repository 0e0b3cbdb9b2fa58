"""The command line: `bench COMMAND`. Each command lives in a module that is imported when used."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from bench.errors import BenchError, unknown

#: command -> its line in `bench --help`; its module has the same name, but for those in MODULES
COMMANDS = {
    "run": "Run methods on data sets; with none named, the quick study.",
    "list": "List methods, data sets, metrics, budgets, studies and runs.",
    "info": "Show a method, a data set or a run in full.",
    "data": "Show, download and check data sets.",
    "table": "Show the comparison, in the terminal or for a paper.",
    "plot": "Draw a figure: samples, density, trajectories, curves, pareto, ranks, ...",
    "report": "Write one HTML page with the whole comparison.",
    "watch": "Show that page in a browser while runs are made.",
    "export": "Bundle records, tables and figures in one folder, with checksums.",
    "sample": "Draw rows from a trained flow.",
    "score": "Compute the log-density of rows under a trained flow.",
    "test": "Check that a method or a data set keeps the contract.",
    "check": "Check a small study against its baseline: the regression gate.",
    "doctor": "Check the installation: versions, devices, data, plug-ins.",
}
#: command -> its module, where that has another name
MODULES = {
    "list": "listing",
    "info": "listing",
    "sample": "sample_score",
    "score": "sample_score",
    "watch": "report",
    "export": "report",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is used.

    It turns the errors that a user can mend into one line and their exit code.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name not in COMMANDS:
            raise unknown("command", cmd_name, COMMANDS)
        module = importlib.import_module(f"bench.cli.{MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BenchError as error:
            fail(error)


def fail(error: BenchError) -> None:
    """Print the error as one paragraph on standard error and exit with its code."""
    click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(" ".join(part for part in (error.problem, error.remedy) if part), err=True)
    sys.exit(error.exit_code)


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
