"""Tests for mriimpute.report."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from mriimpute.evaluation import Estimate, MethodSummary, Panel, Result, Summary, View
from mriimpute.evaluation.columns import METRICS
from mriimpute.report import table_of, write_figure
from mriimpute.report._figures import distances
from mriimpute.report._styles import LineStyle
from mriimpute.report.figure import DPI, _draw, _png


def view(rng: np.random.Generator, name: str, *, stated: bool, across: int) -> View:
    """An ellipse of brain; blank around it."""
    u, v = np.meshgrid(np.linspace(-1.2, 1.2, 14), np.linspace(-1.2, 1.2, 11), indexing="ij")
    brain = u**2 + v**2 < 1
    truth = np.where(brain, rng.uniform(0, 100, brain.shape), np.nan).astype(np.float32)
    std = np.where(brain, np.float32(4 if stated else np.nan), np.float32(np.nan))
    sparse = truth.copy()
    sparse[:, np.arange(11) % 3 > 0 if across == 1 else slice(None)] = np.nan

    def noisy() -> np.ndarray:
        return truth + rng.normal(0, 4, truth.shape).astype(np.float32)

    return View(
        name=name,
        truth=truth,
        sparse=sparse,
        mean=noisy(),
        std=std.astype(np.float32),
        draws=np.stack([noisy(), noisy()]) if stated else np.empty((0, 14, 11), np.float32),
        across=across,
        slices=np.arange(0, 11, 3) if across == 1 else np.empty(0, np.int64),
        spacing_mm=(2.0, 2.0),
        ends=("L", "R", "I", "S"),
    )


def panel(rng: np.random.Generator, *, stated: bool) -> Panel:
    crossing = [view(rng, name, stated=stated, across=1) for name in ("coronal", "sagittal")]
    between = view(rng, "axial", stated=stated, across=-1)
    return Panel(scan="sub-1_T1w", data_range=100.0, views=(*crossing, between))


def summary_of(rng: np.random.Generator, *, ranked: bool) -> Summary:
    scores = dict.fromkeys(METRICS, 0.5) | {"psnr_db": 21.5, "coverage90": math.nan}
    ends = {"low": 21.0, "high": 22.0} if ranked else {}
    estimates = {name: Estimate(mean=value) for name, value in scores.items()}
    estimates["psnr_db"] = Estimate(mean=21.5, **ends)
    methods = ("linear", "ridge")
    parts = dict.fromkeys(("bins", "regions", "volumes"), ())
    rest = {"draws": 0, "voxels": 9, "data_range": 100.0, **parts}
    empty = {"crps_ratio": Estimate(mean=0.75), "distances": {}, "labels": ()}
    return Summary(
        report=Path("report"),
        methods=tuple(
            MethodSummary(method=m, scores=estimates, gain_db=Estimate(mean=0.25), **empty)  # type: ignore[arg-type]
            for m in methods
        ),
        results=tuple(
            Result(subject="sub-1", scan="sub-1_T1w", method=m, **scores, **rest)  # type: ignore[arg-type]
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


def test_names_in_the_figure_are_no_mathematics_and_need_not_be_utf8(
    rng: np.random.Generator,
) -> None:
    summary, name = summary_of(rng, ranked=True), "a$_$b\udcfc"
    panels = {m: dataclasses.replace(of, scan=name) for m, of in summary.panels.items()}
    panels = {"linear$_$": panels["linear"], "ridge": panels["ridge"]}
    summary = dataclasses.replace(summary, panels=panels, best_interpolator="linear$_$")

    figure = _draw(summary)

    assert _png(figure).startswith(b"\x89PNG")
    texts = [text.get_text() for text in figure.texts]
    assert "linear$_$" in texts
    assert texts[-1].startswith("a$_$b\\udcfc, the first scan")


def test_same_summary_gives_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    summary = summary_of(rng, ranked=True)

    for name in ("a.png", "b.png"):
        write_figure(tmp_path / name, summary)

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def blank_where_no_brain_is(axes: Iterable[Axes], views: Iterable[View]) -> bool:
    pairs = [
        (image, view) for axis, view in zip(axes, views, strict=True) for image in axis.images
    ]
    return bool(pairs) and all(
        np.ma.getmaskarray(image.get_array()).T[np.isnan(view.truth)].all()
        for image, view in pairs
    )


def test_what_is_drawn_is_blank_outside_of_the_brain(rng: np.random.Generator) -> None:
    summary = summary_of(rng, ranked=True)
    views = summary.panels["ridge"].views

    axes = _draw(summary).axes

    assert blank_where_no_brain_is(axes[:21], [view for view in views for _ in range(7)])
    assert {axis.get_facecolor() for axis in axes[:21]} == {(0, 0, 0, 1)}
    for image in (image for axis in axes[:21] for image in axis.images):
        assert tuple(image.get_cmap().get_bad()) == (0, 0, 0, 1)


def test_columns_are_truth_acquired_interpolator_ours_std_and_two_draws(
    rng: np.random.Generator,
) -> None:
    figure = _draw(summary_of(rng, ranked=True))

    heads = [text.get_text() for text in figure.texts[:7]]
    assert heads == [
        "truth",
        "acquired",
        "linear",
        "ridge",
        "standard deviation",
        "a draw",
        "another draw",
    ]
    assert [axis.get_ylabel() for axis in figure.axes[:21:7]] == ["coronal", "sagittal", "axial"]
    assert any("% of data range" in axis.get_xlabel() for axis in figure.axes[21:])


def test_each_imputed_image_is_titled_with_its_psnr(rng: np.random.Generator) -> None:
    summary = summary_of(rng, ranked=True)
    view = summary.panels["ridge"].views[0]
    missing = np.isfinite(view.truth) & np.isnan(view.sparse)

    titles = [axis.get_title() for axis in _draw(summary).axes[:7]]

    errors = (view.mean - view.truth)[missing], (view.draws[1] - view.truth)[missing]
    ours, draw = (20 * math.log10(100 / np.sqrt(np.square(error).mean())) for error in errors)
    assert titles[0] == titles[1] == titles[4] == ""
    assert (titles[3], titles[6]) == (f"{ours:.2f} dB", f"{draw:.2f} dB")


def test_acquired_slices_are_marked_at_both_margins_where_they_are_crossed(
    rng: np.random.Generator,
) -> None:
    axes = _draw(summary_of(rng, ranked=True)).axes

    marks = [
        sorted({float(line.get_ydata()[0]) for line in axis.lines if not line.get_clip_on()})
        for axis in (axes[1], axes[8], axes[15])
    ]

    assert marks == [[0, 3, 6, 9], [0, 3, 6, 9], []]


def test_no_colour_of_the_figure_is_lost_in_the_file(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    summary = summary_of(rng, ranked=True)
    drawn = _draw(summary)
    drawn.savefig(tmp_path / "drawn.png", dpi=DPI)

    write_figure(tmp_path / "stored.png", summary)

    before, after = (imread(tmp_path / name)[..., :3] for name in ("drawn.png", "stored.png"))
    assert np.abs(before - after).max() <= 5 / 255


def test_figure_of_interpolators_alone_shows_no_uncertainty(rng: np.random.Generator) -> None:
    summary = summary_of(rng, ranked=True)
    alone = dataclasses.replace(
        summary, methods=summary.methods[:1], panels={"linear": summary.panels["linear"]}
    )

    heads = [text.get_text() for text in _draw(alone).texts[:3]]

    assert heads == ["truth", "acquired", "linear"]


def test_images_share_one_window(rng: np.random.Generator) -> None:
    axes = np.array(_draw(summary_of(rng, ranked=True)).axes[:21]).reshape(3, 7)

    windows = {axis.images[0].get_clim() for axis in np.delete(axes, 4, axis=1).flat}
    std = {axis.images[0].get_clim() for axis in axes[:, 4]}

    ((low, high),) = windows
    assert 0 < low < 5
    assert 95 < high < 100
    assert std == {(0.0, 4.0)}


@pytest.mark.parametrize("ranked", [True, False])
def test_table_gives_an_interval_only_where_there_is_one(
    ranked: bool, rng: np.random.Generator
) -> None:
    table = table_of(summary_of(rng, ranked=ranked))

    assert table.rows[0][1] == ("21.50 [21.00, 22.00]" if ranked else "21.50")
    assert ("too few subjects" in table.title) is not ranked
    assert table.headers[2] == "dB over linear"
    assert "cover 90" not in table.headers
    assert {len(row) for row in table.rows} == {len(table.headers)}


def spaced(summary: Summary, spacing_mm: dict[str, float], steps: int) -> Summary:
    """The same scores, of scans whose missing voxels lie up to so many steps from a slice."""
    rows = tuple(
        dataclasses.replace(
            row,
            bins=tuple(
                dataclasses.replace(b, mm=b.steps * spacing_mm.get(row.subject, 3.0))
                for b in row.bins[:steps]
            ),
        )
        for row in summary.results
    )
    return dataclasses.replace(summary, results=rows)


@pytest.mark.parametrize(
    ("spacing_mm", "told"),
    [({}, "lie 3 mm from"), ({"sub-1": 5.0}, "lie 3 to 5 mm from"), ({"sub-0": 5.0}, "3 to 5 mm")],
)
def test_the_one_distance_is_a_range_where_scans_differ_in_spacing(
    make_summary: Callable[..., Summary], spacing_mm: dict[str, float], told: str
) -> None:
    summary = spaced(make_summary(subjects=2), spacing_mm, 1)

    assert told in distances(summary, {})


@pytest.mark.parametrize(("spacing_mm", "unit"), [({}, "mm"), ({"sub-1": 5.0}, "voxels")])
def test_distances_are_in_voxels_where_scans_differ_in_spacing(
    make_summary: Callable[..., Summary], spacing_mm: dict[str, float], unit: str
) -> None:
    summary = spaced(make_summary(subjects=2), spacing_mm, 3)
    styles = dict.fromkeys(("linear", "ridge"), LineStyle("#000000", "o"))

    charts = str(distances(summary, styles))

    assert f"distance to the nearest acquired slice, {unit}" in charts
