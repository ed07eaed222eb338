"""Tests for mriimpute.report."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from mriimpute.evaluate import Estimate, Panel, Row, Standing, Summary
from mriimpute.evaluate.scores import METRICS
from mriimpute.report import table_of, write_figure
from mriimpute.report.figure import _draw


def panel(rng: np.random.Generator, *, stated: bool) -> Panel:
    """An ellipse of brain; blank around it."""
    u, v = np.meshgrid(np.linspace(-1.2, 1.2, 14), np.linspace(-1.2, 1.2, 11), indexing="ij")
    brain = u**2 + v**2 < 1
    truth = np.where(brain, rng.uniform(0, 100, brain.shape), np.nan).astype(np.float32)
    std = np.where(brain, np.float32(4 if stated else np.nan), np.float32(np.nan))
    sparse = truth.copy()
    sparse[:, np.arange(11) % 3 > 0] = np.nan
    return Panel(
        scan="sub-1_T1w",
        truth=truth,
        sparse=sparse,
        mean=truth + rng.normal(0, 4, truth.shape).astype(np.float32),
        std=std.astype(np.float32),
        spacing_mm=(2.0, 2.0),
        data_range=100.0,
        ends=("L", "R", "I", "S"),
    )


def summary_of(rng: np.random.Generator, *, ranked: bool) -> Summary:
    scores = dict.fromkeys(METRICS, 0.5) | {"psnr_db": 21.5, "coverage90": math.nan}
    ends = {"low": 21.0, "high": 22.0} if ranked else {}
    estimates = {name: Estimate(mean=value) for name, value in scores.items()}
    estimates["psnr_db"] = Estimate(mean=21.5, **ends)
    methods = ("linear", "ridge")
    rest = {"draws": 0, "voxels": 9, "data_range": 100.0, "bins": ()}
    return Summary(
        report=Path("report"),
        standings=tuple(
            Standing(method=m, scores=estimates, gain_db=Estimate(mean=0.25)) for m in methods
        ),
        rows=tuple(
            Row(subject="sub-1", scan="sub-1_T1w", method=m, **scores, **rest)  # type: ignore[arg-type]
            for m in methods
        ),
        panels={m: panel(rng, stated=m == "ridge") for m in methods},
        subjects=6 if ranked else 2,
        ranked=ranked,
        best_interpolator="linear",
    )


def test_figure_is_a_png_that_opens(tmp_path: Path, rng: np.random.Generator) -> None:
    write_figure(tmp_path / "figure.png", summary_of(rng, ranked=True))

    image = imread(tmp_path / "figure.png")
    assert min(image.shape[:2]) > 300
    assert image.std() > 0.1


def test_same_summary_gives_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    summary = summary_of(rng, ranked=True)

    for name in ("a.png", "b.png"):
        write_figure(tmp_path / name, summary)

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_is_drawn_is_blank_outside_of_the_brain(rng: np.random.Generator) -> None:
    summary = summary_of(rng, ranked=True)
    outside = np.isnan(next(iter(summary.panels.values())).truth)

    shown = [image for axis in _draw(summary).axes[:12] for image in axis.images]

    assert len(shown) == 2 + 3 * 2
    for image in shown:
        assert np.ma.getmaskarray(image.get_array()).T[outside].all()


def test_images_errors_and_uncertainties_each_share_one_window(rng: np.random.Generator) -> None:
    axes = np.array(_draw(summary_of(rng, ranked=True)).axes[:12]).reshape(3, 4)

    windows = [{axis.images[0].get_clim() for axis in row[2:]} for row in axes]

    assert windows[0] == {axis.images[0].get_clim() for axis in axes[0, :2]} == {(0.0, 100.0)}
    assert len(windows[1]) == len(windows[2]) == 1
    (low, high), (zero, top) = *windows[1], *windows[2]
    assert -low == high == top > zero == 0


@pytest.mark.parametrize("ranked", [True, False])
def test_table_gives_an_interval_only_where_there_is_one(
    ranked: bool, rng: np.random.Generator
) -> None:
    table = table_of(summary_of(rng, ranked=ranked))

    assert table.rows[0][1] == ("21.50 [21.00, 22.00]" if ranked else "21.50")
    assert ("too few subjects" in table.title) is not ranked
    assert table.headers[2] == "dB over linear"
    assert table.rows[0][table.headers.index("cover 90")] == "-"
    assert {len(row) for row in table.rows} == {len(table.headers)}
