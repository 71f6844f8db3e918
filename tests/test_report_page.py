"""The page in a browser, without a network: it is drawn, sorts, filters, is reached by the keyboard, and prints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from report_documents import HOSTILE, document
from tersor.report.document import document_of

for package in ("jinja2", "altair", "vl_convert"):
    pytest.importorskip(package, reason=f"{package} is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

SIZES = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless chromium."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium on the path, nor named by CHROMIUM")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a document in which a layer has a hostile name."""
    from tersor.report.page import render, write_html

    path = tmp_path_factory.mktemp("page") / "report.html"
    write_html(render(document_of(document(HOSTILE))), path)
    return path


class View:
    """A page that is open, and what it complained of or asked for."""

    def __init__(self, browser: Any, file: Path, scheme: str = "light", width: int = 1280, **more: Any) -> None:
        context = browser.new_context(
            offline=True, color_scheme=scheme, viewport={"width": width, "height": 900}, **more
        )
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def column(self, table: str, place: int) -> list[str]:
        """What the rows that are shown have in a column."""
        rows = self.page.locator(f"#{table} tbody tr:visible")
        cells = [rows.nth(i).locator("th, td").nth(place) for i in range(rows.count())]
        return [cell.inner_text().split("\n")[0].split(" ")[0].strip() for cell in cells]

    def eval(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.page.evaluate(script)


@pytest.fixture
def view(browser: Any, file: Path) -> Iterator[View]:
    opened = View(browser, file)
    yield opened
    opened.page.context.close()
    assert opened.complaints == []


@pytest.mark.parametrize(("scheme", "width"), SIZES)
def test_it_opens_without_a_network_and_fits(browser: Any, file: Path, scheme: str, width: int) -> None:
    view = View(browser, file, scheme, width)
    assert view.requests == [file.as_uri()]
    assert view.page.locator("h1").inner_text() == "Ship int8"
    assert view.eval("document.documentElement.scrollWidth") <= width
    back, ink = view.eval("['backgroundColor', 'color'].map(k => getComputedStyle(document.body)[k])")
    is_dark = sum(map(int, back[4:-1].split(","))) < 3 * 128
    assert is_dark == (scheme == "dark")
    assert back != ink
    view.page.context.close()
    assert view.complaints == []


@pytest.mark.parametrize(("scheme", "width"), SIZES)
def test_charts_are_drawn_in_the_colours_of_the_page(browser: Any, file: Path, scheme: str, width: int) -> None:
    view = View(browser, file, scheme, width)
    charts = view.page.locator(".chart svg")
    assert charts.count() == 2 + 2 * 2  # two trade-offs, results and weights of two layers
    for i in range(charts.count()):
        box = charts.nth(i).bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 80
    assert view.page.locator(".trade-off").first.locator("a path").count() == 5
    drawn = view.eval("getComputedStyle(document.querySelector('.trade-off a[href=\"#candidate-3\"] path')).fill")
    key = view.eval("getComputedStyle(document.querySelector('.key.pick')).fill")
    assert drawn == key != "none"
    label = view.eval("getComputedStyle(document.querySelector('.trade-off svg text')).fill")
    assert label == view.eval("getComputedStyle(document.body).color")
    view.page.context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_table_that_is_wider_than_the_screen_says_so(browser: Any, file: Path, width: int) -> None:
    view = View(browser, file, "light", width)
    box, hint = view.page.locator("#candidates .scroll"), view.page.locator("#candidates .wide")
    is_wide = box.evaluate("b => b.scrollWidth > b.clientWidth + 1")
    assert is_wide == (width == 390) == hint.is_visible()
    assert ("more" in (box.get_attribute("class") or "")) == is_wide
    box.evaluate("b => { b.scrollLeft = b.scrollWidth; }")
    view.page.wait_for_function("!document.querySelector('#candidates .scroll').classList.contains('more')")
    assert hint.is_visible() == is_wide
    view.page.context.close()
    assert view.complaints == []


def test_doubts_stand_before_all_figures(browser: Any, tmp_path: Path) -> None:
    from tersor.report.page import render, write_html

    write_html(render(document_of(document(doubts=["guessing gets as far"]))), tmp_path / "report.html")
    view = View(browser, tmp_path / "report.html")
    box, tiles = (
        view.page.get_by_text("guessing gets as far").bounding_box(),
        view.page.locator(".tiles").bounding_box(),
    )
    assert box is not None
    assert tiles is not None
    assert box["y"] < tiles["y"]
    view.page.context.close()


def test_a_histogram_shows_counts_and_range(view: View) -> None:
    chart = view.page.locator(".card .chart svg").first
    bars = chart.locator(".mark-rect path[fill='var(--bars)']")
    assert bars.count() == 32  # those of 64 that are not empty
    assert chart.locator(".mark-rule line").count() >= 2
    heights = [bars.nth(i).bounding_box()["height"] for i in range(bars.count())]
    assert max(heights) > 2 * heights[0] > 0  # 500 of a bar beside 1


def test_columns_sort_both_ways_by_value(view: View) -> None:
    assert view.column("candidate-table", 0) == ["float", "float16", "dynamic", "int8", "int8_w4"]
    head = view.page.locator("#candidate-table thead th", has_text="Size")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert view.column("candidate-table", 0) == ["int8_w4", "int8", "dynamic", "float16", "float"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert view.column("candidate-table", 0) == ["float", "float16", "dynamic", "int8", "int8_w4"]


def test_what_was_not_measured_is_sorted_last(view: View) -> None:
    button = view.page.locator("#candidate-table thead th", has_text="SQNR").get_by_role("button")
    button.click()
    assert view.column("candidate-table", 0) == ["int8_w4", "int8", "dynamic", "float16", "float"]
    button.click()
    assert view.column("candidate-table", 0) == ["float16", "dynamic", "int8", "int8_w4", "float"]


def test_layers_sort_and_filter(view: View) -> None:
    operators = view.column("layer-table-1", 1)
    assert operators == ["conv_2d", "conv_2d", "reshape"]
    button = view.page.locator("#layer-table-1 thead th", has_text="In the network").get_by_role("button")
    button.click()
    button.click()
    assert view.column("layer-table-1", 3) == ["31.0", "31.0", "7.2"]
    view.page.locator('.controls[data-table="layer-table-1"] select').select_option("weak")
    assert view.column("layer-table-1", 3) == ["7.2"]
    assert "1 of 3 layers" in view.page.locator('.controls[data-table="layer-table-1"] .count').inner_text()


def test_candidates_filter_and_points_follow(view: View) -> None:
    controls = view.page.locator('.controls[data-table="candidate-table"]')
    controls.get_by_label("Search").fill("INT8")
    assert view.column("candidate-table", 0) == ["int8", "int8_w4"]
    assert controls.locator(".count").inner_text() == "2 of 5 candidates"
    dim = view.page.locator(".trade-off").first.locator("a.dim")
    assert [dim.nth(i).get_attribute("href") for i in range(dim.count())] == ["#candidate-2", "#candidate-1", "#float"]
    controls.get_by_label("Search").fill("")
    controls.get_by_label("Show").select_option("fast")
    assert view.column("candidate-table", 0) == ["int8"]
    controls.get_by_label("Search").fill("nothing like it")
    assert view.column("candidate-table", 0) == []
    assert controls.locator(".count").inner_text() == "0 of 5 candidates"


def test_the_keyboard_reaches_everything(view: View) -> None:
    view.page.keyboard.press("Tab")
    assert view.eval("document.activeElement.textContent") == "Skip to the content"
    reached = []
    for _ in range(80):
        view.page.keyboard.press("Tab")
        reached.append(
            view.eval("(e => [e.tagName.toLowerCase(), e.getAttribute('href'), e.className])(document.activeElement)")
        )
        if reached[-1][0] == "body":
            break
    kinds = {kind for kind, _, _ in reached}
    assert {"a", "input", "select", "button", "summary", "div", "pre"} <= kinds
    assert "#candidate-3" in {link for _, link, _ in reached}


def test_keys_sort_a_table(view: View) -> None:
    button = view.page.locator("#candidate-table thead th", has_text="Time").get_by_role("button")
    button.focus()
    view.page.keyboard.press("Enter")
    assert view.column("candidate-table", 0)[0] == "int8"
    view.page.keyboard.press("Space")
    assert view.column("candidate-table", 0)[0] == "int8_w4"


def test_a_point_says_what_it_is_and_leads_to_its_row(view: View) -> None:
    point = view.page.locator('.trade-off a[href="#candidate-2"]').first
    point.focus()
    tip = view.page.locator("#tip")
    assert tip.is_visible()
    assert tip.inner_text().startswith("dynamic: 600 kB, 3.3 times smaller; 7 ms, 1.4 times slower; top1 89.5")
    view.page.keyboard.press("Escape")
    assert not tip.is_visible()
    point.focus()
    view.page.keyboard.press("Enter")
    assert view.page.url.endswith("#candidate-2")
    assert view.eval("document.querySelector(':target').cells[0].textContent.trim()") == "dynamic"
    view.page.locator('.trade-off a[href="#candidate-3"]').first.hover()
    assert tip.inner_text().startswith("int8: 500 kB")


def test_hostile_names_are_shown_as_they_are(view: View) -> None:
    assert view.page.locator(".card h4 code").first.inner_text() == HOSTILE
    assert view.page.locator("img").count() == 0


def test_every_control_and_chart_has_a_name(view: View) -> None:
    assert (
        view.eval(
            """[...document.querySelectorAll('input, select, button, nav, [role=img], [role=group], [role=region]')]
        .filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label') ||
                       document.getElementById(e.getAttribute('aria-labelledby'))))
        .map(e => e.outerHTML)"""
        )
        == []
    )
    levels = [int(tag[1]) for tag in view.eval("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => e.tagName)")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_it_is_read_without_a_script(browser: Any, file: Path) -> None:
    view = View(browser, file, java_script_enabled=False)
    assert view.page.locator("h1").inner_text() == "Ship int8"
    assert view.page.locator(".trade-off").first.locator("a path").count() == 5
    assert view.page.locator("#candidate-table tbody tr").count() == 5
    view.page.context.close()


def test_it_prints_everything_in_dark_ink(browser: Any, file: Path) -> None:
    view = View(browser, file, "dark")
    view.page.emulate_media(media="print", color_scheme="dark")
    assert view.eval("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not view.page.locator(".controls").first.is_visible()
    assert not view.page.locator("nav").is_visible()
    view.eval("dispatchEvent(new Event('beforeprint'))")
    assert view.page.locator("details:not([open])").count() == 0
    view.eval("dispatchEvent(new Event('afterprint'))")
    assert view.page.locator("details:not([open])").count() > 0
    assert len(view.page.pdf(format="A4")) > 20_000
    view.page.context.close()
