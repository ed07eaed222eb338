"""What a trained line network says about one scan, and how wrong it is on the scan's own slices.

The std of the network is multiplied by factors that were measured on the cohort, and then by what
lines hidden inside the scan's own acquired slices show: one scan is noisier than another. The same
lines say whether the network is any better there than interpolation: its departure from that is
shrunk as far as they ask for.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, t = offsets in an interval,
s = slices, x and y = inside a slice.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from torch import Tensor

from mriimpute.cohort.foreground import depths_mm
from mriimpute.cohort.slices import SliceScan
from mriimpute.device import on_device
from mriimpute.methods.cross_plane.conditioning import Directions, offsets
from mriimpute.methods.cross_plane.hidden_lines import hide, pchip_between
from mriimpute.methods.cross_plane.network import LineNetwork, linear_between
from mriimpute.methods.cross_plane.predict import Fast, predict
from mriimpute.methods.cross_plane.work import CALIBRATION, PLANES, network_seconds
from mriimpute.methods.noise import ErrorSums
from mriimpute.progress import SILENT, Progress

__all__ = [
    "CALIBRATION_SLICES",
    "INNER_MM",
    "TINY",
    "Factors",
    "HiddenScore",
    "LinePredictor",
    "SelfCalibration",
    "hidden_score",
    "without_calibration_slices",
]

Factors = Mapping[int, NDArray[np.float32]]

CALIBRATION_SLICES = 8
"""Slices on which errors are measured, at most."""

FEWEST_ERRORS = 2000
"""Target pixels of the head at each offset from which on a scan corrects its own std."""

INNER_MM = 10.0
"""From the surface of the head on: about where skin and skull end."""

WIDEST_GAP = 1.5
"""The network serves gaps up to so many times the widest that it was calibrated on."""

Z90 = 1.645
"""Standard deviations from the middle of a Gaussian to either end of its 90 % interval."""

TINY = 1e-12
"""Instead of a std of 0: a scan without noise may be predicted without error."""


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
class _Predictions:
    """Images of which lines were hidden, and what is predicted of these.

    Attributes:
        target: The hidden lines.
        mean: By the network.
        variance: By the network, calibrated.
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
class LinePredictor:
    """A network, and the factors that calibrate its std.

    Attributes:
        network: Trained.
        factors: What the std is multiplied by, at each offset, by size of the gap in voxels.
        widest: Largest gap that it can be asked about, in voxels.
        thickness_mm: Full width at half maximum of the slice profile; 0: point samples.
        shrinkages: How far to go from interpolation to the network, at each offset, by gap; all
            the way, where nothing is known.
        fast: How a CPU computes faster; None: it does not.
        progress: Is told how far it is.
    """

    network: LineNetwork
    factors: Factors
    widest: int
    thickness_mm: float = 0.0
    shrinkages: Factors = field(default_factory=dict)
    fast: Fast | None = None
    progress: Progress = SILENT

    @classmethod
    def of(
        cls,
        network: LineNetwork,
        factors: Factors,
        thickness_mm: float,
        progress: Progress = SILENT,
    ) -> "LinePredictor":
        """Returns the predictor for gaps up to a little beyond those with factors."""
        widest = int(WIDEST_GAP * max(factors, default=0))
        return cls(network, factors, widest, thickness_mm, progress=progress)

    def knows(self, gap: int) -> bool:
        """Tells whether it can be asked about a gap of so many voxels."""
        return 1 < gap <= self.widest

    def factor(self, gap: int) -> NDArray[np.float32]:
        """Returns the factors of a gap; those of the nearest known one, where it is unknown."""
        if gap in self.factors:
            return self.factors[gap]
        nearest = min(self.factors, key=lambda known: abs(known - gap))
        here, there = (np.arange(1, size) / size for size in (gap, nearest))
        return np.interp(here, there, self.factors[nearest]).astype(np.float32)

    def shrinkage(self, gap: int) -> NDArray[np.float32]:
        """Returns how far to go from interpolation to the network at each offset, 0 to 1."""
        return self.shrinkages.get(gap, np.ones(gap - 1, np.float32))

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.network.parameters()).device

    def plane(
        self,
        lines: Float32[Tensor, "b n w"],
        gap: int,
        *,
        across_mm: float,
        along_mm: float,
        directions: Directions,
        air: float,
        with_variance: bool = True,
        stage: str = PLANES,
    ) -> tuple[Float32[Tensor, "b t m w"], Float32[Tensor, "..."]]:
        """Returns the mean and the calibrated variance between the lines of images.

        Args:
            lines: Normalised intensities, on the device of the network.
            gap: From one line to the next, in voxels.
            across_mm: Size of such a voxel.
            along_mm: Size of the pixels of a line.
            directions: Which way the gap and the lines run through the head.
            air: Intensity up to which there is nothing but air, which is interpolated.
            with_variance: Otherwise the variance is empty.
            stage: Of the work, see `mriimpute.methods.cross_plane.work`.
        """
        work = network_seconds(float(lines.numel()), gap, self.device)
        factor = on_device(self.factor(gap), lines.device)
        mean, std = predict(
            self.network,
            lines,
            gap,
            gap_mm=gap * across_mm,
            along_mm=along_mm,
            directions=directions,
            thickness=self._thickness(gap * across_mm),
            air=air,
            with_std=with_variance,
            fast=self.fast,
            told=lambda share: self.progress.advance(stage, share * work),
            air_std=1 / factor,  # it is measured, and needs no factor
        )
        if not with_variance:
            return mean, std
        return mean, std.mul_(factor[:, None, None]).square_()

    def self_calibration(self, scan: SliceScan, gap: int) -> SelfCalibration:
        """Returns how it does on lines hidden inside slices of a scan, where the head is."""
        predictions = list(self._predictions(scan, gap))
        shrinkage = _shrinkage(predictions, gap)
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

    def calibrated(self, measured: Mapping[int, SelfCalibration]) -> "LinePredictor":
        """Returns the predictor with the std, and the shrinkage, that a scan itself suggests.

        Args:
            measured: By size of the gap; what was measured on too few errors is left out.
        """
        known = {g: one for g, one in measured.items() if one.errors.fewest() >= FEWEST_ERRORS}
        factors = {
            gap: (self.factor(gap) * one.errors.deviation()).astype(np.float32)
            for gap, one in known.items()
        }
        shrinkages = {gap: one.shrinkage for gap, one in known.items()}
        return dataclasses.replace(
            self, factors={**self.factors, **factors}, shrinkages=shrinkages
        )

    def _predictions(self, scan: SliceScan, gap: int) -> Iterator[_Predictions]:
        """Yields slices with hidden lines, in both directions; none, where they are too small."""
        places = offsets(gap)[:, None, None]
        chosen = scan.slices[:: _every(scan)].astype(np.float32)
        depths = np.stack([depths_mm(one, scan.foreground, scan.pixel_mm) for one in chosen])
        for turn in (False, True):
            images, depth = (
                stack.transpose(0, 2, 1) if turn else stack for stack in (chosen, depths)
            )
            across_mm, along_mm = scan.pixel_mm[:: -1 if turn else 1]
            across_mm *= scan.steps[turn]
            thickness = self._thickness(gap * across_mm)
            pairs = [hide(image, gap, scan.steps[turn], thickness) for image in images]
            context, target = (np.stack(part) for part in zip(*pairs, strict=True))
            if context.shape[1] < 2:
                continue
            lines = on_device(context, self.device)
            moments = self.plane(
                lines,
                gap,
                across_mm=across_mm,
                along_mm=along_mm,
                directions=scan.cosines[turn] + scan.cosines[not turn],
                air=scan.foreground,
                stage=CALIBRATION,
            )
            mean, variance = (part.cpu().numpy() for part in moments)
            shown = torch.from_numpy(context)[:, None]
            linear = linear_between(shown[..., :-1, :], shown[..., 1:, :], places).numpy()
            # Not where the target pixel is bright: that selects by its error, too.
            head = linear > scan.foreground
            below = np.stack([hide(one, gap, scan.steps[turn])[1] for one in depth])
            inner = head & (below > INNER_MM)
            pchip = pchip_between(context, gap)
            yield _Predictions(target, mean, variance, linear, pchip, head, inner)

    def _thickness(self, gap_mm: float) -> float:
        """Returns the slice profile as a fraction of a gap."""
        return min(self.thickness_mm / gap_mm, 1.0)


