"""Reports in headless Chromium: no complaint, sorting by mouse and keyboard, phone, print, dark."""

import io
from pathlib import Path

import numpy as np
import pytest
from chromium import opened
from PIL import Image

from figures import style
from figures.results import values as figure
from sim.reports import page
from sim.reports.page import Report, ReportPicture, ReportTable

pytestmark = pytest.mark.browser
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
ROWS = (("b2", 10.0, "x"), ("b10", float("nan"), ""), ("a", 9.0, "y"), ("B1", -1.5, "x"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a page with two pictures and a table."""
    value = np.linspace(0.2, 0.8, 5)[None, :, None] + np.linspace(0, 0.1, 8)
    drawn = figure.draw(value, value - 0.05, value + 0.05, ["free"], list("abcde"))
    rows = tuple((page.entry(a), page.number(b, "-" if b != b else f"{b:.1f}"), page.entry(c)) for a, b, c in ROWS)
    svg = style.svg(drawn)
    report = Report(
        "Tiny report",
        ("Use a with N = 4: with 95 % confidence no other arm is better by more than .03.",),
        (ReportPicture("Value against N", svg, "Bands."), ReportPicture("Again", svg)),
        (ReportTable("Costs", ("prompt", "money", "kind"), rows, "Of a made-up run."),),
        ("Stands on nothing.",),
        {"budgets": [500, 1000]},
        {"versions": {"python": "3"}},
    )
    return page.save(report, tmp_path_factory.mktemp("pages") / "report.html").as_uri()


def _column(browser: object, number: int) -> list[str]:
    return browser.locator(f"tbody tr > :nth-child({number})").all_inner_texts()  # pyright: ignore


def test_tables_are_sorted_by_mouse_and_by_keyboard(place: str) -> None:
    """By number, by text with the numbers in it, up and down; what is missing is last; equal rows keep their order."""
    with opened() as (browser, complaints):
        browser.goto(place)
        money = browser.get_by_role("button", name="money")
        money.click()
        assert _column(browser, 2) == ["-1.5", "9.0", "10.0", "-"]
        money.click()
        assert _column(browser, 2) == ["10.0", "9.0", "-1.5", "-"]
        assert browser.locator("th[aria-sort]").all_inner_texts() == ["money"]
        browser.get_by_role("button", name="prompt").focus()
        browser.keyboard.press("Enter")
        assert _column(browser, 1) == ["a", "B1", "b2", "b10"]
        assert browser.locator("th[aria-sort='ascending']").inner_text() == "prompt"
        browser.keyboard.press("Tab")
        browser.keyboard.press("Tab")
        browser.keyboard.press("Space")
        assert _column(browser, 1) == ["B1", "b2", "a", "b10"]
        assert complaints == []


def test_a_phone_shows_it_without_moving_sideways(place: str) -> None:
    """Wide things move inside their own place."""
    with opened(**PHONE) as (browser, complaints):
        browser.goto(place)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        assert browser.evaluate("innerWidth") == 390
        assert browser.locator("thead button").first.bounding_box()["height"] >= 32
        assert complaints == []


def test_it_is_seen_and_printed_in_light_and_dark(place: str, tmp_path: Path) -> None:
    """Ink differs from paper, pictures stay on white, print has no arrows."""
    seen = {}
    with opened(viewport={"width": 1000, "height": 700}) as (browser, complaints):
        browser.goto(place)
        for scheme in ("light", "dark"):
            browser.emulate_media(color_scheme=scheme)
            picture = Image.open(io.BytesIO(browser.screenshot(full_page=True))).convert("L")
            assert picture.width == 1000
            corner, colours = picture.getpixel((2, 2)), picture.getextrema()
            seen[scheme] = corner
            assert colours[1] - colours[0] > 180
        browser.emulate_media(media="print", color_scheme="dark")
        assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert browser.evaluate("getComputedStyle(document.querySelector('thead button'), '::after').content") == "none"
        assert browser.pdf().startswith(b"%PDF")
        assert complaints == []
    assert seen["light"] > 240
    assert seen["dark"] < 60


def test_it_is_whole_without_scripts(place: str) -> None:
    """Text, rows and pictures are there, and no button that does nothing."""
    with opened(java_script_enabled=False) as (browser, _):
        browser.goto(place)
        assert browser.get_by_role("button").count() == 0
        assert _column(browser, 1) == [row[0] for row in ROWS]
        assert browser.locator("svg").count() == 2
