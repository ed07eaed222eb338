"""The pictures of one imputed scan, all to one scale and in one window, that of its brain.

Axes: i, j, k = right, anterior, superior; u, v = the two of them that span a plane.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from markupsafe import Markup

from mriimpute.imputation.coding import Coding
from mriimpute.report._brain import Brain
from mriimpute.report._html import tag
from mriimpute.report._pictures import SEQUENTIAL, Album, Plane, Scale, flicker, scale_bar
from mriimpute.volume import Volume

__all__ = ["Image", "Pictures", "Result"]

NAMES = ("sagittal", "coronal", "axial")
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
CUTS = (0.3, 0.43, 0.57, 0.7)  # of the head's extent: where the mosaics cut it
STD_PERCENTILE = 99.0
MARGIN = 4  # voxels around the head
UNITS = "units of the scan"

Image = Float32[np.ndarray, "i j k"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """What was written for a scan, and what it is compared with.

    Attributes:
        volume: The scan on the imputed grid, as `impute` saw it; in template space the mean.
        axis: The one across slices; -1 in template space, and where there are no slices.
        images: "mean", "std" and "draw" as far as written, "linear" in native space; coded.
        coding: Of volume and images: what is read off them is taken back to units of the file.
        difference: Largest |mean - scan| over acquired voxels; NaN in template space.
        record: The sidecar of the mean.
    """

    volume: Volume
    axis: int
    images: Mapping[str, Image]
    coding: Coding
    difference: float
    record: Mapping[str, Any]


class Pictures:
    """Planes of the imputed scan.

    Args:
        album: Keeps the pictures.
        result: What they show.
    """

    def __init__(self, album: Album, result: Result) -> None:
        self.album, self.result = album, result
        volume = result.volume
        brain = Brain(result.images["mean"], volume.spacing_mm)
        self.window = Scale("gray", *brain.window)
        self.head = result.images["mean"] > brain.air
        self.box = _box(self.head)
        std = result.images.get("std")
        top = 1.0 if std is None else brain.percentile(std, STD_PERCENTILE, ~volume.observed)
        self.std_scale = SEQUENTIAL(top if top > 0 else 1.0)._replace(blank=(0, 0, 0))
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
        notes = []
        if self.result.axis >= 0:
            notes.append(
                "Red lines at the margins: acquired slices. Planes along them lie as far away as "
                "can be."
            )
        if "draw" in self.result.images:
            notes.append("The draw is one sample of what the anatomy may be.")
        note = tag("p", " ".join(notes), class_="note") if notes else ""
        return tag("div", note, self.scales(), *parts, class_="mosaic")

    def scales(self) -> Markup:
        """Returns what grey and colours mean; both scales are those of the brain."""
        bars = [scale_bar(self.in_units(self.window), f"intensity, {UNITS}")]
        if "std" in self.result.images:
            bars.append(scale_bar(self.std_in_units, f"standard deviation, {UNITS}"))
        return tag("div", *bars, class_="scales")

    def in_units(self, scale: Scale) -> Scale:
        """Returns a scale of intensities with its ends in the units of the file."""
        low, high = self.result.coding.decode(np.array([scale.low, scale.high])).tolist()
        return scale._replace(low=low, high=high)

    @property
    def std_in_units(self) -> Scale:
        """The scale of standard deviations with its ends in the units of the file."""
        ends = np.array([self.std_scale.low, self.std_scale.high])
        low, high = self.result.coding.decode_difference(ends).tolist()
        return self.std_scale._replace(low=low, high=high)

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
                slices=kind == "mean",
                sides=kind == "mean" and index == indices[0],
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
        slices = self.acquired()[box[axis]] if across >= 0 else np.zeros(0, bool)
        spacing_mm = self.result.volume.spacing_mm
        return Plane(
            NAMES[normal],
            (spacing_mm[u], spacing_mm[v]),
            (*ENDS[u], *ENDS[v]),
            across,
            tuple(np.flatnonzero(slices).tolist()),
        )

    def acquired(self) -> Bool[np.ndarray, " n"]:
        """Returns which slices along the refined axis hold anything acquired."""
        in_plane = tuple(axis for axis in range(3) if axis != self.result.axis)
        return np.asarray(self.result.volume.observed.any(axis=in_plane))

    def _indices(self, normal: int) -> list[int]:
        """Returns where the mosaic cuts; across the slice axis as far from slices as can be."""
        box = self.box[normal]
        places = [box.start + cut * (box.stop - box.start - 1) for cut in CUTS]
        if normal != self.result.axis:
            return [round(place) for place in places]
        acquired = np.flatnonzero(self.acquired())
        indices = np.arange(box.start, box.stop)
        far = np.abs(np.subtract.outer(indices, acquired)).min(axis=1)
        inside = (indices > acquired[0]) & (indices < acquired[-1])
        middle = indices[inside & (far == far[inside].max(initial=0))]
        if not len(middle):
            return [round(place) for place in places]
        return [int(middle[np.abs(middle - place).argmin()]) for place in places]


def _box(head: Bool[np.ndarray, "i j k"]) -> tuple[slice, slice, slice]:
    ends = []
    for axis in range(3):
        inside = np.flatnonzero(head.any(axis=tuple(n for n in range(3) if n != axis)))
        low, high = (inside[0], inside[-1] + 1) if len(inside) else (0, head.shape[axis])
        ends.append(slice(max(int(low) - MARGIN, 0), min(int(high) + MARGIN, head.shape[axis])))
    return ends[0], ends[1], ends[2]
