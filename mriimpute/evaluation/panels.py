"""Three planes of one scan per method, for the figures: nothing outside of the brain is kept.

A head can be recognised by its face. What lies outside of the brain is blanked here, before
anything is written, so neither the report nor its data can show one.

Axes: u, v = the two axes of a plane, in the order right, anterior, superior; s = draws.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from mriimpute.evaluation.case import TestCase
from mriimpute.files import atomic
from mriimpute.geometry import Stack
from mriimpute.methods.base import Imputation

__all__ = ["Panel", "View", "cut", "read_panel", "write_panel"]

PLANES = ("sagittal", "coronal", "axial")  # by the axis that is normal to them
AXIS_ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
MARGIN_VOXELS = 2  # around the brain
SHOWN_DRAWS = 2
IMAGE_FIELDS = ("truth", "sparse", "mean", "std", "draws")
MAX_BRAIN_ML = 2200.0

Plane = Float32[np.ndarray, "u v"]
Image = Float32[np.ndarray, "i j k"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """One plane. NaN is blank: outside of the brain, or not acquired.

    Attributes:
        name: "coronal", "axial" or "sagittal".
        truth: In input units, as all images here.
        sparse: The acquired pixels.
        mean: The imputed values.
        std: The stated standard deviation; all NaN for a method that states none.
        draws: The first two; none where the method gives none.
        across: Axis of the plane that crosses the acquired slices, 0 or 1; -1: none does.
        slices: Where they cross it.
        spacing_mm: Between voxels along u and v.
        ends: Anatomical letters at the low and high end of u, then of v.
    """

    name: str
    truth: Plane
    sparse: Plane
    mean: Plane
    std: Plane
    draws: Float32[np.ndarray, "s u v"]
    across: int
    slices: Int[np.ndarray, " m"]
    spacing_mm: tuple[float, float]
    ends: tuple[str, str, str, str]

    @property
    def missing(self) -> Bool[np.ndarray, "u v"]:
        """Which pixels were not acquired, but have a truth."""
        return np.isfinite(self.truth) & np.isnan(self.sparse)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """What the figures show of one method.

    Attributes:
        scan: Name of the scan.
        data_range: Intensity that counts as the whole range.
        views: Planes that see the acquired slices from the side, then the one between two.
    """

    scan: str
    data_range: float
    views: tuple[View, ...]


def cut(case: TestCase, imputation: Imputation, *, draws: int = SHOWN_DRAWS) -> Panel:
    """Returns the planes with the most voxels to score; that between slices is far from them.

    The sagittal plane is left out where the brain is larger than any: it is a head's, then, and
    its profile would be a face.

    Args:
        case: Where the planes lie depends on this alone, so methods can be compared.
        imputation: Its mean, std and draws are shown.
        draws: How many to keep, where the method gives any; each is drawn for this.
    """
    axis = 2 if case.stack is None else case.stack.axis
    normals = [n for n in (1, 2, 0) if n != axis] + [axis]
    volume_ml = case.brain.sum() * np.prod(case.volume.spacing_mm) / 1000
    if case.protocol.whole_head or volume_ml > MAX_BRAIN_ML:
        normals.remove(0)
    images = _images(case, imputation, draws)
    return Panel(
        scan=case.source.name,
        data_range=case.data_range,
        views=tuple(_view(case, images, normal) for normal in normals),
    )


def write_panel(path: Path, panel: Panel) -> None:
    """Writes a panel, atomically, with images as fractions of the data range in half precision.

    One of 2000 grey levels is finer than any screen, and a third of the bytes.
    """
    arrays = {"scan": np.asarray(panel.scan), "data_range": np.asarray(panel.data_range)}
    for number, view in enumerate(panel.views):
        for field in dataclasses.fields(view):
            value = np.asarray(getattr(view, field.name))
            if field.name in IMAGE_FIELDS:
                value = _half_precision(value, panel.data_range)
            arrays[f"{number}_{field.name}"] = value
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_panel(path: Path) -> Panel:
    """Returns the panel at `path`."""
    with np.load(path) as stored:
        data_range = float(stored["data_range"])
        views: list[View] = []
        while f"{len(views)}_name" in stored:
            start = f"{len(views)}_"
            arrays = {field.name: stored[start + field.name] for field in _FIELDS}
            views.append(_restored(arrays, data_range))
        return Panel(scan=str(stored["scan"]), data_range=data_range, views=tuple(views))


_FIELDS = dataclasses.fields(View)


def _half_precision(
    image: Float32[np.ndarray, "*n"], data_range: float
) -> Float[np.ndarray, "*n"]:
    largest = np.finfo(np.float16).max  # a method may have diverged
    return np.clip(image / data_range, -largest, largest).astype(np.float16)


def _restored(arrays: dict[str, Any], data_range: float) -> View:
    images = {
        name: arrays[name].astype(np.float32) * np.float32(data_range) for name in IMAGE_FIELDS
    }
    plain = {
        "name": str(arrays["name"]),
        "across": int(arrays["across"]),
        "spacing_mm": tuple(arrays["spacing_mm"].tolist()),
        "ends": tuple(arrays["ends"].tolist()),
    }
    return View(**(arrays | images | plain))


def _images(case: TestCase, imputation: Imputation, draws: int) -> dict[str, Image]:
    blank = np.full_like(case.truth, np.nan)
    observed = case.volume.observed
    draw = imputation.draw
    shown = {
        "truth": case.truth,
        "sparse": np.where(observed, case.volume.data, blank),
        "mean": imputation.mean,
        "std": blank if imputation.std is None else imputation.std,
    } | ({f"draw{n}": draw(n) for n in range(1, draws + 1)} if draw else {})
    return {name: np.where(case.brain, image, blank) for name, image in shown.items()}


def _view(case: TestCase, images: dict[str, Image], normal: int) -> View:
    u, v = (axis for axis in range(3) if axis != normal)
    index = _best_index(case, normal)
    window = _window(case.brain.take(index, axis=normal))
    planes = {name: image.take(index, axis=normal)[window] for name, image in images.items()}
    draws = [planes.pop(name) for name in list(planes) if name.startswith("draw")]
    across, slices = _slices(case.stack, (u, v), window)
    return View(
        name=PLANES[normal],
        **planes,
        draws=np.stack(draws) if draws else np.empty((0, *planes["truth"].shape), np.float32),
        across=across,
        slices=slices,
        spacing_mm=(case.volume.spacing_mm[u], case.volume.spacing_mm[v]),
        ends=(*AXIS_ENDS[u], *AXIS_ENDS[v]),
    )


def _best_index(case: TestCase, normal: int) -> int:
    """Returns the index of the plane with the most voxels to score."""
    u, v = (axis for axis in range(3) if axis != normal)
    counts = case.region.sum(axis=(u, v))
    if case.stack is not None and case.stack.axis == normal:
        distances = np.abs(np.subtract.outer(np.arange(len(counts)), case.stack.positions)).min(
            axis=1
        )
        farthest = distances[counts > 0].max()
        counts = np.where(distances == farthest, counts, 0)
    return int(np.argmax(counts))


def _slices(
    stack: Stack | None, axes: tuple[int, int], window: tuple[slice, slice]
) -> tuple[int, Int[np.ndarray, " m"]]:
    """Returns which axis of a plane crosses the acquired slices, and where in the window."""
    if stack is None or stack.axis not in axes:
        return -1, np.empty(0, np.int64)
    across = axes.index(stack.axis)
    positions = np.array(stack.positions) - window[across].start
    length = window[across].stop - window[across].start
    return across, positions[(positions >= 0) & (positions < length)]


def _window(brain: Bool[np.ndarray, "u v"]) -> tuple[slice, slice]:
    edges = []
    for length, across in zip(brain.shape, (1, 0), strict=True):
        inside = np.flatnonzero(brain.any(axis=across))
        stop = min(length, int(inside[-1]) + 1 + MARGIN_VOXELS)
        edges.append(slice(max(0, int(inside[0]) - MARGIN_VOXELS), stop))
    return edges[0], edges[1]
