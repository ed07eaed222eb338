"""Rigid and affine registration of images of a head, by mutual information.

Frames are in mm right, anterior, superior (RAS); SimpleITK counts towards left and posterior, and
`LPS` is the one place where this is known. One thread and fixed samples: the same images give the
same bits on every run.

References:
    Mattes et al., PET-CT image registration in the chest using free-form deformations, 2003.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped
from scipy import ndimage

from mriimpute.geometry import Affine, spacing_mm, transform

__all__ = [
    "LPS",
    "NO_MOTION",
    "Motion",
    "Pair",
    "as_itk",
    "matrix_of",
    "motion_between",
    "one_thread",
    "optimised",
    "thinned",
]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

SAMPLES = 25_000  # voxels that the metric compares

SIDES_MM = (4.0, 2.0, 1.5)
"""Of the grids on which the motion between two scans is sought, one after the other."""

FARTHEST_MM, WIDEST_DEG = 40.0, 30.0
"""A head does not move farther between two series of one exam; a registration that fails may."""

LEAST_GAIN = 1e-3
"""Of mutual information, in nats: a motion that explains less is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """SimpleITK images to compare.

    Attributes:
        fixed: One of them.
        region: Where it counts.
        moving: The other one.
    """

    fixed: Any
    region: Any
    moving: Any


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """How a head moved from one scan to another.

    Attributes:
        matrix: From mm of the one to mm of the other.
        shift_mm: Way of the middle of the head.
        turn_deg: Angle of the rotation.
        gain: Of mutual information over what the headers say, in nats; 0: they are as good.
    """

    matrix: Affine
    shift_mm: float
    turn_deg: float
    gain: float

    def inverse(self) -> "Motion":
        """Returns the motion back."""
        return replace(self, matrix=np.linalg.inv(self.matrix))


NO_MOTION = Motion(np.eye(4), 0.0, 0.0, 0.0)


def motion_between(
    fixed: Float32[np.ndarray, "i j k"],
    affine: Affine,
    moving: Float32[np.ndarray, "a b c"],
    moving_affine: Affine,
) -> Motion:
    """Returns how a head moved between two scans of one exam, whatever their contrasts.

    The search begins where the headers put both scans. What is found is taken where it explains
    more than the headers do, and is no more than a head can move: otherwise it is `NO_MOTION`.

    Args:
        fixed: One scan; finite.
        affine: Of it.
        moving: The other; finite.
        moving_affine: Of it.

    Raises:
        ValueError: If they do not overlap.
    """
    import SimpleITK as sitk  # noqa: N813 - its documented alias

    weight = fixed - fixed.min()
    middle = ndimage.center_of_mass(weight) if weight.any() else (np.array(fixed.shape) - 1) / 2
    centre = transform(affine, np.array(middle))
    found = sitk.Euler3DTransform()
    found.SetCenter((LPS[:3, :3] @ centre).tolist())
    stay = sitk.Euler3DTransform(found)
    try:
        with one_thread():
            for side_mm in SIDES_MM:
                thin, thin_affine = thinned(fixed, affine, side_mm, side_mm / 2)
                other = as_itk(*thinned(moving, moving_affine, side_mm, side_mm / 2))
                # The air, too: without it a head may slide along its own surface.
                everywhere = np.ones(thin.shape, np.uint8)
                pair = Pair(as_itk(thin, thin_affine), as_itk(everywhere, thin_affine), other)
                value, found = optimised(pair, found, step_mm=side_mm / 4, samples=2 * SAMPLES)
            before = _compared(pair, 2 * SAMPLES, stay).MetricEvaluate(pair.fixed, pair.moving)
    except RuntimeError as error:
        raise ValueError("the scans do not overlap") from error
    matrix = LPS @ matrix_of(found) @ LPS
    shift_mm = float(np.linalg.norm(transform(matrix, centre) - centre))
    turn_deg = math.degrees(math.acos(float(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))))
    gain = before - value
    if gain < LEAST_GAIN or shift_mm > FARTHEST_MM or turn_deg > WIDEST_DEG:
        return NO_MOTION
    return Motion(matrix, shift_mm, turn_deg, gain)


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets SimpleITK compute in one thread: sums over samples depend on how many there are."""
    import SimpleITK as sitk  # noqa: N813

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def thinned(
    data: Shaped[np.ndarray, "i j k"], affine: Affine, side_mm: float, blur_mm: float
) -> tuple[Shaped[np.ndarray, "i2 j2 k2"], Affine]:
    """Returns every n-th voxel, so that sides are about `side_mm`, blurred by `blur_mm`."""
    sides = spacing_mm(affine).tolist()
    i, j, k = (max(1, round(side_mm / side)) for side in sides)
    if blur_mm:
        data = ndimage.gaussian_filter(data, [blur_mm / 2 / side for side in sides])
    return data[::i, ::j, ::k], affine @ np.diag([i, j, k, 1.0])


def as_itk(data: Any, affine: Affine) -> Any:
    """Returns an image of SimpleITK; its axes are made perpendicular."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    lps, spacing = LPS @ affine, spacing_mm(affine)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    return image


def optimised(
    pair: Pair, start: Any, *, step_mm: float, samples: int = SAMPLES
) -> tuple[float, Any]:
    """Returns the lowest negative mutual information and the transform that reaches it.

    Args:
        pair: To compare.
        start: Where the search begins; it is changed.
        step_mm: Of the first step.
        samples: Voxels to compare, about.
    """
    method = _compared(pair, samples, start)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step_mm,
        minStep=step_mm / 200,
        numberOfIterations=60,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.Execute(pair.fixed, pair.moving)
    return method.GetMetricValue(), start


def matrix_of(transform: Any) -> Affine:
    """Returns the matrix of an affine of SimpleITK, in its own frame."""
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + np.array(transform.GetTranslation()) - linear @ centre
    return matrix


def _compared(pair: Pair, samples: int, start: Any) -> Any:
    """Returns what compares a pair by mutual information."""
    import SimpleITK as sitk  # noqa: N813

    inside = int(np.count_nonzero(sitk.GetArrayViewFromImage(pair.region)))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    method.SetMetricFixedMask(pair.region)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, samples / max(inside, 1)), 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(start, inPlace=True)
    return method
