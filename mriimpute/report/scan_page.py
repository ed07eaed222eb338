"""One page about one imputed scan, made from the files that were written.

It shows the scan, so it is as confidential as the scan itself, and says so. It names no folder,
as folders carry names of patients; everything else is as in `mriimpute.report.page`.

Axes: i, j, k = right, anterior, superior.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from markupsafe import Markup

from mriimpute.cohort.target_grid import to_target_grid
from mriimpute.files import read_json
from mriimpute.imputation.bids import NOTICE
from mriimpute.imputation.coding import Coding, coded
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import Request, observed_of
from mriimpute.io import Form, holds_dicom, read_scan
from mriimpute.methods.registry import load_imputer
from mriimpute.report._charts import Frame, Series, histogram, line_chart
from mriimpute.report._companions import companions_block
from mriimpute.report._html import document, join, pairs, tag, write_html
from mriimpute.report._pictures import Album
from mriimpute.report._scan_pictures import Image, Pictures, Result
from mriimpute.report._styles import COLOURS, LineStyle
from mriimpute.report._verdict import verdict_block
from mriimpute.report._viewer import viewer
from mriimpute.volume import Volume

__all__ = ["write_scan_page"]

BINS = 40
MOST_BYTES = 25_000_000
MARKUP_BYTES = 60_000  # style, scripts and what holds the sections together
VIEWER_DRAWS = 3
CONFIDENTIAL = "This page shows image data of the person scanned: keep it as you keep the scan."


def write_scan_page(case: Job, request: Request) -> Path:
    """Writes the page of a finished case, atomically, and returns where it is.

    Args:
        case: Whose results are there.
        request: What was made.

    Raises:
        MriImputeError: If scan or results cannot be read, or the page cannot be written.
    """
    result = _read(case, request)
    draws = _draws(case, result.coding, _form(case, request))
    write_html(case.page, _page(case.scan.name, result, draws))
    return case.page


def _form(case: Job, request: Request) -> Form:
    """Returns by which form results lie as the scan does: they have both of its forms, if any."""
    has_forms = case.space == "native" and not holds_dicom(case.scan)
    return request.form if has_forms else "auto"


def _draws(case: Job, coding: Coding, form: Form) -> Iterator[Image]:
    """Yields the first draws, as far as written, one at a time."""
    for number in range(1, VIEWER_DRAWS + 1):
        file = case.file(f"draw{number:03d}")
        if file.is_file():
            yield coding.code(read_scan(file, form=form, exact=True).values)


def _read(case: Job, request: Request) -> Result:
    labels = {"mean": "mean", "std": "std", "draw": "draw001"}
    form = _form(case, request)
    written = {name: read_scan(case.file(label), form=form, exact=True)
               for name, label in labels.items() if case.file(label).is_file()}  # fmt: skip
    _, coding = coded(written["mean"])
    images = {
        name: coding.code_difference(scan.values) if name == "std" else coding.code(scan.values)
        for name, scan in written.items()
    }
    record = read_json(case.record)
    if case.space != "native":
        mean = written["mean"].volume
        observed = read_scan(case.file("observed")).volume.data > 0
        volume = Volume(images["mean"], observed, mean.affine)
        return Result(
            volume=volume,
            axis=-1,
            images=images,
            coding=coding,
            difference=math.nan,
            record=record,
        )

    observed_file = observed_of(case.scan, request)
    scan = read_scan(case.scan, observed=observed_file, form=request.form, exact=True)
    shown = replace(scan, volume=replace(scan.volume, data=coding.code(scan.values)))
    grid = to_target_grid(shown, request.spacing_mm)
    volume = grid.volume
    linear = load_imputer("linear", device="cpu")
    images["linear"] = linear.impute(volume, seed=0, case="").mean
    # Both in the same order: slice n of the scan is slice `factor * n` of the grid.
    acquired = written["mean"].values[volume.observed]
    difference = np.abs(acquired - scan.values[scan.volume.observed])
    has_slices = record["settings"].get("slice_axis_from") != "none"
    return Result(
        volume=volume,
        axis=grid.axis if has_slices else -1,
        images=images,
        coding=coding,
        difference=float(difference.max()),
        record=record,
    )


def _page(name: str, result: Result, draws: Iterable[Image]) -> Markup:
    album = Album()
    pictures = Pictures(album, result)
    sections = {
        "images": ("What was imputed", pictures.mosaics()),
        "flicker": ("Interpolated and imputed, in one place", pictures.before_after()),
        "uncertainty": ("How sure it is", _uncertainty(result, pictures.head)),
        "record": ("The scan, settings and versions", _record(name, result)),
    }
    taken = MARKUP_BYTES + len(album.stored()) + sum(len(text) for _, text in sections.values())
    look = {"viewer": ("Look through it", viewer(pictures, draws, MOST_BYTES - taken))}
    filled = {key: section for key, section in (look | sections).items() if section[1]}
    return document(
        f"mriimpute: {name}",
        tag(
            "header",
            tag("p", "mriimpute impute", class_="kicker"),
            tag("h1", name),
            verdict_block(result.record.get("Quality", {})),
            companions_block(result.record.get("Quality", {})),
            _lead(result),
            tag("p", CONFIDENTIAL, class_="warnings plain", role="note"),
            tag("p", NOTICE, class_="notice"),
        ),
        album.stored(),
        tag(
            "main",
            *(
                tag("section", tag("h2", title, id=f"{key}-title"), content, id=key,
                    aria_labelledby=f"{key}-title")
                for key, (title, content) in filled.items()
            ),
        ),
        tag("footer", tag("p", f"{CONFIDENTIAL} {NOTICE}")),
    )  # fmt: skip


def _lead(result: Result) -> Markup:
    settings = result.record["settings"]
    missing = tag("b", f"{100 * settings['missing_share']:.1f} %")
    finding = join(
        missing, f" of the voxels were missing and are estimates by {settings['method']}."
    )
    if math.isnan(result.difference):
        return tag("p", finding, " All were resampled to template space.", class_="finding")
    same = f" Largest difference on acquired voxels, measured in the files: {result.difference:g}."
    return tag("p", finding, tag("b", same), class_="finding")


def _facts(name: str, result: Result) -> Markup:
    settings, record = result.record["settings"], result.record
    draws = settings["request"]["samples"]
    facts = {
        "scan": name,
        "slices": _slices(settings),
        **_voxels(result),
        "missing": f"{100 * settings['missing_share']:.2f} % of all voxels",
        "model": settings["method"],
        "draws written": str(draws),
        "seed": str(record["seed"]),
        "device": str(record["device"]),
        "time": f"{record['seconds']:.3g} s since the command began",
    }
    return pairs("The scan", facts)


def _slices(settings: Mapping[str, Any]) -> str:
    if settings.get("slice_axis_from") == "none":
        return "none: voxels are missing here and there"
    return (
        f"{settings['slice_spacing_mm']:.3g} mm apart, along {settings['slice_axis']} "
        "(R: left to right, A: back to front, S: bottom to top)"
    )


def _voxels(result: Result) -> dict[str, str]:
    """Returns the sizes of voxels; what is shown in template space has those of the template."""
    shape = " x ".join(map(str, result.volume.shape))
    shown = f"{_by(result.volume.spacing_mm)} mm, {shape}"
    if not math.isnan(result.difference):
        return {"imputed voxels": shown}
    imputed = f"{_by(result.record['settings']['imputed_spacing_mm'])} mm"
    return {"imputed voxels": imputed, "voxels in template space": shown}


def _by(sizes_mm: Iterable[float]) -> str:
    return " x ".join(f"{mm:.3g}" for mm in sizes_mm)


def _record(name: str, result: Result) -> Markup:
    record = result.record
    request = {
        key.replace("_", " "): str(value) for key, value in record["settings"]["request"].items()
    }
    checked = {"input SHA-256": str(record["settings"]["input"]["sha256"])}
    settings, used = pairs("Settings", request | checked), pairs("Versions", record["versions"])
    return tag("div", _facts(name, result), settings, used, class_="pairs")


def _uncertainty(result: Result, head: Bool[np.ndarray, "i j k"]) -> Markup:
    std = result.images.get("std")
    if std is None:
        return tag("p", "This method states no uncertainty.", class_="note")
    imputed = head & ~result.volume.observed
    values = result.coding.decode_difference(std[imputed])
    top = float(np.percentile(values, 99.5)) if len(values) else 0.0
    top = top if top > 0 else 1.0
    counts, _ = np.histogram(values, bins=BINS, range=(0.0, top))
    frame = Frame(
        title="Histogram of the standard deviation of imputed voxels of the head",
        x_label="standard deviation, units of the scan",
        y_label="fraction of imputed voxels",
        x_limits=(0.0, top),
    )
    fractions = (counts / max(len(values), 1)).tolist()
    charts = [
        tag("figure", histogram(fractions, frame, COLOURS[0]), tag("figcaption", "imputed voxels"))
    ]
    if result.axis >= 0:
        charts.append(_along(result, head, std))
    note = (
        "The standard deviation is predictive and 0 where acquired. It says how far the truth may "
        "lie from the mean, voxel by voxel, if the scan is like those the model knows."
    )
    return join(tag("p", note, class_="note"), tag("div", *charts, class_="charts"))


def _along(result: Result, head: Bool[np.ndarray, "i j k"], std: Image) -> Markup:
    """Returns the mean uncertainty of each slice: 0 at acquired ones, highest in wide gaps."""
    in_plane = tuple(axis for axis in range(3) if axis != result.axis)
    inside = head.sum(axis=in_plane)
    sums = np.where(head, std, 0.0).sum(axis=in_plane, dtype=np.float64)
    means = result.coding.decode_difference(sums / np.maximum(inside, 1))
    kept = np.flatnonzero(inside)
    step_mm = result.volume.spacing_mm[result.axis]
    caption = "mean over each slice of the head"
    frame = Frame(
        title="Mean standard deviation of each slice",
        x_label=f"position along {'RAS'[result.axis]}, mm",
        y_label="mean standard deviation, units of the scan",
    )
    series = Series(
        caption, (kept * step_mm).tolist(), means[kept].tolist(), LineStyle(COLOURS[0])
    )
    chart = line_chart([series], frame)
    return tag("figure", chart, tag("figcaption", caption))
