"""`bench report`: what the page says, that it is whole and safe, and when there is none."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.records.catalogue import column
from bench.records.frame import records
from bench.report import pictures, runs
from bench.report.page import page as whole_page
from bench.report.page import shortened
from bench.report.setting import Gathered, gather
from bench.tables.comparison import comparison

from .conftest import SHOWN, SHOWN_NAME, Study, Write, curve

Call = Callable[..., Result]


def page(gathered: Gathered, **options: Any) -> str:
    html, _ = whole_page(gathered, **options)
    return html.decode()


#: Elements without an end.
_VOID = {"meta", "link", "br", "img", "input", "line", "polyline"}


class Page(HTMLParser):
    """A page's elements and its text; complains of tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def call(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    def run(*arguments: str) -> Result:
        monkeypatch.chdir(tmp_path)
        return CliRunner().invoke(main, ["report", *arguments, "--results", str(results)])

    return run


def test_the_page_of_a_study_nests_links_and_says_what_there_is(study: Study) -> None:
    shown = Page(page(gather(study())))
    ids = [a["id"] for _, a in shown.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = [a["href"] for a in shown.all("a")]
    assert targets
    assert all(target[0] == "#" and target[1:] in ids for target in targets)
    assert "13 runs on 3 data sets; 2 failed" in shown.words
    assert "the loss is not finite" in shown.words
    assert "the last line" in shown.words
    assert "ValueError: <b>no</b>" in shown.words
    assert "120 of 300 mini-batches" in shown.words
    values = [a["data-value"] for a in shown.all("td") if "data-value" in a]
    for nll in ("2.505", "2.375", "9.25", "10.5"):
        assert values.count(nll) >= 1
    for kind in ("Ranks", "Quality"):
        assert f"{kind}: " in shown.words
    assert "bench run --study study.toml -m ffjord -m flow-matching" in shown.words


def test_every_table_has_a_caption_and_heads_and_every_picture_words(study: Study) -> None:
    text = page(gather(study()))
    shown = Page(text)
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    assert len(tables) >= 4
    assert all(re.search(r"<caption>[^<]+", t) and '<th scope="col">' in t for t in tables)
    assert all('<th scope="row">' in t for t in tables)
    pictures = shown.all("img")
    assert len(pictures) == 5  # ranks, Pareto front; quality on both data sets
    assert all(len(a["alt"]) > 40 for a in pictures)
    assert shown.all("html") == [{"lang": "en"}]
    labelled = [a for a in shown.all("div") if a.get("role") == "region"]
    assert all(a["aria-label"] and a["tabindex"] == "0" for a in labelled)


def test_names_of_records_are_text_everywhere(study: Study) -> None:
    text = page(gather(study()))
    shown = Page(text)
    assert len(shown.all("script")) == 1
    assert all(a["src"].startswith("data:image/") for a in shown.all("img"))
    assert not any(name.startswith("on") for _, a in shown.elements for name in a)
    assert SHOWN in "".join(shown.text)
    options = [a["value"] for a in shown.all("option")]
    assert SHOWN_NAME in options
    assert "49 $(touch" not in text
    assert "\u202e" not in text


def test_the_page_asks_no_one_and_lets_only_its_own_script_run(study: Study) -> None:
    text = page(gather(study()))
    named = [a[key] for _, a in Page(text).elements for key in a if key in ("src", "href")]
    assert named
    assert all(address.startswith(("#", "data:")) for address in named)
    assert "@import" not in text
    assert "url(" not in text
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    watched = page(gather(Path("nowhere")), watched=True)
    assert "connect-src &#39;self&#39;" in watched
    assert "No run has finished yet." in watched


def only(gathered: Gathered) -> runs.ListedRun:
    """The only run, in full."""
    (run,) = runs.listed(gathered, {})
    return run


def test_a_run_shows_its_numbers_and_the_bounds_that_it_misses(results: Path, write: Write) -> None:
    write(
        *("jko", "moons"),
        nll=2.5,
        nll_se=0.011,
        nll_rtol=1e-6,
        nll_solver_error=0.02,
        nll_uncertified="the tolerance is at its bound",
        nll_native=2.75,
        round_trip_median=0.5,
        round_trip_max=1.0,
        round_trip_rows=2000,
        row_scale=2.0,
        density_integral=1.03,
        density_integral_error=0.001,
        energy=0.125,
    )
    run = only(gather(results))
    numbers = dict(run.numbers)
    assert numbers["NLL"] == "2.500 ± 0.011"
    assert numbers["NLL solver error"] == "2.00e-2"
    assert numbers[column("energy").title]
    missed = [each.value for each in run.details if each.flags]
    assert missed[:2] == ["2.500 ± 0.011", "2.75"]
    assert missed[2:4] == ["0.500", "1.0300 ± 0.0010"]


def test_a_sound_likelihood_misses_no_bound(results: Path, write: Write) -> None:
    write("ffjord", "moons", p_m=0.5, p_1=0.5)
    run = only(gather(results))
    assert run.details
    assert not any(each.flags for each in run.details)
    assert run.log == run.traceback == ""
    assert run.command is not None
    assert "--study study.toml -m ffjord -d moons -s 0" in run.command.line
    assert 'dtype = "float64"' in run.command.study


def test_runs_that_are_left_out_are_named(results: Path, write: Write, call: Call) -> None:
    write("ffjord", "moons", 0, dataset__revision="old", started="2026-01-01T00:00:00+00:00")
    write("ffjord", "moons", 1, dataset__revision="new", started="2026-01-02T00:00:00+00:00")
    done = call()
    assert done.exit_code == 0
    assert "Left out of the comparison: moons: 1 run on another revision" in done.stderr
    shown = Page(Path("results/report/index.html").read_text())
    assert "moons: 1 run on another revision of its rows" in shown.words
    assert shown.words.count("Left out of the comparison: it used other rows") == 1
    assert "revision old" in shown.words


@pytest.mark.parametrize("ends", [["ok"], ["error"], ["error", "oom", "timeout"]])
def test_one_run_or_only_failed_ones_make_a_page(
    results: Path, write: Write, call: Call, ends: list[str]
) -> None:
    for seed, status in enumerate(ends):
        write("ffjord", "moons", seed, status=status, reason=f"because of {status}")
    assert call("-o", "page").exit_code == 0
    shown = Page(Path("page/index.html").read_text())
    failed = [status for status in ends if status != "ok"]
    for status in failed:
        assert f"because of {status}" in shown.words
    assert "not-drawn" in [a.get("id") for a in shown.all("section")]
    assert ("none failed" in shown.words) == (not failed)


def test_without_runs_there_is_no_page(call: Call) -> None:
    done = call()
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "bench run" in done.stderr
    assert not Path("results").exists()


def test_a_file_in_the_way_or_a_folder_that_cant_be_made(
    study: Study, call: Call, tmp_path: Path
) -> None:
    study()
    (tmp_path / "taken").write_text("mine")
    for where in ("taken", "taken/below"):
        done = call("-o", where)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert "taken is a file." in done.stderr
    assert (tmp_path / "taken").read_text() == "mine"
    done = call("-o", "/proc/none/page")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "can't be written" in done.stderr


def test_a_page_that_cant_be_written_leaves_the_one_before(
    results: Path, write: Write, call: Call, tmp_path: Path
) -> None:
    write("ffjord", "moons")
    (tmp_path / "page" / "index.html").mkdir(parents=True)
    done = call("-o", "page")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["index.html"]


def test_a_damaged_record_is_named(study: Study, call: Call) -> None:
    folder = study()
    (folder / "hostile" / "record.json").write_text("{")
    done = call()
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "hostile/record.json is damaged" in done.stderr


def test_of_many_runs_the_latest_and_the_failed_are_in_full(
    results: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "IN_FULL", 4)
    monkeypatch.setattr(runs, "LATEST_IN_FULL", 2)
    for seed in range(6):
        status = "error" if seed == 0 else "ok"
        write("ffjord", "moons", seed, status=status, started=f"2026-01-0{seed + 1}T00:00:00")
    gathered = gather(results)
    full = {r.seed for r in gathered.records if r.run in runs.in_full(gathered.records)}
    assert full == {0, 4, 5}
    shown = Page(page(gathered))
    assert "3 of 6 runs are shown in full" in shown.words
    assert len([a for a in shown.all("details") if a.get("class") == "run"]) == 3


def test_a_long_comparison_keeps_the_best_rows_in_their_order(results: Path, write: Write) -> None:
    for i, nll in enumerate((3.0, 1.0, 4.0, 2.0)):
        write(f"m{i}", "moons", nll=nll)
    write("m9", "moons", status="error")
    table = comparison(records(results))
    short, said = shortened(table, 2)
    assert [row.label for row in short.groups[0].rows] == ["m1", "m3"]
    assert [sentence.partition(":")[0] for sentence in said] == ["moons"]
    assert shortened(table, 5) == (table, [])


def test_the_curve_of_a_run_is_in_the_page(
    results: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "KINDS", {})
    run = write("ffjord", "moons")
    curve(results / run, [4.0, 3.0, 2.0, 1.0, 2.0])
    (image,) = Page(page(gather(results))).all("img")
    assert "loss 2" in image["alt"]
    assert "validation NLL (nats) 1" in image["alt"]
    monkeypatch.setattr(pictures, "MOST_CURVES", 0)
    without = Page(page(gather(results)))
    assert without.all("img") == []
    assert "bench plot curves" in without.words


def test_the_literature_is_in_the_table_where_requested(
    results: Path, write: Write, call: Call, tmp_path: Path
) -> None:
    write("jko", "bsds300", nll=-147.2)
    assert call("-o", "plain").exit_code == 0
    assert call("-o", "beside", "--published").exit_code == 0
    plain, beside = (
        Page((tmp_path / folder / "index.html").read_text(encoding="utf-8")).words
        for folder in ("plain", "beside")
    )
    assert "153.82" in beside
    assert "IResNet" in beside
    assert "153.82" not in plain
