"""Options that repeat take commas too; the ending of `-o FILE` decides its format."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bench.cli import options
from bench.errors import UsageError
from bench.records.store import write_json

ENDINGS = {".txt": "text", ".tex": "latex", ".html": "html"}


@click.command()
@options.methods_option()
@options.datasets_option()
@options.budgets_option()
@options.listed("-s", "--seed", "seeds", item=click.INT)
@options.settings_option
def _command(**given: tuple[object, ...]) -> None:
    click.echo(repr(given))


def _call(*arguments: str) -> dict[str, tuple[object, ...]]:
    result = CliRunner().invoke(_command, arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, tuple[object, ...]] = eval(result.output)
    return found


def test_values_come_by_commas_and_by_repetition_without_duplicates() -> None:
    given = _call(
        "-m", "jko,ffjord", "-m", "gaussian, jko", "-s", "0,1", "--seed", "2", "-b", "a,b"
    )
    assert given["methods"] == ("jko", "ffjord", "gaussian")
    assert given["seeds"] == (0, 1, 2)
    assert given["budgets"] == ("a", "b")
    assert given["datasets"] == ()


def test_a_setting_keeps_its_commas() -> None:
    assert _call("--set", "widths=64,64")["settings"] == ("widths=64,64",)


def test_a_path_keeps_its_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a,b").write_text("1\n")
    given = _call("-d", "moons,rings", "-d", "a,b", "-d", "x,y.csv", "-d", "dir/x,y")
    assert given["datasets"] == ("moons", "rings", "a,b", "x,y.csv", "dir/x,y")


@pytest.mark.parametrize("arguments", [("-m", "jko,"), ("-m", ""), ("-s", "0,x"), ("-s", "1.5")])
def test_an_empty_entry_and_a_seed_that_is_no_integer_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(_command, arguments).exit_code == 2


def test_the_ending_decides_the_format_unless_one_is_given() -> None:
    assert options.format_of("page.TEX", None, ENDINGS) == "latex"
    assert options.format_of(Path("a.b/page.html"), None, ENDINGS) == "html"
    assert options.format_of("page.html", "text", ENDINGS) == "text"
    assert options.format_of(None, None, ENDINGS, "text") == "text"
    assert options.format_of("/dev/stdout", None, ENDINGS, "text") == "text"


@pytest.mark.parametrize("path", ["page.pdf", "page"])
def test_an_unknown_ending_is_an_error_that_names_those_known(path: str) -> None:
    with pytest.raises(UsageError) as error:
        options.format_of(path, None, ENDINGS)
    assert all(ending in error.value.remedy for ending in ENDINGS)


def test_nothing_is_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one whose name is that of the temporary file."""
    other, path = tmp_path / "other", tmp_path / "file.txt"
    other.write_text("mine")
    monkeypatch.setattr(os, "urandom", bytes)
    (tmp_path / f".file.txt.{16 * '0'}.tmp").symlink_to(other)
    with pytest.raises(UsageError, match="File exists"):
        options.write_whole(path, lambda to: to.write_text("first"))
    (tmp_path / "file.txt.tmp").symlink_to(other)
    monkeypatch.undo()
    write_json(path, {"a": 1})
    assert other.read_text() == "mine"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    options.write_whole(path, lambda to: to.write_text("page"))
    assert os.read(reader, 9) == b"page"
    os.close(reader)
    assert path.is_fifo()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    options.write_whole(path, lambda to: to.write_text("first"))

    def fail(to: Path) -> None:
        to.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="No space left"):
        options.write_whole(path, fail)
    assert path.read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]
