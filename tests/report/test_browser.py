"""The page in a real browser: Chromium, headless. Run by `tox -e browser`."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.report.page import page
from bench.report.setting import gather
from bench.report.watch import LOOPBACK, ReportServer

from .conftest import SHOWN, Study, Write, curve

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser

_FLAGS = (
    *("--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--force-color-profile=srgb"),
)

#: Where screenshots are left to be looked at.
_SHOTS = os.environ.get("BENCH_SCREENSHOTS")


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser that logs its console and every request; without one the tests fail."""
    from selenium import webdriver

    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        pytest.fail(
            f"There is no {' and no '.join(missing)} on the PATH: install Debian's chromium and "
            "chromium-driver."
        )
    options = webdriver.ChromeOptions()
    options.binary_location = str(found["chromium"])
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(found["chromedriver"])))
    driver.set_page_load_timeout(300)
    driver.set_script_timeout(300)
    yield driver
    driver.quit()


@pytest.fixture
def opened(chrome: Chrome, study: Study, tmp_path: Path) -> Chrome:
    """The page of a study with something of everything, at 1280 pixels."""
    folder = study()
    for run in sorted(folder.glob("ffjord-*")):
        curve(run, [5 / (1 + i / 9) for i in range(40)])
    path = tmp_path / "index.html"
    path.write_bytes(page(gather(folder))[0])
    clear(chrome)
    size(chrome, 1280, 900)
    chrome.get(path.as_uri())
    return chrome


