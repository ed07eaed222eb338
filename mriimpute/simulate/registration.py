"""Affine registration of a head to a template.

The template's brain, dilated, says where the images are compared, so that a whole head with face
and neck, or a skull-stripped brain, registers to a skull-stripped template of another contrast.
Frames are in mm right, anterior, superior (RAS); SimpleITK counts towards left and posterior, and
`LPS` is the one place where this is known.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy import ndimage

from mriimpute.errors import VolumeError
from mriimpute.geometry import Affine, rotation, spacing_mm, transform
from mriimpute.io import read_scan
from mriimpute.simulate.brain import find_labels, foreground, likely_centre, read_labels

__all__ = ["Template", "load_template", "mni152", "register"]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

MARGIN_MM = 5.0  # of the compared region around the brain: its rim is what drives the scale
PITCHES_DEG = (-25.0, 0.0, 25.0)  # a head nods more than it turns or tilts
# The MNI brain is larger than heads are. Started at its own size it grows onto the scalp, a local
# optimum, in one head of four; started smaller it does not, and a larger head is still reached.
SCALE = 0.85
CANDIDATES = 3
FINEST_MM = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A head, or a brain, in the common space.

    Attributes:
        path: Where it was read.
        data: Intensities.
        brain: True inside the brain.
        region: True where a head is compared with it: the brain and a margin.
        affine: From voxel indices to mm right, anterior, superior.
        centre_ras: Middle of the brain's bounding box, in mm.
    """

    path: Path
    data: Float32[np.ndarray, "i j k"]
    brain: Bool[np.ndarray, "i j k"]
    region: Bool[np.ndarray, "i j k"]
    affine: Affine
    centre_ras: Float64[np.ndarray, " 3"]


def mni152() -> Path:
    """Returns the skull-stripped MNI ICBM152 T1 (1 mm) that nilearn's wheel ships.

    Nilearn itself is not imported: it is slow to, and only its file is wanted.

    Raises:
        VolumeError: If nilearn is not installed or no longer ships it.
    """
    name = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    package = find_spec("nilearn")
    if package and package.submodule_search_locations:
        path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / name
        if path.exists():
            return path
    raise VolumeError(f"nilearn does not ship {name}", hint="pass --template FILE")


def load_template(path: Path) -> Template:
    """Returns the template at `path`; a brain mask or label map beside it is used where found."""
    volume = read_scan(path).volume
    data = np.where(volume.observed, volume.data, np.float32(0))
    labels = find_labels(path)
    brain = (
        read_labels(labels[0], shape=volume.shape, affine=volume.affine) > 0
        if labels
        else foreground(data)
    )
    corners = np.argwhere(brain)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    reach = ndimage.distance_transform_edt(~brain, sampling=spacing_mm(volume.affine))
    return Template(
        path=path,
        data=data,
        brain=brain,
        region=reach <= MARGIN_MM,
        affine=volume.affine,
        centre_ras=transform(volume.affine, middle),
    )


def register(
    data: Float32[np.ndarray, "i j k"], affine: Affine, template: Template, *, name: str = "scan"
) -> Affine:
    """Returns the affine that takes template mm to scan mm.

    Mutual information is maximised rigidly from several starts on a coarse grid; the best few
    are freed to all twelve parameters there, and the best of these goes on to finer grids. One
    thread and fixed samples: the same scan gives the same bits on every run.

    References:
        Mattes et al., PET-CT image registration in the chest using free-form deformations, 2003.

    Args:
        data: The scan; finite.
        affine: Of `data`.
        template: The common space.
        name: Names the scan in messages.

    Raises:
        VolumeError: If no plausible affine was found.
    """
    small, full = _compared(template, SCALE), _compared(template, 1.0)
    moving = _image(*_coarse(data, affine))
    try:
        with _one_thread():
            rigid = [
                _optimised(small, moving, start, levels=(4,), step_mm=8.0)
                for start in _starts(data, affine, template)
            ]
            likely = sorted(rigid, key=lambda found: found[0])[:CANDIDATES]
            freed = [
                _optimised(full, moving, _freed(start), levels=(4,), step_mm=0.5)
                for _, start in likely
            ]
            _, best = min(freed, key=lambda found: found[0])
            _, best = _optimised(full, moving, best, levels=(2, 1), step_mm=0.5)
    except RuntimeError as error:
        raise _failure(name, "nothing overlaps the template") from error

    found = LPS @ _matrix(best) @ LPS
    growth = float(np.linalg.det(found[:3, :3]))
    if not 0.2 < growth < 5:
        raise _failure(name, f"the template would grow by a factor of {growth:.2g}")
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    import SimpleITK as sitk  # noqa: N813 - its documented alias

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _failure(name: str, reason: str) -> VolumeError:
    return VolumeError(
        f"{name} could not be registered to the template: {reason}",
        hint="check the orientation in its header, or pass --no-register",
    )


def _compared(template: Template, scale: float) -> tuple[Any, Any]:
    """Returns the template, resized about the brain's centre, and where it is compared."""
    resize = np.diag([scale, scale, scale, 1.0])
    resize[:3, 3] = (1 - scale) * template.centre_ras
    data, affine = _coarse(template.data, template.affine)
    step = [round(n / m) for n, m in zip(template.data.shape, data.shape, strict=True)]
    region = template.region[:: step[0], :: step[1], :: step[2]]
    return _image(data, resize @ affine), _image(region.astype(np.uint8), resize @ affine)


def _coarse(
    data: Float32[np.ndarray, "i j k"], affine: Affine
) -> tuple[Float32[np.ndarray, "i2 j2 k2"], Affine]:
    """Returns the image on about the finest grid that is compared: all that follows is faster."""
    i, j, k = (max(1, round(FINEST_MM / side)) for side in spacing_mm(affine).tolist())
    smooth = ndimage.gaussian_filter(data, [(n - 1) / 2 for n in (i, j, k)])
    return smooth[::i, ::j, ::k], affine @ np.diag([i, j, k, 1.0])


def _image(data: Any, affine: Affine) -> Any:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    lps, spacing = LPS @ affine, spacing_mm(affine)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def _starts(data: Float32[np.ndarray, "i j k"], affine: Affine, template: Template) -> list[Any]:
    """Returns rigid transforms with the brain at the middle of what is seen, or below its top."""
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


def _freed(rigid: Any) -> Any:
    """Returns the affine from the full-size template that a rigid one from `SCALE` stands for."""
    import SimpleITK as sitk  # noqa: N813

    free = sitk.AffineTransform(3)
    free.SetCenter(rigid.GetCenter())
    free.SetMatrix((SCALE * np.array(rigid.GetMatrix())).tolist())
    free.SetTranslation(rigid.GetTranslation())
    return free


def _optimised(
    compared: tuple[Any, Any], moving: Any, start: Any, *, levels: tuple[int, ...], step_mm: float
) -> tuple[float, Any]:
    """Returns the lowest negative mutual information and the transform that reaches it."""
    import SimpleITK as sitk  # noqa: N813

    fixed, region = compared
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    method.SetMetricFixedMask(region)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel([min(1.0, 0.08 * n**2) for n in levels], 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step_mm,
        minStep=step_mm / 200,
        numberOfIterations=60,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(levels))
    method.SetSmoothingSigmasPerLevel([n * FINEST_MM / 2 for n in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return method.GetMetricValue(), start


def _matrix(found: Any) -> Affine:
    linear, centre = np.array(found.GetMatrix()).reshape(3, 3), np.array(found.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + np.array(found.GetTranslation()) - linear @ centre
    return matrix
