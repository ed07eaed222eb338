"""How a predictor does on lines hidden inside the slices of the very scan.

Its errors there say by how much its std is too small at each offset, how errors go together, and
whether it is any better than interpolation: its departure from that is shrunk as far as they ask
for.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, t = offsets in an interval,
s = slices, x and y = inside a slice.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

from mriimpute.cohort.foreground import depths_mm
from mriimpute.cohort.slices import SliceScan
from mriimpute.methods.lines import hide, linear_lines, pchip_between
from mriimpute.methods.noise import ErrorSums

__all__ = [
    "CALIBRATION_SLICES",
    "FEWEST_ERRORS",
    "INNER_MM",
    "TINY",
    "HiddenScore",
    "HiddenSlices",
    "Predict",
    "Predictions",
    "SelfCalibration",
    "calibrate",
    "calibration_quality",
    "fractions",
    "hidden_predictions",
    "hidden_score",
    "hidden_slices",
    "with_hidden_lines",
    "without_calibration_slices",
]

CALIBRATION_SLICES = 8
"""Slices on which errors are measured, at most."""

FEWEST_ERRORS = 2000
"""Target pixels of the head at each offset from which on a scan corrects its own std."""

INNER_MM = 10.0
"""From the surface of the head on: about where skin and skull end."""

Z90 = 1.645
"""Standard deviations from the middle of a Gaussian to either end of its 90 % interval."""

TINY = 1e-12
"""Instead of a std of 0: a scan without noise may be predicted without error."""

Images = Float32[np.ndarray, "b t m w"]

Predict: TypeAlias = Callable[[Float32[np.ndarray, "b n w"], bool], tuple[Images, Images]]
"""Takes the lines that are shown, and whether they follow each other along y; returns the mean and
the variance of those that are hidden."""


@dataclass(frozen=True, slots=True)
class HiddenScore:
    """How good predictions of hidden pixels of the head are.

    Attributes:
        gain_db: In PSNR over the better of linear and PCHIP interpolation; NaN where either is
            without error.
        coverage: Fraction of the pixels inside 90 % intervals; NaN without pixels.
        pixels: That were looked at.
    """

    gain_db: float
    coverage: float
    pixels: int


def hidden_score(
    squares: float, interpolated: Sequence[float], white: Sequence[NDArray[np.float32]]
) -> HiddenScore:
    """Returns the score of predictions.

    Args:
        squares: Sum of squared errors.
        interpolated: The same of each interpolation.
        white: Errors over their calibrated std.

    Example:
        >>> hidden_score(1.0, [10.0, 20.0], [np.array([0.1, -1.0, 1.6, 2.0], np.float32)])
        HiddenScore(gain_db=10.0, coverage=0.75, pixels=4)
    """
    best = min(interpolated, default=0.0)
    gain_db = 10 * math.log10(best / squares) if best > 0 and squares > 0 else math.nan
    pixels = sum(part.size for part in white)
    inside = sum(int((np.abs(part) < Z90).sum()) for part in white)
    return HiddenScore(gain_db, inside / pixels if pixels else math.nan, pixels)


@dataclass(frozen=True, slots=True, eq=False)
class SelfCalibration:
    """How a predictor does on lines hidden inside the slices of a scan.

    Attributes:
        errors: Standardised, of the head.
        inner: Those deep inside the head: errors at its surface are rougher than in the brain.
        shrinkage: How far to go from interpolation to the network, at each offset, in [0, 1].
        score: With that shrinkage, and the std that these errors ask for.
    """

    errors: ErrorSums
    inner: ErrorSums
    shrinkage: NDArray[np.float32]
    score: HiddenScore


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Images of which lines were hidden, and what is predicted of these.

    Attributes:
        target: The hidden lines.
        mean: By the predictor.
        variance: By the predictor.
        linear: By linear interpolation.
        pchip: By PCHIP interpolation.
        head: Which pixels count.
        inner: Which of these lie deep inside.
    """

    target: Float32[np.ndarray, "b t m w"]
    mean: Float32[np.ndarray, "b t m w"]
    variance: Float32[np.ndarray, "b t m w"]
    linear: Float32[np.ndarray, "b t m w"]
    pchip: Float32[np.ndarray, "b t m w"]
    head: Bool[np.ndarray, "b t m w"]
    inner: Bool[np.ndarray, "b t m w"]


@dataclass(frozen=True, slots=True, eq=False)
class HiddenSlices:
    """Slices of which lines are hidden, in one direction.

    Attributes:
        turn: Whether lines follow each other along y.
        context: The lines that are shown.
        target: Those that are hidden.
        depth: Of hidden pixels below the surface of the head, in mm; 0 in the air.
    """

    turn: bool
    context: Float32[np.ndarray, "b n w"]
    target: Float32[np.ndarray, "b t m w"]
    depth: Float32[np.ndarray, "b t m w"]


def hidden_slices(
    scan: SliceScan, numbers: NDArray[np.int64], gap: int, *, thickness_mm: float = 0.0
) -> Iterator[HiddenSlices]:
    """Yields slices with hidden lines, in both directions; none, where they are too small.

    Args:
        scan: Its slices alone are looked at.
        numbers: Of these, which.
        gap: From one shown line to the next, in voxels.
        thickness_mm: Full width at half maximum of the profile that shown lines are averages over.
    """
    chosen = scan.slices[numbers].astype(np.float32)
    depths = np.stack([depths_mm(one, scan.foreground, scan.pixel_mm) for one in chosen])
    for turn in (False, True):
        context, target = with_hidden_lines(chosen, scan, gap, turn, thickness_mm=thickness_mm)
        if context.shape[1] > 1:
            depth = with_hidden_lines(depths, scan, gap, turn)[1]
            yield HiddenSlices(turn, context, target, depth)


