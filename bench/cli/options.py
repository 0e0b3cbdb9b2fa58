"""Options that several commands share, the format of `-o FILE`, and writing that file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from bench.errors import UsageError

_Command = TypeVar("_Command", bound=Callable[..., Any])
Decorator = Callable[[_Command], _Command]


def listed(
    *names: str,
    item: click.ParamType[Any] = click.STRING,
    whole: Callable[[str], bool] | None = None,
    **settings: Any,
) -> Decorator[Any]:
    """Return a repeatable option that takes values separated by commas too.

    The command gets a tuple without duplicates, in the order given.

    Args:
        names: as for `click.option`.
        item: the type of one value.
        whole: whether a value is to be taken as it is, commas included (a path, say).
        settings: as for `click.option`.
    """

    def split(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Any:
        found = []
        for value in values:
            parts = [value] if whole and whole(value) else value.split(",")
            for part in map(str.strip, parts):
                if not part:
                    raise click.BadParameter(f"{value!r} has an empty entry.", ctx, param)
                found.append(item.convert(part, param, ctx))
        return tuple(dict.fromkeys(found))

    return click.option(*names, multiple=True, callback=split, **settings)


def _is_path(value: str) -> bool:
    """Return whether `-d` names a file, whose commas are part of its name."""
    from bench.registry.plugins import looks_like_a_path

    return looks_like_a_path(value) or Path(value).exists()


def methods_option(help: str = "Include only this method. Repeatable.") -> Decorator[Any]:
    """Return `-m/--method`: methods, by repetition or by commas; the parameter is `methods`."""
    return listed("-m", "--method", "methods", metavar="M", help=help)


def datasets_option(help: str = "Include only this data set. Repeatable.") -> Decorator[Any]:
    """Return `-d/--dataset`: names or paths; the parameter is `datasets`. A path is not split."""
    return listed("-d", "--dataset", "datasets", whole=_is_path, metavar="D", help=help)


def budgets_option(help: str = "Include only runs of this budget. Repeatable.") -> Decorator[Any]:
    """Return `-b/--budget` of commands that filter runs; the parameter is `budgets`."""
    return listed("-b", "--budget", "budgets", metavar="B", help=help)


def budget_option(help: str) -> Decorator[Any]:
    """Return `-b/--budget` of commands that take one budget; the parameter is `budget`."""
    return click.option("-b", "--budget", metavar="NAME", help=help)


def seeds_option(help: str = "Include only this seed. Repeatable.") -> Decorator[Any]:
    """Return `-s/--seed`: integers, by repetition or by commas; the parameter is `seeds`."""
    return listed("-s", "--seed", "seeds", item=click.INT, metavar="N", help=help)


settings_option: Decorator[Any] = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a hyper-parameter. Repeatable.",
)

include_option: Decorator[Any] = click.option(
    "--include",
    multiple=True,
    metavar="FILE.py",
    help="Python file with your own methods, data sets or metrics. Repeatable.",
)

results_option: Decorator[Any] = click.option(
    "--results", metavar="DIR", help="Results folder [default: BENCH_RESULTS or results/runs]."
)

data_option: Decorator[Any] = click.option(
    "--data", metavar="DIR", help="Data folder [default: BENCH_DATA or a cache folder]."
)

json_option: Decorator[Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def include_all(files: tuple[str, ...]) -> None:
    """Register the plug-ins of these files.

    Raises:
        UsageError: a file can't be imported; says why.
    """
    if files:
        from bench.registry import plugins

        for file in files:
            plugins.include(file)


def format_of(
    path: str | Path | None, given: str | None, known: Mapping[str, str], default: str | None = None
) -> str:
    """Return the format of an output file: as given, else by the ending of its name.

    Args:
        path: the file, or None for the terminal.
        given: the format that the user chose, or None.
        known: ending, with its dot, in lower case -> format.
        default: the format of the terminal and of names without an ending.

    Raises:
        UsageError: the ending is none of these.
    """
    if given:
        return given
    suffix = Path(path).suffix.lower() if path else ""
    if suffix in known:
        return known[suffix]
    if default and not suffix:
        return default
    *most, last = known
    endings = f"{', '.join(most)} or {last}" if most else last
    raise UsageError(f"Can't tell the format of {path} from its ending.", f"Use {endings}.")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all: `write` fills a temporary file, which is then renamed.

    Raises:
        UsageError: it can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(
            f"{path} can't be written: {error.strerror or error}.",
            "Name a file in an existing, writable folder.",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)  # left behind where `write` failed
