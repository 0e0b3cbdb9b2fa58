"""Options that several commands share, the format of `-o FILE`, and writing that file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click

from bench.errors import UsageError
from bench.paths import data_root, replacing

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

#: The type of an amount that may not be 0.
POSITIVE = click.FloatRange(min=0, min_open=True)


def listed(
    *names: str,
    item: click.ParamType[Any] = click.STRING,
    whole: Callable[[str], bool] = lambda value: False,
    **settings: Any,
) -> Decorator:
    """Return a repeatable option that takes values separated by commas too.

    The command gets a tuple without duplicates, in the order given. Values that are `whole` (paths,
    say) keep their commas; `item` is the type of one value; the rest is as for `click.option`.
    """

    def split(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Any:
        found = []
        for value in values:
            for part in map(str.strip, [value] if whole(value) else value.split(",")):
                if not part:
                    raise click.BadParameter(f"{value!r} has an empty entry.", ctx, param)
                found.append(item.convert(part, param, ctx))
        return tuple(dict.fromkeys(found))

    return click.option(*names, multiple=True, callback=split, **settings)


def methods_option(help: str = "Include only this method. Repeatable.") -> Decorator:
    """Return `-m/--method`; the parameter is `methods`."""
    return listed("-m", "--method", "methods", metavar="M", help=help)


def datasets_option(help: str = "Include only this data set. Repeatable.") -> Decorator:
    """Return `-d/--dataset` for names and paths, which keep commas; the parameter is `datasets`."""

    def is_path(value: str) -> bool:
        from bench.registry.plugins import looks_like_a_path

        return looks_like_a_path(value) or Path(value).exists()

    return listed("-d", "--dataset", "datasets", whole=is_path, metavar="D", help=help)


def budgets_option(help: str = "Include only runs of this budget. Repeatable.") -> Decorator:
    """Return `-b/--budget` for commands that filter runs; the parameter is `budgets`."""
    return listed("-b", "--budget", "budgets", metavar="B", help=help)


settings_option: Decorator = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Hyper-parameter. Repeatable."
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


data_option: Decorator = click.option(
    "--data",
    metavar="DIR",
    callback=lambda ctx, param, value: data_root(value),
    help="Data folder [default: BENCH_DATA or a cache folder].",
)


def results_option(write: bool = False) -> Decorator:
    """Return `--results`; the parameter is the folder, as by `bench.records.bundle.results_dir`."""

    def folder(ctx: click.Context, param: click.Parameter, value: str | None) -> Path:
        from bench.records.bundle import results_dir

        return results_dir(value, write=write)

    text = "Results folder [default: BENCH_RESULTS or results/runs]."
    return click.option("--results", metavar="DIR", callback=folder, help=text)


def include_option(register: bool = True) -> Decorator:
    """Return `--include`, which registers plug-ins; if not, the files are `include`."""

    def read(ctx: click.Context, param: click.Parameter, files: tuple[str, ...]) -> Any:
        from bench.registry import plugins

        return [plugins.include(file) for file in files] if register else files

    return click.option(
        "--include",
        multiple=True,
        metavar="FILE.py",
        callback=read,
        expose_value=not register,
        help="File with your own plug-ins. Repeatable.",
    )


def format_of(
    path: str | Path | None, given: str | None, known: Mapping[str, str], default: str | None = None
) -> str:
    """Return the format of an output file: as given, else by the ending of its name.

    `known` maps endings, in lower case with their dots, to formats; `default` is the format of the
    terminal (where `path` is None) and of names without an ending.

    Raises:
        UsageError: the ending is none of these.
    """
    suffix = Path(path).suffix.lower() if path else ""
    if given or suffix in known:
        return given or known[suffix]
    if default and not suffix:
        return default
    raise UsageError(
        f"Can't tell the format of {path} from its ending.", f"Known endings: {', '.join(known)}."
    )


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Report an OSError inside as a file that can't be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{path} can't be written: {error.strerror or error}.",
            "Name a file in an existing, writable folder.",
        ) from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all: `write` fills a temporary file, which is then renamed.

    A device or a pipe, such as `/dev/stdout`, is written to and not replaced.

    Raises:
        UsageError: it can't be written.
    """
    special = path.exists() and (path.parent == Path("/dev") or not path.is_file())
    with written(path), nullcontext(path) if special else replacing(path) as file:
        write(file)