def with_hidden_lines(
    slices: Float32[np.ndarray, "s x y"],
    scan: SliceScan,
    gap: int,
    turn: bool,
    *,
    thickness_mm: float = 0.0,
) -> tuple[Float32[np.ndarray, "b n w"], Float32[np.ndarray, "b t m w"]]:
    """Returns the lines of slices that are shown, and those that are hidden.

    Args:
        slices: Of the scan, or of what lies on the same grid.
        scan: Says how large their pixels are.
        gap: From one shown line to the next, in voxels.
        turn: Whether lines follow each other along y.
        thickness_mm: See `hidden_slices`.
    """
    images = slices.transpose(0, 2, 1) if turn else slices
    across_mm = scan.pixel_mm[turn] * scan.steps[turn]
    thickness = min(thickness_mm / (gap * across_mm), 1.0)
    pairs = [hide(image, gap, scan.steps[turn], thickness) for image in images]
    context, target = (np.stack(part) for part in zip(*pairs, strict=True))
    return context, target


def hidden_predictions(
    scan: SliceScan, gap: int, predict: Predict, *, thickness_mm: float = 0.0
) -> Iterator[Predictions]:
    """Yields what is predicted of hidden lines of some slices, see `hidden_slices`.

    Args:
        scan: Its slices alone are looked at.
        gap: From one shown line to the next, in voxels.
        predict: What is to be judged.
        thickness_mm: See `hidden_slices`.
    """
    numbers = np.arange(0, len(scan.slices), _every(scan))
    for one in hidden_slices(scan, numbers, gap, thickness_mm=thickness_mm):
        mean, variance = predict(one.context, one.turn)
        linear = linear_lines(one.context, gap)
        # Not where the target pixel is bright: that selects by its error, too.
        head = linear > scan.foreground
        inner = head & (one.depth > INNER_MM)
        pchip = pchip_between(one.context, gap)
        yield Predictions(one.target, mean, variance, linear, pchip, head, inner)


def calibrate(predictions: Sequence[Predictions], gap: int) -> SelfCalibration:
    """Returns how predictions of hidden lines do, where the head is.

    Args:
        predictions: Of one scan.
        gap: From one shown line to the next, in voxels.
    """
    # A scan may be unlike all that the network has learnt from: smoother, say.
    steps = (
        (np.where(p.head, p.mean - p.pchip, np.float32(0)), p.target - p.pchip)
        for p in predictions
    )
    shrinkage = fractions(steps, gap, unmoved=1.0)
    errors, inner = ErrorSums(gap), ErrorSums(gap)
    each, squares = [], np.zeros(3)
    for p in predictions:
        mean = p.pchip + shrinkage[:, None, None] * (p.mean - p.pchip)
        error = (p.target - mean) / np.sqrt(p.variance)
        errors.add(error, p.head)
        inner.add(error, p.inner)
        each.append(error)
        squares += [_squares(p.target - by, p.head) for by in (mean, p.linear, p.pchip)]
    deviation = np.maximum(errors.deviation(), TINY).astype(np.float32)[:, None, None]
    white = [(e / deviation)[p.head] for e, p in zip(each, predictions, strict=True)]
    score = hidden_score(squares[0], squares[1:].tolist(), white)
    return SelfCalibration(errors, inner, shrinkage, score)


def calibration_quality(measured: Mapping[int, SelfCalibration]) -> dict[str, Any]:
    """Returns what lines hidden inside the scan's own slices show, by size of the gap."""
    return {
        str(gap): {
            "target_pixels": one.errors.fewest(),
            "error_over_std": round(float(one.errors.deviation().mean()), 4),
            "shrinkage": round(float(one.shrinkage.mean()), 4),
            "gain_db": round(one.score.gain_db, 4),
            "coverage_90": round(one.score.coverage, 4),
        }
        for gap, one in sorted(measured.items())
    }


def without_calibration_slices(scan: SliceScan) -> SliceScan | None:
    """Returns the slices that errors are not measured on; None where there are none."""
    rest = np.arange(len(scan.slices)) % _every(scan) > 0
    return dataclasses.replace(scan, slices=scan.slices[rest]) if rest.any() else None


def _every(scan: SliceScan) -> int:
    return max(2, -(-len(scan.slices) // CALIBRATION_SLICES))


def _squares(error: Float32[np.ndarray, "b t m w"], head: Bool[np.ndarray, "b t m w"]) -> float:
    return float(np.square(error[head]).sum(dtype=np.float64))


def fractions(
    pairs: Iterable[tuple[Images, Images]], gap: int, *, unmoved: float
) -> NDArray[np.float32]:
    """Returns the least-squares fraction of each step, 0 to 1, at each offset.

    Mirrored offsets are alike.

    Args:
        pairs: Steps, 0 where they do not count, and what they should be.
        gap: From one line to the next, in voxels.
        unmoved: The fraction where all steps are 0.
    """
    gained, moved = np.zeros(gap - 1), np.zeros(gap - 1)
    for step, wanted in pairs:
        gained += np.einsum("btmw,btmw->t", step, wanted, dtype=np.float64)
        moved += np.einsum("btmw,btmw->t", step, step, dtype=np.float64)
    gained, moved = gained + gained[::-1], moved + moved[::-1]
    fraction = np.where(moved > 0, gained / np.maximum(moved, 1e-30), unmoved)
    return np.clip(fraction, 0, 1).astype(np.float32)
