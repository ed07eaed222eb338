"""Pages in a real browser: what they ask for, what they log, how fast they are, what they do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mriimpute.evaluation import Summary
from mriimpute.report import write_page

MakeSummary = Callable[..., Summary]
OpenBrowser = Callable[..., Any]

SLOWEST = 2.0  # seconds of processor time that a page may take to open
PRESSED = """
(() => {
  const states = [], box = document.querySelector(".flicker");
  const note = () => states.push([...box.querySelectorAll(".plane")].map((plane) =>
    getComputedStyle(plane).visibility === "visible" ? "1" : "0").join(""));
  note();
  box.querySelector(".toggle").click(); note();
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "f", bubbles: true })); note();
  const select = box.querySelector(".choose-b"); select.selectedIndex = 0;
  select.dispatchEvent(new Event("change")); note();
  states.push(box.querySelector(".side-b use").getAttribute("href") ===
    "#" + select.value.split(" ")[0], box.querySelector(".shown").textContent);
  return states.join(" ");
})()
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_summary: MakeSummary) -> Path:
    """As large as it gets: 12 methods, 18 subjects, 1 mm."""
    path = tmp_path_factory.mktemp("browser") / "index.html"
    methods = ("linear", "deep-image-prior", *(f"method-{n}" for n in range(10)))
    write_page(path, make_summary(subjects=18, methods=methods, shape=(150, 180)))
    return path


def test_a_large_page_takes_under_two_seconds_and_logs_nothing(
    page: Path, open_browser: OpenBrowser
) -> None:
    browser = open_browser()

    browser.open(page)
    browser.run("new Promise(requestAnimationFrame)")

    assert 0.01 < browser.seconds() < SLOWEST
    assert not browser.complaints() + browser.requests()


def test_what_the_page_may_not_load_is_refused(page: Path, open_browser: OpenBrowser) -> None:
    browser = open_browser()
    browser.open(page)

    outcome = browser.run("fetch('https://example.org/x').catch(() => 'refused')")

    assert outcome == "refused"
    assert browser.complaints()  # so the test above would have seen it


def test_button_and_key_flicker_and_the_choice_changes_the_picture(
    page: Path, open_browser: OpenBrowser
) -> None:
    browser = open_browser()
    browser.open(page)

    states = browser.run(PRESSED)

    first, after_button, after_key, after_choice, same, shown = states.split(" ")
    assert first == after_key == "101010"
    assert after_button == after_choice == "010101"
    assert (same, shown) == ("true", "truth")


def test_the_page_follows_the_theme_and_charts_are_readable_in_both(
    page: Path, open_browser: OpenBrowser
) -> None:
    browser = open_browser()
    for scheme, paper in (("light", 255), ("dark", 20)):
        browser.open(page, scheme=scheme)

        chart = browser.pixels("#distance .charts .chart")

        assert chart[0, 0, 0] == paper
        # Axes and their numbers stand out against the paper.
        assert np.abs(chart[..., 0] - paper).max() > 120


def test_nothing_is_wider_than_a_phone(page: Path, open_browser: OpenBrowser) -> None:
    browser = open_browser()

    browser.open(page, width=390, height=844)

    assert browser.run("document.documentElement.scrollWidth") == 390
