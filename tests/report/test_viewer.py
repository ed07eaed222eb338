"""Tests for mriimpute.report._viewer: what it stores, and what a real browser shows of it."""

import base64
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from mriimpute.cli import app
from mriimpute.imputation.jobs import plan_jobs
from mriimpute.imputation.request import Request
from mriimpute.report import scan_page, write_scan_page
from mriimpute.report._viewer import _library, viewer

OpenBrowser = Callable[..., Any]
ReadPage = Callable[[Path], Any]

NIIVUE = "8129dd51400fd22b02393bee1f68324a033b09c632ebc65e51478abe9b86175e"
DONE = """
new Promise((done) => {
  const box = document.querySelector(".viewer");
  const state = () => box.dataset.state;
  const ask = () => state() === "loading" ? setTimeout(ask, 20) : done(state());
  setTimeout(ask, 50);
})
"""
CHOSEN = "document.querySelector('[name=volume]:checked').value"
PLACE = "document.querySelector('.place').textContent"


def head(shape: tuple[int, int, int]) -> np.ndarray:
    """An ellipsoid of brain in dark bone, and fat of three times its intensity around."""
    axes = np.meshgrid(*(np.linspace(-1.15, 1.15, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    brain = 400 + 60 * np.sin(9 * axes[0]) * np.cos(8 * axes[1] + 5 * axes[2])
    layers = [radius < 0.8, radius < 0.9, radius < 1.0]
    return np.select(layers, [brain, 60.0, 1400.0], 5.0).astype(np.float32)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewer")
    scan = folder / "scan.nii.gz"
    nib.save(nib.Nifti1Image(head((40, 48, 14)), np.diag([2.0, 2.0, 6.0, 1.0])), scan)
    words = ["impute", str(scan), "--model", "cross-plane-ridge", "--samples", "2", "--page"]
    result = CliRunner().invoke(app, [*words, "--device=cpu", "-o", str(folder / "out")])
    assert result.exit_code == 0, result.stderr
    return folder / "out" / "scan_desc-report.html"


def again(page: Path) -> Path:
    """Writes the page of the same results once more."""
    (case,) = plan_jobs([page.parents[1] / "scan.nii.gz"], page.parent)
    return write_scan_page(case, Request(model="cross-plane-ridge", samples=2))


def texts(page: Any) -> list[str]:
    """The volumes of a page as they stand there."""
    parts = page.source.split('class="volume"')[1:]
    return [part.split("</script>")[0].split(">", 1)[1] for part in parts]


def stored(page: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the page knows of its volumes, and their levels, restored as `viewer.js` does it."""
    facts = json.loads(next(d["data-facts"] for d in page.named("div") if "data-facts" in d))
    scripts = [script for script in page.named("script") if script.get("class") == "volume"]
    levels: dict[str, np.ndarray] = {}
    for script, text in zip(scripts, texts(page), strict=True):
        packed = gzip.decompress(base64.b64decode(text))
        x = np.frombuffer(packed, np.uint8).copy()
        for lag in map(int, script["data-lags"].split()):
            for n in range(lag, len(x)):
                x[n] = (int(x[n]) + int(x[n - lag])) % 256
        if script["data-reference"]:
            x += levels[script["data-reference"]]
        levels[script["data-name"]] = x
    return facts, {name: x.reshape(facts["shape"], order="F") for name, x in levels.items()}


def test_niivue_is_what_its_readme_says() -> None:
    folder = resources.files("mriimpute.report").joinpath("niivue")

    packed = folder.joinpath("niivue.umd.js.gz").read_bytes()
    script = gzip.decompress(packed)

    assert hashlib.sha256(script).hexdigest() == NIIVUE
    assert NIIVUE in folder.joinpath("README.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2021, Niivue" in folder.joinpath("LICENSES.txt").read_text("utf-8")
    assert len(packed) < 400_000
    assert b"</script" not in script


def test_volumes_are_stored_to_the_nearest_level(page: Path, read_page: ReadPage) -> None:
    facts, levels = stored(read_page(page))

    assert list(levels) == ["linear", "mean", "std", "draw 1", "draw 2"]
    box = tuple(slice(s, s + n) for s, n in zip(facts["first"], facts["shape"], strict=True))
    ends = {"std": (0.0, facts["std"], facts["stdLevels"])}
    for name, label in (("mean", "mean"), ("std", "std"), ("draw 2", "draw002")):
        image = nib.load(page.parent / f"scan_desc-{label}.nii.gz").get_fdata()[box]
        low, high, top = ends.get(name, (facts["low"], facts["high"], 255))
        restored = low + levels[name] / top * (high - low)
        near = np.abs(restored - np.clip(image, low, high))
        assert near.max() <= 0.5001 * (high - low) / top


def test_a_page_that_would_be_too_large_keeps_less_and_says_so(
    page: Path, read_page: ReadPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = shutil.copytree(page.parents[1], tmp_path / "copy") / "out" / page.name
    full, levels = stored(read_page(page))
    sizes = dict(zip(levels, map(len, texts(read_page(page))), strict=True))
    library = len(_library())

    def written(most: int) -> Any:
        monkeypatch.setattr(scan_page, "viewer", lambda p, draws, _: viewer(p, draws, most))
        return read_page(again(page))

    one_draw_less = written(library + sum(sizes.values()) - 1)
    averaged = written(library + sum(sizes.values()) - sizes["draw 2"] - 1)
    nothing = written(library)

    less, kept = stored(one_draw_less)
    assert list(kept) == ["linear", "mean", "std", "draw 1"]
    assert less == full
    assert "the first 1 of 2 draws" in one_draw_less.text
    facts, means = stored(averaged)
    assert "means over 2 voxels" in averaged.text
    assert list(means) == list(levels)
    assert facts["spacing"] == [4.0, 4.0, 2.0]
    assert facts["acquired"] == full["acquired"]
    ni, nj, nk = means["mean"].shape
    blocks = levels["mean"].astype(float)[: 2 * ni, : 2 * nj].reshape(ni, 2, nj, 2, nk)
    assert np.abs(means["mean"] - blocks.mean(axis=(1, 3))).max() <= 0.5
    assert "too large for the viewer" in nothing.text


def test_a_page_is_no_larger_than_it_may_be(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = shutil.copytree(page.parents[1], tmp_path / "copy") / "out" / page.name
    most = page.stat().st_size - 1
    monkeypatch.setattr(scan_page, "MOST_BYTES", most)

    assert again(page).stat().st_size <= most


def test_a_browser_shows_the_volumes_and_asks_for_nothing(
    page: Path, open_browser: OpenBrowser
) -> None:
    browser = open_browser()
    browser.open(page)

    state = browser.run(DONE)

    shown = browser.pixels(".screen")
    assert state == "ready"
    assert browser.requests() == []
    assert browser.complaints() == []
    grey = (np.ptp(shown, axis=2) < 8) & (shown[..., 0] > 60)
    assert 0.1 < grey.mean() < 0.9, "a head on black"
    assert len(np.unique(shown[grey])) > 50


@pytest.mark.slow
def test_every_control_does_what_it_says(page: Path, open_browser: OpenBrowser) -> None:
    browser = open_browser()
    browser.open(page)
    browser.run(DONE)

    def differs(act: Callable[[], object]) -> float:
        before = browser.pixels(".screen")
        act()
        return float(np.abs(browser.pixels(".screen") - before).mean())

    def set_white() -> None:
        browser.run(
            "(() => { const w = document.querySelector('.white'); w.value = 90;"
            "w.dispatchEvent(new Event('input')); })()"
        )

    def key_f() -> None:
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="f", code="KeyF")

    def colourful() -> float:
        return float((np.ptp(browser.pixels(".screen"), axis=2) > 20).mean())

    red = (lambda p: (p[..., 0] > 200) & (p[..., 1] < 60))(browser.pixels(".screen")).mean()
    place = browser.run(PLACE)
    assert differs(lambda: None) == 0.0
    for name in ("linear", "draw 1", "draw 2", "mean"):
        assert differs(lambda: browser.click(f'[value="{name}"]')) > 0.05, name  # noqa: B023
        assert browser.run(CHOSEN) == name
    assert differs(key_f) > 0.05
    assert browser.run(CHOSEN) == "linear"
    assert differs(key_f) > 0.05
    assert browser.run(CHOSEN) == "mean"
    assert differs(set_white) > 5
    assert differs(lambda: browser.click(".reset")) > 5
    assert red > 0.001, "acquired slices are marked"
    browser.click(".marks")
    assert colourful() < 0.02, "only the cross hair has a colour"
    browser.click(".std")
    browser.run("new Promise(done => setTimeout(done, 200))")
    assert colourful() > 0.1
    browser.click(".std")
    assert colourful() < 0.02
    assert (
        differs(lambda: browser.mouse("mouseWheel", ".screen", 0.15, 0.5, deltaX=0, deltaY=120))
        > 0.5
    )
    assert browser.run(PLACE) != place
    assert browser.complaints() == []
    assert browser.requests() == []


@pytest.mark.slow
def test_a_right_drag_changes_the_window(page: Path, open_browser: OpenBrowser) -> None:
    browser = open_browser()
    browser.open(page)
    browser.run(DONE)
    before = browser.run("document.querySelector('.window').textContent")

    right = {"button": "right", "buttons": 2}
    browser.mouse("mousePressed", ".screen", 0.2, 0.5, **right)
    for step in range(1, 5):
        browser.mouse("mouseMoved", ".screen", 0.2, 0.5 + 0.05 * step, **right)
    browser.mouse("mouseReleased", ".screen", 0.2, 0.7, **right)

    assert browser.run("document.querySelector('.window').textContent") != before


@pytest.mark.slow
def test_without_webgl_the_pictures_stand_alone(page: Path, open_browser: OpenBrowser) -> None:
    browser = open_browser("--disable-3d-apis")
    browser.open(page)

    state = browser.run(DONE)

    assert state == "absent"
    assert "no WebGL 2" in browser.run("document.querySelector('#viewer').innerText")
    assert browser.run("document.querySelector('.stage').checkVisibility()") is False
    assert browser.pixels("#images .plane").std() > 20
    assert browser.run("document.querySelector('#flicker').checkVisibility()") is True


@pytest.mark.slow
def test_the_viewer_fits_a_phone_and_the_dark(page: Path, open_browser: OpenBrowser) -> None:
    browser = open_browser()
    browser.open(page, width=390, height=844, scheme="dark")
    browser.run(DONE)

    assert browser.run("document.documentElement.scrollWidth") == 390
    shown = browser.pixels(".screen")
    assert shown.shape[0] > 1.5 * shown.shape[1], "planes stand below each other"
    assert shown.max() > 200
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
