"""One plane of one scan per method, for the figure: nothing outside of the brain is kept.

A head can be recognised by its face. What lies outside of the brain is blanked here, before
anything is written, so neither the report nor its data can show one.

Axes: u, v = the two axes of the plane, in the order right, anterior, superior.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute.evaluate.cases import Exam
from mriimpute.files import atomic
from mriimpute.impute import Imputation

__all__ = ["Panel", "cut", "read_panel", "write_panel"]

ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
MARGIN = 2  # voxels around the brain

Plane = Float32[np.ndarray, "u v"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """What the figure shows of one method. NaN is blank: outside of the brain, or not acquired.

    Attributes:
        scan: Which scan.
        truth: What was there.
        sparse: What was acquired.
        mean: What was imputed.
        std: How sure the method says it is; all NaN where it says nothing.
        spacing_mm: Between voxels along u and v.
        data_range: Intensity that counts as the whole range.
        ends: Anatomical letters at the low and high end of u, then of v.
    """

    scan: str
    truth: Plane
    sparse: Plane
    mean: Plane
    std: Plane
    spacing_mm: tuple[float, float]
    data_range: float
    ends: tuple[str, str, str, str]


def cut(exam: Exam, imputation: Imputation) -> Panel:
    """Returns the plane that crosses the acquired slices and has the most voxels to score.

    Coronal where that crosses them, else axial: never a plane that shows a profile.
    """
    skipped = 2 if exam.stack is None else exam.stack.axis
    normal = 1 if skipped != 1 else 2
    u, v = (axis for axis in range(3) if axis != normal)
    index = int(np.argmax(exam.region.sum(axis=(u, v))))
    brain = np.moveaxis(exam.brain, (u, v, normal), (0, 1, 2))[:, :, index]
    window = _window(brain)

    def plane(image: Float32[np.ndarray, "i j k"] | Bool[np.ndarray, "i j k"]) -> np.ndarray:
        return np.moveaxis(image, (u, v, normal), (0, 1, 2))[:, :, index][window]

    def shown(image: Float32[np.ndarray, "i j k"]) -> Plane:
        return np.where(brain[window], plane(image), np.nan).astype(np.float32)

    std = imputation.std
    return Panel(
        scan=exam.case.name,
        truth=shown(exam.truth),
        sparse=np.where(plane(exam.volume.observed), shown(exam.volume.data), np.float32(np.nan)),
        mean=shown(imputation.mean),
        std=shown(np.full_like(exam.truth, np.nan) if std is None else std),
        spacing_mm=(exam.volume.spacing_mm[u], exam.volume.spacing_mm[v]),
        data_range=exam.data_range,
        ends=(*ENDS[u], *ENDS[v]),
    )


def write_panel(path: Path, panel: Panel) -> None:
    """Writes a panel, atomically."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        arrays = {name: np.asarray(getattr(panel, name)) for name in Panel.__slots__}
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_panel(path: Path) -> Panel:
    """Returns the panel at `path`."""
    with np.load(path) as stored:
        u_mm, v_mm = stored["spacing_mm"].tolist()
        u_low, u_high, v_low, v_high = stored["ends"].tolist()
        return Panel(
            scan=str(stored["scan"]),
            truth=stored["truth"],
            sparse=stored["sparse"],
            mean=stored["mean"],
            std=stored["std"],
            spacing_mm=(u_mm, v_mm),
            data_range=float(stored["data_range"]),
            ends=(u_low, u_high, v_low, v_high),
        )


def _window(brain: Bool[np.ndarray, "u v"]) -> tuple[slice, slice]:
    edges = []
    for other in (1, 0):
        inside = np.flatnonzero(brain.any(axis=other))
        edges.append(slice(max(0, int(inside[0]) - MARGIN), int(inside[-1]) + 1 + MARGIN))
    return edges[0], edges[1]
