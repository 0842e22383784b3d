"""The report in Chromium: what a reader does with it, and that nothing leaves the page."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_runs import map_arrays

from gain_lightning.runs.read import read_run
from gain_lightning.studies.comparison.compare import compare
from gain_lightning.studies.report.report import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH, or its path in CHROMIUM")

HOSTILE = '<script>document.title="broken"</script>'


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_report(browser, make_study, tmp_path):
    """Opens a report as a file, as from a mail attachment; fails on errors and on requests for anything else."""
    contexts, errors, requests = [], [], []
    paths = make_study()
    for path in paths:
        np.savez(Path(path, "maps.npz"), **map_arrays(ids=("a", HOSTILE, "c")))
    report = tmp_path / "report.html"
    write_report(compare([read_run(path) for path in paths]), report)

    def open_page(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
    assert {url for url in requests if not url.startswith("data:image/")} == {report.as_uri()}


def column(page, heading: str, number: int) -> list[str]:
    rows = page.locator(f"[aria-labelledby={heading}] tbody tr")
    return [row.locator("th, td").nth(number).inner_text() for row in rows.all()]


def test_results_sort_by_a_click_and_by_the_keyboard(open_report):
    page = open_report()
    names = column(page, "results", 0)
    head = page.get_by_role("columnheader", name="mAP", exact=False).first
    scores = dict(zip(names, column(page, "results", 2), strict=True))
    rising = sorted(names, key=lambda name: float(scores[name].split()[0]))

    head.get_by_role("button").click()
    assert column(page, "results", 0) == rising[::-1]
    assert head.get_attribute("aria-sort") == "descending"

    page.keyboard.press("Enter")
    assert column(page, "results", 0) == rising
    assert head.get_attribute("aria-sort") == "ascending"

    page.get_by_role("columnheader", name="method").first.get_by_role("button").click()
    assert column(page, "results", 0) == sorted(names, key=str.lower)
    assert head.get_attribute("aria-sort") is None


def test_differences_sort_within_each_pair_of_methods(open_report):
    page = open_report()
    table = page.locator("[aria-labelledby=differences] table").first
    table.get_by_role("button", name="metric").click()
    for body in table.locator("tbody").all():
        names = [row.locator("th").inner_text() for row in body.locator("tr").all()]
        assert "→" in names[0]
        assert names[1:] == sorted(names[1:], key=str.lower)
    table.get_by_role("button", name="difference").click()
    for body in table.locator("tbody").all():
        first, *rows = body.locator("tr").all()
        assert "→" in first.inner_text()
        deltas = [float(row.locator("td").first.inner_text().replace("\N{MINUS SIGN}", "-")) for row in rows]
        assert deltas == sorted(deltas, reverse=True)


def test_an_image_is_picked_and_shown_larger(open_report):
    page = open_report()
    assert page.locator(".example:visible").count() == 3
    width = page.locator(".example img").first.bounding_box()["width"]

    page.get_by_label("Image").select_option(index=2)
    shown = page.locator(".example:visible")
    assert shown.count() == 1
    assert shown.locator("figcaption strong").inner_text() == "boat"
    assert shown.locator("img").first.bounding_box()["width"] > width

    page.get_by_label("Image").select_option(index=0)
    assert page.locator(".example:visible").count() == 3


@pytest.mark.parametrize("system", ["light", "dark"])
def test_theme_follows_the_system_until_it_is_chosen(open_report, system):
    page = open_report(color_scheme=system)
    curve = page.locator("picture img").first

    def look() -> tuple[bool, str]:
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return ground == "rgb(20, 23, 27)", curve.evaluate("image => image.currentSrc")

    is_dark, of_system = look()
    assert is_dark == (system == "dark")
    other = "light" if system == "dark" else "dark"
    page.get_by_label("Theme").select_option(other)
    is_dark, of_other = look()
    assert is_dark == (other == "dark")
    assert of_other != of_system
    page.get_by_label("Theme").select_option("system")
    assert look() == (system == "dark", of_system)


@pytest.mark.parametrize("width", [360, 1280])
def test_page_is_never_wider_than_the_screen(open_report, width):
    page = open_report(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_shows_every_column_and_what_is_folded(open_report):
    page = open_report(viewport={"width": 690, "height": 1000})  # A4 between its margins
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() == 0
    for box in page.locator(".scroll").all():
        assert box.evaluate("box => box.scrollWidth") <= 690


def test_names_are_text_and_nothing_else(open_report):
    page = open_report()
    assert "broken" not in page.title()
    assert page.get_by_text(HOSTILE, exact=True).count() >= 1


def test_without_scripts_everything_is_there_and_no_control_is_dead(open_report):
    page = open_report(java_script_enabled=False)
    assert page.locator(".example").count() == 3
    assert page.locator("select:visible").count() == 0
    assert page.locator("thead button").count() == 0


def test_every_control_is_reached_by_the_tab_key(open_report):
    page = open_report()
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"theme", "image", "BUTTON", "SUMMARY"} <= reached
