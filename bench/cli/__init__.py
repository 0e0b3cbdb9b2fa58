"""The command line: `bench COMMAND`. Each command lives in a module that is imported when used."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from bench.errors import BenchError, unknown

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


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is used.

    It turns the errors that a user can mend into one line and their exit code.
    """

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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BenchError as error:
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
