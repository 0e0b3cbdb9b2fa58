"""Writing a bundle: first to a temporary folder beside its place, then moved there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from bench.errors import DataError, UsageError
from bench.paths import commit
from bench.records.bundle import (
    MANIFEST,
    RECORDS,
    SUMS,
    bundled_files,
    files_below,
    is_bundle,
    write_manifest,
)
from bench.records.frame import latest, records
from bench.records.store import read_file, utc
from bench.tables.render import FORMS, TableOptions, page

#: What is kept of a run.
FILES = ("record.json", "curve.jsonl", "samples.npz")
MODEL = "model.pt"

_README = """# Runs of CNF Bench

{runs} runs with their tables and figures. `{manifest}` lists every file.

    sha256sum -c {sums}                    # checks that nothing has changed
    bench table --results THIS_FOLDER      # the comparison; plot, list and info work too
"""


def write_bundle(
    target: Path,
    results: Path,
    runs: pd.DataFrame,
    *,
    chosen: Mapping[str, Iterable[str]],
    models: bool = False,
    figures: bool = True,
    force: bool = False,
) -> dict[str, Any]:
    """Bundle runs of a results folder, whole or not at all.

    Args:
        target: a folder that is not there yet, or is empty; with `force`, an earlier bundle.
        runs: those of the frame of `results` that are to be in it.
        chosen: how they were chosen, for the manifest.
        models: with the trained flows.
        figures: with every figure that can be drawn.

    Returns:
        What the manifest says of it; the numbers of `runs` and `models`, the names of `tables` and
        `figures`, and why others are `not_drawn`.

    Raises:
        UsageError: there is something else at `target`, or it can't be written.
        DataError: a run has no record.
        Damaged: a file of a run is not the one that it wrote.
    """
    _require_free(target, force)
    try:
        with TemporaryDirectory(".tmp", f".{target.name}.", target.parent) as temporary:
            folder, replaced = Path(temporary) / "bundle", Path(temporary) / "replaced"
            filled = _fill(folder, results, runs, models=models, figures=figures)
            about = {
                "version": version("cnf-bench"),
                "commit": commit(),
                "written": utc(),
                "chosen": {name: list(names) for name, names in chosen.items() if names},
                "run_commits": sorted(runs["commit"].dropna().unique()),
                **filled,
            }
            write_manifest(folder, about)
            if target.exists():
                os.replace(target, replaced)
            try:
                os.replace(folder, target)
            except BaseException:
                if replaced.exists():
                    os.replace(replaced, target)
                raise
    except OSError as error:
        raise UsageError(
            f"The bundle {target} can't be written: {error.strerror or error}.",
            "Name a folder whose parent is there and can be written, with room for it.",
        ) from error
    return about


def _require_free(target: Path, force: bool) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"{target} is not a folder.", "Name one that is not there yet.")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not is_bundle(target):
        raise UsageError(f"The folder {target} is not empty.", "Name one that is not there yet.")
    if not force:
        raise UsageError(f"There is a bundle at {target} already.", "Add --force to replace it.")
    known = {file.path for file in bundled_files(target)} | {MANIFEST, SUMS}
    if others := [name for name in files_below(target) if name not in known]:
        raise UsageError(
            f"{target} holds {others[0]}, which is no part of the bundle there.", "Move it away."
        )


def _fill(
    folder: Path, results: Path, runs: pd.DataFrame, *, models: bool, figures: bool
) -> dict[str, Any]:
    inside = folder / RECORDS
    inside.mkdir(parents=True)
    for run in map(str, runs["run"]):
        source, copy = results / run, inside / run
        if not (source / "record.json").is_file():
            raise DataError(
                f"The run {run} says that it is in {source}, and is not.",
                "Give its folder the name that its record has.",
            )
        copy.mkdir()
        for name in (*FILES, MODEL) if models else FILES:
            if (source / name).is_file():
                (copy / name).write_bytes(read_file(source, name))
    frame, _ = latest(records(inside))
    # The tables as `bench table` gives them by the same runs.
    pages = {
        f"tables/table.{end}": page(frame, form, TableOptions(), inside)
        for form, end in FORMS.items()
    }
    alone, by_run = TableOptions(standalone=True), TableOptions(by_run=True)
    pages["tables/table-standalone.tex"] = page(frame, "latex", alone, inside)
    pages["tables/runs.csv"] = page(frame, "csv", by_run, inside)
    pages["tables/details.txt"] = page(frame, "text", TableOptions(details=True), inside)
    tables = list(pages)
    pages["README.md"] = _README.format(runs=len(runs), manifest=MANIFEST, sums=SUMS)
    (folder / "tables").mkdir()
    for name, content in pages.items():
        (folder / name).write_text(content, encoding="utf-8")
    drawn, not_drawn = _figures(folder / "figures", results, frame) if figures else ([], {})
    return {
        "runs": len(runs),
        "models": len(list(inside.glob(f"*/{MODEL}"))),
        "tables": tables,
        "figures": drawn,
        "not_drawn": not_drawn,
    }


def _figures(folder: Path, results: Path, frame: pd.DataFrame) -> tuple[list[str], dict[str, str]]:
    """Every kind of figure, for each budget where there are several; why others are not drawn."""
    from bench.figures import KINDS
    from bench.figures.request import Request
    from bench.figures.style import encoded
    from bench.report.pictures import NotDrawn, budgets, caption, plotted

    folder.mkdir()
    drawn: list[str] = []
    not_drawn: dict[str, str] = {}
    for kind, budget in itertools.product(KINDS, budgets(frame)):
        end = "".join(letter if letter.isalnum() else "_" for letter in budget or "")
        name = f"{kind}-{end}" if budget else kind
        plot = plotted(kind, Request(results, budget=budget, runs=frame))
        if isinstance(plot, NotDrawn):
            not_drawn[name] = plot.why
            continue
        for form in ("pdf", "png"):
            (folder / f"{name}.{form}").write_bytes(encoded(plot.figure, form))
            drawn.append(f"figures/{name}.{form}")
        text = "".join(f"{line}\n" for line in caption(plot))
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return drawn, not_drawn
