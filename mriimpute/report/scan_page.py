"""One page about one imputed scan, made from the files that were written.

It shows the scan, so it is as confidential as the scan itself, and says so. It names no folder,
as folders carry names of patients; everything else is as in `mriimpute.report.page`.

Axes: i, j, k = right, anterior, superior; u, v = the two of them that span a plane.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute.data.cohort import observed_beside
from mriimpute.data.grid import fine_volume
from mriimpute.files import read_json
from mriimpute.impute import load_imputer
from mriimpute.impute.case import Case, Request
from mriimpute.impute.dataset import NOTICE
from mriimpute.io import read_scan
from mriimpute.report._chart import Frame, Series, bars, curves
from mriimpute.report._flicker import flicker
from mriimpute.report._html import Markup, document, join, pairs, tag, write_html
from mriimpute.report._looks import Look
from mriimpute.report._pictures import SEQUENTIAL, Album, Plane, Scale, scale_bar
from mriimpute.volume import Volume

__all__ = ["write_scan_page"]

NAMES = ("sagittal", "coronal", "axial")
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
SHARES = (0.3, 0.43, 0.57, 0.7)  # of the head's extent: where the mosaics cut it
FOREGROUND = 0.1  # of the window: what is darker is air
WINDOW = (0.5, 99.8)  # percentiles of what was acquired
STD_PERCENTILE = 99.0
BINS = 40
MARGIN = 4  # voxels around the head
LOOK = Look("#0072B2", "circle", "")
CONFIDENTIAL = "This page shows image data of the person scanned: keep it as you keep the scan."

Image = Float32[np.ndarray, "i j k"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """What was written for a scan, and what it is looked at beside.

    Attributes:
        volume: The scan on the imputed grid, as `impute` saw it; in template space the mean.
        axis: That was refined; -1 in template space.
        images: By what they are: "mean", "std" and "draw" as far as written, "linear" in native
            space.
        difference: Largest |mean - scan| over acquired voxels; NaN in template space.
        record: The sidecar of the mean.
    """

    volume: Volume
    axis: int
    images: Mapping[str, Image]
    difference: float
    record: Mapping[str, Any]


def write_scan_page(case: Case, request: Request) -> Path:
    """Writes the page of a finished case, atomically, and returns where it is.

    Args:
        case: Whose results are there.
        request: What was made.

    Raises:
        MriImputeError: If scan or results cannot be read, or the page cannot be written.
    """
    write_html(case.page, _page(case.scan.name, _read(case, request)))
    return case.page


def _read(case: Case, request: Request) -> Result:
    labels = {"mean": "mean", "std": "std", "draw": "draw001"}
    written = {name: read_scan(case.file(label)) for name, label in labels.items()
               if case.file(label).is_file()}  # fmt: skip
    images = {name: scan.volume.data for name, scan in written.items()}
    record = read_json(case.record)
    if case.space != "native":
        mean = written["mean"].volume
        observed = read_scan(case.file("observed")).volume.data > 0
        volume = Volume(mean.data, observed, mean.affine)
        return Result(volume=volume, axis=-1, images=images, difference=math.nan, record=record)

    marks = request.observed or observed_beside(case.scan)
    grid = fine_volume(read_scan(case.scan, observed=marks), request.spacing_mm)
    volume = grid.volume
    plain = load_imputer("linear", device="cpu")
    images["linear"] = plain.impute(volume, seed=0, case="", tile=request.tile).mean
    apart = np.abs(images["mean"][volume.observed] - volume.data[volume.observed])
    return Result(
        volume=volume,
        axis=grid.axis,
        images=images,
        difference=float(apart.max()),
        record=record,
    )


def _page(name: str, result: Result) -> Markup:
    album = Album()
    pictures = _Pictures(album, result)
    sections = {
        "facts": ("The scan", _facts(name, result)),
        "images": ("What was imputed", pictures.mosaics()),
        "flicker": ("Interpolated and imputed, in one place", pictures.before_after()),
        "uncertainty": ("How sure it is", _uncertainty(result, pictures.head)),
        "record": ("Settings and versions", _record(result.record)),
    }
    filled = {key: section for key, section in sections.items() if section[1]}
    return document(
        f"mriimpute: {name}",
        tag(
            "header",
            tag("p", "mriimpute impute", class_="kicker"),
            tag("h1", name),
            _lead(result),
            tag("p", CONFIDENTIAL, class_="warnings plain", role="note"),
            tag("p", NOTICE, class_="notice"),
        ),
        album.stored(),
        tag(
            "main",
            *(
                tag("section", tag("h2", title, id=f"{key}-title"), content,
                    aria_labelledby=f"{key}-title")
                for key, (title, content) in filled.items()
            ),
        ),
        tag("footer", tag("p", f"{CONFIDENTIAL} {NOTICE}")),
    )  # fmt: skip


def _lead(result: Result) -> Markup:
    settings = result.record["settings"]
    missing = tag("b", f"{100 * settings['missing_share']:.1f} %")
    said = join(missing, f" of the voxels were missing and are estimates by {settings['method']}.")
    if math.isnan(result.difference):
        return tag("p", said, " All were resampled to template space.", class_="finding")
    same = f" Largest difference on acquired voxels, measured in the files: {result.difference:g}."
    return tag("p", said, tag("b", same), class_="finding")


def _facts(name: str, result: Result) -> Markup:
    settings, record = result.record["settings"], result.record
    spacing = " x ".join(f"{mm:.3g}" for mm in settings["imputed_spacing_mm"])
    draws = settings["request"]["samples"]
    facts = {
        "scan": name,
        "slices": f"{settings['slice_spacing_mm']:.3g} mm apart, along {settings['slice_axis']} "
        "(R: left to right, A: back to front, S: bottom to top)",
        "imputed voxels": f"{spacing} mm, {' x '.join(map(str, result.volume.shape))}",
        "missing": f"{100 * settings['missing_share']:.2f} % of all voxels",
        "model": settings["method"],
        "draws written": str(draws),
        "seed": str(record["seed"]),
        "device": str(record["device"]),
        "time": f"{record['seconds']:.3g} s since the command began",
    }
    return pairs("", facts)


def _record(record: Mapping[str, Any]) -> Markup:
    request = {
        key.replace("_", " "): str(value) for key, value in record["settings"]["request"].items()
    }
    checked = {"input SHA-256": str(record["settings"]["input"]["sha256"])}
    tables = [pairs("Settings", request | checked), pairs("Versions", record["versions"])]
    return tag("div", *tables, class_="pairs")


def _uncertainty(result: Result, head: Bool[np.ndarray, "i j k"]) -> Markup:
    std = result.images.get("std")
    if std is None:
        return tag("p", "This method states no uncertainty.", class_="note")
    imputed = head & ~result.volume.observed
    values = std[imputed]
    top = float(max(np.percentile(values, 99.5), 1e-6)) if len(values) else 1.0
    counts, _ = np.histogram(values, bins=BINS, range=(0.0, top))
    frame = Frame(
        title="Histogram of the standard deviation of imputed voxels of the head",
        x_label="standard deviation, units of the scan",
        y_label="share of imputed voxels",
        x=(0.0, top),
    )
    shares = (counts / max(len(values), 1)).tolist()
    charts = [tag("figure", bars(shares, frame, LOOK), tag("figcaption", "imputed voxels"))]
    if result.axis >= 0:
        charts.append(_along(result, head, std))
    note = (
        "The standard deviation is predictive and 0 where acquired. It says how far the truth may "
        "lie from the mean, voxel by voxel, if the scan is like those the model knows."
    )
    return join(tag("p", note, class_="note"), tag("div", *charts, class_="charts"))


def _along(result: Result, head: Bool[np.ndarray, "i j k"], std: Image) -> Markup:
    """Returns the mean uncertainty of each slice: 0 at acquired ones, highest in wide gaps."""
    others = tuple(axis for axis in range(3) if axis != result.axis)
    inside = head.sum(axis=others)
    means = np.where(head, std, 0.0).sum(axis=others) / np.maximum(inside, 1)
    kept = np.flatnonzero(inside)
    step_mm = result.volume.spacing_mm[result.axis]
    frame = Frame(
        title="Mean standard deviation of each slice",
        x_label=f"position along {'RAS'[result.axis]}, mm",
        y_label="mean standard deviation",
    )
    series = Series("", (kept * step_mm).tolist(), means[kept].tolist(), Look("#0072B2", "", ""))
    chart = curves([series], frame)
    return tag("figure", chart, tag("figcaption", "mean over each slice of the head"))


class _Pictures:
    """Planes of the imputed scan, all to one scale and in one window."""

    def __init__(self, album: Album, result: Result) -> None:
        self.album, self.result = album, result
        volume = result.volume
        acquired = volume.data[volume.observed]
        low, high = np.percentile(acquired, WINDOW)
        self.window = Scale("gray", float(low), float(max(high, low + 1e-6)))
        self.head = result.images["mean"] > low + FOREGROUND * (high - low)
        self.box = _box(self.head)
        std = result.images.get("std")
        top = 1.0 if std is None else float(np.percentile(std[self.head], STD_PERCENTILE))
        self.std_scale = SEQUENTIAL(max(top, 1e-6))._replace(blank=(0, 0, 0))
        self.width_mm = max(
            (self.box[u].stop - self.box[u].start) * volume.spacing_mm[u] for u in (0, 1)
        )

    def mosaics(self) -> Markup:
        """Returns rows of planes of the mean and, below, of its standard deviation."""
        parts: list[Markup] = []
        for normal in (1, 0, 2):
            parts.append(tag("h3", f"{NAMES[normal].capitalize()} planes"))
            indices = self._indices(normal)
            for kind, words in (("mean", "mean"), ("std", "standard deviation"), ("draw", "draw")):
                if kind in self.result.images:
                    parts.append(self._row(kind, words, normal, indices))
        note = (
            "Red marks: acquired slices. Planes along the slices lie as far from acquired ones as "
            "can be."
        )
        if "draw" in self.result.images:
            note += " The draw is one sample of what the anatomy may be."
        scale = scale_bar(self.std_scale, "standard deviation, units of the scan")
        shown = tag("div", scale, class_="scales") if "std" in self.result.images else Markup()
        return tag("div", tag("p", note, class_="note"), *parts, shown, class_="mosaic")

    def before_after(self) -> Markup:
        """Returns the middle planes, interpolated and imputed; nothing in template space."""
        if "linear" not in self.result.images:
            return Markup()
        middle = [(normal, self._indices(normal)[1]) for normal in (1, 0, 2)]
        kinds = {"linear interpolation": "linear", "imputed (mean)": "mean"}
        if "draw" in self.result.images:
            kinds["a draw"] = "draw"
        names = {
            label: [self._put(kind, normal, index) for normal, index in middle]
            for label, kind in kinds.items()
        }
        return flicker(
            self.album,
            [self._plane(normal) for normal, _ in middle],
            names,
            before="linear interpolation",
            after="imputed (mean)",
            width_mm=self.width_mm,
        )

    def _row(self, kind: str, words: str, normal: int, indices: list[int]) -> Markup:
        figures = []
        for index in indices:
            place = f"{'ijk'[normal]} = {index}"
            picture = self.album.show(
                self._put(kind, normal, index),
                self._plane(normal),
                f"{NAMES[normal]} plane {place}: {words}",
                width_mm=self.width_mm,
                marks=kind == "mean",
                letters=kind == "mean" and index == indices[0],
            )
            figures.append(tag("figure", picture, tag("figcaption", f"{words}, {place}")))
        return tag("div", *figures, class_="row")

    def _put(self, kind: str, normal: int, index: int) -> str:
        u, v = (axis for axis in range(3) if axis != normal)
        image = self.result.images[kind].take(index, axis=normal)[self.box[u], self.box[v]]
        scale = self.std_scale if kind == "std" else self.window
        spacing_mm = self.result.volume.spacing_mm
        return self.album.put(image, scale, (spacing_mm[u], spacing_mm[v]))

    def _plane(self, normal: int) -> Plane:
        u, v = (axis for axis in range(3) if axis != normal)
        axis, box = self.result.axis, self.box
        across = (u, v).index(axis) if axis in (u, v) else -1
        slices = self._acquired()[box[axis]] if across >= 0 else np.zeros(0, bool)
        spacing_mm = self.result.volume.spacing_mm
        return Plane(
            NAMES[normal],
            (spacing_mm[u], spacing_mm[v]),
            (*ENDS[u], *ENDS[v]),
            across,
            tuple(np.flatnonzero(slices).tolist()),
        )

    def _acquired(self) -> Bool[np.ndarray, " n"]:
        others = tuple(axis for axis in range(3) if axis != self.result.axis)
        return np.asarray(self.result.volume.observed.any(axis=others))

    def _indices(self, normal: int) -> list[int]:
        """Returns where the mosaic cuts; across the slice axis as far from slices as can be."""
        box = self.box[normal]
        wanted = [box.start + share * (box.stop - box.start - 1) for share in SHARES]
        if normal != self.result.axis:
            return [round(place) for place in wanted]
        acquired = np.flatnonzero(self._acquired())
        places = np.arange(box.start, box.stop)
        far = np.abs(np.subtract.outer(places, acquired)).min(axis=1)
        inside = (places > acquired[0]) & (places < acquired[-1])
        middle = places[inside & (far == far[inside].max(initial=0))]
        if not len(middle):
            return [round(place) for place in wanted]
        return [int(middle[np.abs(middle - place).argmin()]) for place in wanted]


def _box(head: Bool[np.ndarray, "i j k"]) -> tuple[slice, slice, slice]:
    ends = []
    for axis in range(3):
        inside = np.flatnonzero(head.any(axis=tuple(n for n in range(3) if n != axis)))
        low, high = (inside[0], inside[-1] + 1) if len(inside) else (0, head.shape[axis])
        ends.append(slice(max(int(low) - MARGIN, 0), min(int(high) + MARGIN, head.shape[axis])))
    return ends[0], ends[1], ends[2]
