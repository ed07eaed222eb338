"""Affine registration of a head to a template.

The template's brain, dilated, says where the images are compared, so that a whole head with face
and neck, or a skull-stripped brain, registers to a skull-stripped template of another contrast.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from mriimpute.errors import VolumeError
from mriimpute.geometry import Affine, rotation
from mriimpute.registration import (
    LPS,
    Pair,
    as_itk,
    matrix_of,
    one_thread,
    optimised,
    thinned,
)
from mriimpute.simulation.brain import likely_centre
from mriimpute.simulation.template import Template

__all__ = ["register"]

PITCHES_DEG = (-25.0, 0.0, 25.0)  # a head nods more than it turns or tilts
# The MNI brain is larger than brains are. Started at scale 1 it grows onto the scalp, a
# local optimum, in one whole head of four; a brain already in MNI space needs scale 1.
SCALES = (0.85, 1.0)
CANDIDATES = 4
SIDES_MM = (8.0, 4.0, 2.0)
# Of the compared region around the brain. A wide rim finds the head, a narrow one fits it: far
# outside, the template is empty where a head is not.
MARGIN_MM = 4.0


def register(
    data: Float32[np.ndarray, "i j k"], affine: Affine, template: Template, *, name: str = "scan"
) -> Affine:
    """Returns the affine that takes template mm to scan mm.

    Mutual information is maximised rigidly from several starts on a coarse grid; the best few
    are freed to all twelve parameters there, and the best of these goes on to finer grids.

    Args:
        data: The scan; finite.
        affine: Of `data`.
        template: The common space.
        name: Names the scan in messages.

    Raises:
        VolumeError: If no plausible affine was found.
    """
    try:
        with one_thread():
            best = _searched(data, affine, template)
            for side_mm in SIDES_MM[1:]:
                pair = _pair(data, affine, template, side_mm=side_mm)
                _, best = optimised(pair, best, step_mm=0.5)
    except RuntimeError as error:
        raise _failure(name, "nothing overlaps the template") from error

    to_scan = LPS @ matrix_of(best) @ LPS
    growth = float(np.linalg.det(to_scan[:3, :3]))
    if not 0.2 < growth < 5:
        raise _failure(name, f"the template would grow by a factor of {growth:.2g}")
    return to_scan


def _failure(name: str, reason: str) -> VolumeError:
    return VolumeError(
        f"{name} could not be registered to the template: {reason}",
        hint="check the orientation in its header, or pass --no-register",
    )


def _pair(
    data: Float32[np.ndarray, "i j k"],
    affine: Affine,
    template: Template,
    *,
    side_mm: float,
    scale: float = 1.0,
) -> Pair:
    """Returns template and scan on grids of about `side_mm`, the template resized by `scale`."""
    resize = np.diag([scale, scale, scale, 1.0])
    resize[:3, 3] = (1 - scale) * template.centre_ras
    fixed, region, fixed_affine = _compared(template, side_mm)
    return Pair(
        fixed=as_itk(fixed, resize @ fixed_affine),
        region=as_itk(region.astype(np.uint8), resize @ fixed_affine),
        moving=as_itk(*thinned(data, affine, side_mm / 2, side_mm)),
    )


@lru_cache(maxsize=len(SIDES_MM))  # the same for every head
def _compared(
    template: Template, side_mm: float
) -> tuple[Float32[np.ndarray, "i j k"], Bool[np.ndarray, "i j k"], Affine]:
    near = template.outside_mm <= max(MARGIN_MM, side_mm)
    fixed, affine = thinned(template.data, template.affine, side_mm, side_mm)
    region, _ = thinned(near, template.affine, side_mm, 0.0)
    return fixed, region, affine


def _searched(data: Float32[np.ndarray, "i j k"], affine: Affine, template: Template) -> Any:
    """Returns the best affine on the coarsest grid, from all starts."""
    rigid = []
    for scale in SCALES:
        pair = _pair(data, affine, template, side_mm=SIDES_MM[0], scale=scale)
        for start in _starts(data, affine, template):
            value, transform = optimised(pair, start, step_mm=8.0)
            rigid.append((value, _freed(transform, scale)))
    likely = sorted(rigid, key=lambda candidate: candidate[0])[:CANDIDATES]
    pair = _pair(data, affine, template, side_mm=SIDES_MM[0])
    freed = [optimised(pair, start, step_mm=0.5) for _, start in likely]
    return min(freed, key=lambda candidate: candidate[0])[1]


def _starts(data: Float32[np.ndarray, "i j k"], affine: Affine, template: Template) -> list[Any]:
    """Returns rigid transforms, the brain in the middle of what is seen or below its top."""
    import SimpleITK as sitk  # noqa: N813

    starts = []
    for middle in likely_centre(data, affine):
        for pitch in PITCHES_DEG:
            start = sitk.Euler3DTransform()
            start.SetCenter((LPS[:3, :3] @ template.centre_ras).tolist())
            start.SetMatrix(rotation((pitch, 0.0, 0.0)).ravel().tolist())
            start.SetTranslation((LPS[:3, :3] @ (middle - template.centre_ras)).tolist())
            starts.append(start)
    return starts


def _freed(rigid: Any, scale: float) -> Any:
    """Returns the affine from the full-size template that a rigid one from a resized one means."""
    import SimpleITK as sitk  # noqa: N813

    free = sitk.AffineTransform(3)
    free.SetCenter(rigid.GetCenter())
    free.SetMatrix((scale * np.array(rigid.GetMatrix())).tolist())
    free.SetTranslation(rigid.GetTranslation())
    return free