def without_calibration_slices(scan: SliceScan) -> SliceScan | None:
    """Returns the slices that errors are not measured on; None where there are none."""
    rest = np.arange(len(scan.slices)) % _every(scan) > 0
    return dataclasses.replace(scan, slices=scan.slices[rest]) if rest.any() else None


def _every(scan: SliceScan) -> int:
    return max(2, -(-len(scan.slices) // CALIBRATION_SLICES))


def _squares(error: Float32[np.ndarray, "b t m w"], head: Bool[np.ndarray, "b t m w"]) -> float:
    return float(np.square(error[head]).sum(dtype=np.float64))


def _shrinkage(predictions: Sequence[_Predictions], gap: int) -> NDArray[np.float32]:
    """Returns the least-squares fraction of the network's departure from interpolation, 0 to 1.

    A scan may be unlike all that the network has learnt from: smoother, say. Mirrored offsets are
    alike.
    """
    gained, moved = np.zeros(gap - 1), np.zeros(gap - 1)
    for p in predictions:
        step = np.where(p.head, p.mean - p.pchip, np.float32(0))
        gained += np.einsum("btmw,btmw->t", step, p.target - p.pchip, dtype=np.float64)
        moved += np.einsum("btmw,btmw->t", step, step, dtype=np.float64)
    gained, moved = gained + gained[::-1], moved + moved[::-1]
    fraction = np.where(moved > 0, gained / np.maximum(moved, 1e-30), 1.0)
    return np.clip(fraction, 0, 1).astype(np.float32)