def clear(chrome: Chrome) -> None:
    """Forget what was logged, and what was emulated."""
    for kind in ("browser", "performance"):
        chrome.get_log(kind)
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def size(chrome: Chrome, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def ask(chrome: Chrome, script: str, *arguments: object) -> Any:
    return chrome.execute_script(f"return {script}", *arguments)


def shot(chrome: Chrome, name: str, height: int = 6000) -> None:
    """Leave a picture of the page where one is asked for."""
    if not _SHOTS:
        return
    import base64

    width = ask(chrome, "innerWidth")
    tall = min(height, ask(chrome, "document.documentElement.scrollHeight"))
    clip = {"x": 0, "y": 0, "width": width, "height": tall, "scale": 1}
    asked = {"captureBeyondViewport": True, "clip": clip}
    taken = chrome.execute_cdp_cmd("Page.captureScreenshot", asked)
    Path(_SHOTS).mkdir(parents=True, exist_ok=True)
    (Path(_SHOTS) / f"{name}.png").write_bytes(base64.b64decode(taken["data"]))


def labels(chrome: Chrome, group: str) -> list[str]:
    """The rows of a group of the comparison that are to be seen, from the top."""
    found: list[str] = ask(
        chrome,
        "[...[...document.querySelectorAll('#comparison tbody')]"
        ".find(b => b.dataset.group === arguments[0]).rows]"
        ".filter(r => !r.matches('.group') && r.offsetHeight).map(r => r.cells[0].innerText)",
        group,
    )
    return found


def test_the_page_loads_without_a_complaint_or_a_request(opened: Chrome) -> None:
    import json

    assert opened.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert sum(url.startswith("file:") for url in asked) == 1
    loaded = ask(opened, "[...document.images].map(i => i.complete && i.naturalWidth > 0)")
    assert len(loaded) >= 3  # ranks, and quality on both data sets
    assert all(loaded)
    shot(opened, "light-1280")


def test_a_hostile_name_does_nothing(opened: Chrome) -> None:
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        _ = opened.switch_to.alert.text
    assert ask(opened, "document.querySelectorAll('img[src=x]').length") == 0
    assert ask(opened, "document.scripts.length") == 1
    assert ask(opened, "document.documentElement.textContent.includes(arguments[0])", SHOWN)
    # Even a script that got in would not be run.
    ask(opened, "document.body.append(Object.assign(document.createElement('script'), "
                "{textContent: 'window.pwned = 1'}))")  # fmt: skip
    assert ask(opened, "window.pwned") is None


def test_sorting_by_mouse_and_by_keyboard(opened: Chrome) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    first = labels(opened, "moons")
    heads = opened.find_elements(By.CSS_SELECTOR, "#comparison thead th")
    (nll,) = [head for head in heads if head.text == "NLL"]
    button = nll.find_element(By.TAG_NAME, "button")
    button.click()
    assert nll.get_attribute("aria-sort") == "ascending"
    rising = labels(opened, "moons")
    names = [label.split("†")[0].strip() for label in rising]
    assert names[:3] == ["flow-matching", "ffjord", "gaussian"]  # 2.375, 2.505, 9.25
    assert names[-1] == "true data, τ"
    assert names[-2].startswith("jko")  # it failed: no value
    button.send_keys(Keys.ENTER)
    assert nll.get_attribute("aria-sort") == "descending"
    falling = [label.split("†")[0].strip() for label in labels(opened, "moons")]
    assert falling[-3:] == ["flow-matching", names[-2], "true data, τ"]
    button.send_keys(Keys.SPACE)
    assert nll.get_attribute("aria-sort") is None
    assert labels(opened, "moons") == first
    assert ask(opened, "document.activeElement.textContent") == "NLL"
    said = opened.find_element(By.CSS_SELECTOR, "#filter-comparison [role=status]")
    assert said.text == "In the original order."


def test_filtering_by_name_data_set_and_end(opened: Chrome) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select, WebDriverWait

    field = opened.find_element(By.CSS_SELECTOR, "#filter-comparison input")
    said = opened.find_element(By.CSS_SELECTOR, "#filter-comparison [role=status]")
    field.send_keys("FLOW")
    WebDriverWait(opened, 60).until(lambda _: said.text == "2 of 9 rows")
    assert labels(opened, "moons") == ["flow-matching", "true data, τ"]
    Select(opened.find_element(By.CSS_SELECTOR, "#filter-comparison select")).select_by_value(
        "digits"
    )
    WebDriverWait(opened, 60).until(lambda _: said.text == "1 of 9 rows")
    assert labels(opened, "moons") == []
    assert labels(opened, "digits") == ["flow-matching", "true data, τ"]
    ended = opened.find_element(By.CSS_SELECTOR, "#filter-runs select[name=status]")
    said = opened.find_element(By.CSS_SELECTOR, "#filter-runs [role=status]")
    Select(ended).select_by_value("diverged")
    WebDriverWait(opened, 60).until(lambda _: said.text == "1 of 13 rows")
    left = "[...document.querySelectorAll('{}')].filter(d => !d.hidden).length"
    assert ask(opened, left.format("#runs details.run")) == 0  # a failed run is in its own section
    assert ask(opened, left.format("#failed details.run")) == 2


def test_a_link_to_a_run_opens_it(opened: Chrome) -> None:
    from selenium.webdriver.common.by import By

    link = opened.find_element(By.CSS_SELECTOR, "table.runs a")
    target = str(link.get_attribute("href")).partition("#")[2]
    assert not ask(opened, "document.getElementById(arguments[0]).open", target)
    link.click()
    assert ask(opened, "document.getElementById(arguments[0]).open", target)
    curve = "document.getElementById(arguments[0]).querySelector('figure.curve img').clientHeight"
    assert ask(opened, curve, target) > 20
    ask(opened, "[...document.querySelectorAll('details')].slice(0, 6).map(d => d.open = true)")
    shot(opened, "opened-1280", 12_000)


def test_on_a_phone_nothing_but_tables_scrolls_sideways(opened: Chrome) -> None:
    size(opened, 390, 844)
    ask(opened, "[...document.querySelectorAll('details')].map(d => d.open = true)")
    assert ask(opened, "innerWidth") == 390
    assert ask(opened, "document.documentElement.scrollWidth") == 390
    ask(
        opened,
        "[...document.querySelectorAll('details.run, details.basis')].map(d => d.open = false)",
    )
    shot(opened, "light-390", 9_000)
    wide = ask(opened, "(g => g.scrollWidth > g.clientWidth)(document.getElementById('grid'))")
    assert wide


def test_a_phone_shows_the_answers_first_and_the_nll_in_the_second_column(opened: Chrome) -> None:
    size(opened, 390, 844)
    top = "document.querySelector('ul.answers li').getBoundingClientRect().bottom"
    assert ask(opened, top) < 844
    heads = "[...document.querySelectorAll('#grid thead th')].map(h => h.textContent.trim())"
    assert ask(opened, heads)[1] == "NLL"
    right = "document.querySelectorAll('#grid thead th')[1].getBoundingClientRect().right"
    assert ask(opened, right) <= 390


def contrast(chrome: Chrome, query: str) -> float:
    """The contrast of an element's letters with the page (WCAG 2.2, 1.4.3)."""
    colours = [
        ask(chrome, "getComputedStyle(document.querySelector(arguments[0])).color", query),
        ask(chrome, "getComputedStyle(document.body).backgroundColor"),
    ]
    light = []
    for colour in colours:
        parts = [int(n) / 255 for n in colour.partition("(")[2].rstrip(")").split(",")[:3]]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        light.append(0.2126 * r + 0.7152 * g + 0.0722 * b)
    return (max(light) + 0.05) / (min(light) + 0.05)


def brightness(chrome: Chrome, element: str) -> str:
    """Whether most pixels of an element are light or dark on the screen."""
    import base64
    import io

    from PIL import Image

    ask(chrome, f"{element}.scrollIntoView({{behavior: 'instant', block: 'center'}})")
    sides = "(b => [b.left + scrollX, b.top + scrollY, b.width, b.height])"
    box = ask(chrome, f"{sides}({element}.getBoundingClientRect())")
    clip = {**dict(zip(("x", "y", "width", "height"), box, strict=True)), "scale": 1}
    asked = {"captureBeyondViewport": True, "clip": clip}
    taken = chrome.execute_cdp_cmd("Page.captureScreenshot", asked)
    with Image.open(io.BytesIO(base64.b64decode(taken["data"]))) as image:
        grey = image.convert("L")
        levels = sorted(grey.tobytes())
    middle, extreme = levels[len(levels) // 2], (levels[0], levels[-1])
    assert extreme[1] - extreme[0] > 120, "its lines can be seen"
    return "light" if middle > 128 else "dark"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_can_be_read_by_day_and_by_night(opened: Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for query in ("body", ".lead", "main a", ".status.failed", ".status.well", "ul.notes"):
        assert contrast(opened, query) >= 4.5, query
    assert brightness(opened, "document.querySelector('.card:not(.pixels) img')") == scheme
    if scheme == "dark":
        shot(opened, "dark-1280")


def test_in_print_there_are_no_controls_and_tables_are_whole(opened: Chrome) -> None:
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    size(opened, 794, 1123)
    assert ask(opened, "[...document.querySelectorAll('nav, form')].every(e => !e.offsetHeight)")
    assert ask(opened, "getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert ask(opened, "getComputedStyle(document.getElementById('grid')).overflowX") == "visible"
    assert ask(opened, "document.querySelector('#comparison table').offsetWidth <= innerWidth")
    shot(opened, "print")


def test_a_watched_page_renews_itself_and_keeps_order_filter_and_place(
    chrome: Chrome, write: Write, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    monkeypatch.setattr("bench.report.pictures.KINDS", {})
    monkeypatch.setattr("bench.report.watch.PAUSE", 0.0)
    for method, nll in (("jko", 2.0), ("ffjord", 3.0), ("gaussian", 4.0)):
        write(method, "moons", nll=nll)
    server = ReportServer(results)
    server.look()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        clear(chrome)
        size(chrome, 1280, 900)
        chrome.get(f"http://{LOOPBACK}:{server.server_port}/")
        chrome.find_element(By.XPATH, "//*[@id='grid']//th/button[.='NLL']").click()
        field = chrome.find_element(By.CSS_SELECTOR, "#filter-comparison input")
        field.send_keys("j")
        ask(chrome, "document.querySelector('details.run').open = true")
        place = ask(chrome, "(scrollTo({top: 300, behavior: 'instant'}), scrollY)")
        order = ask(chrome, "document.querySelector('#comparison th[aria-sort]').textContent")
        write("ot-flow", "rings", nll=2.5)
        part = results / "jko-rings-s0-00000000.part"
        part.mkdir()
        (part / "log.txt").write_text("t mini-batch 150 of 300: loss 1\n")
        assert server.look()
        WebDriverWait(chrome, 120).until(
            lambda _: "4 runs" in ask(chrome, "document.body.innerText")
        )
        WebDriverWait(chrome, 120).until(
            lambda _: "150 of 300" in ask(chrome, "document.body.innerText")
        )
        kept = "document.querySelector('#comparison th[aria-sort]').textContent"
        assert ask(chrome, kept) == order
        assert ask(chrome, "document.querySelector('#filter-comparison input').value") == "j"
        assert ask(chrome, "document.activeElement.name") == "text"
        assert ask(chrome, "document.querySelectorAll('details.run[open]').length") == 1
        assert abs(ask(chrome, "scrollY") - place) < 80  # what came above may shift it
        assert chrome.get_log("browser") == []
    finally:
        server.shutdown()
        server.server_close()
    WebDriverWait(chrome, 120).until(
        lambda _: "has ended" in ask(chrome, "document.body.innerText")
    )
