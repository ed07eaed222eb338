"""Pages in a real browser: what they ask for, what they log, how fast they are, what they do."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mriimpute.evaluation import Summary
from mriimpute.report import write_page

MakeSummary = Callable[..., Summary]

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FASTEST = 2000.0  # milliseconds that a page may take to open
OPENED = """
addEventListener("load", () => requestAnimationFrame(() => requestAnimationFrame(() => {
  document.title = `opened ${performance.now()}`; })));
"""
PRESSED = """
addEventListener("load", () => {
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
  document.title = states.join(" ");
});
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine"),
]


def opened(page: Path, script: str) -> tuple[str, str]:
    """Opens a copy of a page with one more script; returns its title then, and the log."""
    copy = page.with_name("copy.html")
    source = page.read_text(encoding="utf-8")
    copy.write_text(source.replace("</body>", f"<script>{script}</script></body>"))
    command = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--log-level=0"),
        *(f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=4000"),
        *("--dump-dom", copy.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)  # noqa: S603
    found = re.search(r"<title>(.*?)</title>", done.stdout)
    assert found is not None
    return found[1], done.stderr


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, make_summary: MakeSummary) -> Path:
    """As large as it gets: 12 methods, 18 subjects, 1 mm."""
    path = tmp_path_factory.mktemp("browser") / "index.html"
    methods = ("linear", "deep-image-prior", *(f"method-{n}" for n in range(10)))
    write_page(path, make_summary(subjects=18, methods=methods, shape=(150, 180)))
    return path


def test_a_large_page_opens_in_under_two_seconds_and_logs_nothing(page: Path) -> None:
    milliseconds, logs = [], ""
    for _ in range(3):  # a busy machine may be slow once
        title, log = opened(page, OPENED)
        milliseconds.append(float(title.removeprefix("opened ")))
        logs += log

    assert min(milliseconds) < FASTEST
    assert "CONSOLE" not in logs
    assert "ERR_" not in logs


def test_what_the_page_may_not_load_is_refused(page: Path) -> None:
    script = 'fetch("https://example.org/x").catch(() => { document.title = "refused"; });'

    title, log = opened(page, script)

    assert title == "refused"
    assert "CONSOLE" in log  # so the test above would have seen it


def test_button_and_key_flicker_and_the_choice_changes_the_picture(page: Path) -> None:
    title, _ = opened(page, PRESSED)

    first, after_button, after_key, after_choice, same, shown = title.split(" ")
    assert first == after_key == "101010"
    assert after_button == after_choice == "010101"
    assert (same, shown) == ("true", "truth")
