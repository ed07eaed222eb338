"""What a trained line network says about one scan, and how wrong it is on the scan's own slices.

The spread of the network is multiplied by factors that were measured on the cohort, and then by
what lines hidden inside the scan's own acquired slices show: one scan is noisier than another.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, t = offsets in an interval,
s = slices, x and y = inside a slice.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from mriimpute.data.lines import hide
from mriimpute.data.slices import SliceScan
from mriimpute.impute.noise import ErrorSums
from mriimpute.inference.cross_plane_network import predict
from mriimpute.nn.lines import LineNetwork

__all__ = ["Factors", "LinePredictor", "without_probes"]

Factors = Mapping[int, NDArray[np.float32]]

PROBES = 8
"""Slices on which errors are measured."""

FEWEST_ERRORS = 2000
"""Hidden pixels of the head at each offset from which on a scan corrects its own spread."""

FARTHEST = 1.5
"""The network serves gaps up to so many times the widest that it was calibrated on."""


@dataclass(frozen=True, slots=True, eq=False)
class LinePredictor:
    """A network, and the factors that calibrate its spread.

    Attributes:
        network: Trained.
        factors: What the spread is multiplied by, at each offset, by size of the gap in voxels.
        thickness_mm: Full width at half maximum of the slice profile; 0: point samples.
    """

    network: LineNetwork
    factors: Factors
    thickness_mm: float = 0.0

    def knows(self, gap: int) -> bool:
        """Tells whether it can be asked about a gap of so many voxels."""
        return bool(self.factors) and 1 < gap <= FARTHEST * max(self.factors)

    def factor(self, gap: int) -> NDArray[np.float32]:
        """Returns the factors of a gap; those of the nearest known one, where it is unknown."""
        if gap in self.factors:
            return self.factors[gap]
        nearest = min(self.factors, key=lambda known: abs(known - gap))
        here, there = (np.arange(1, size) / size for size in (gap, nearest))
        return np.interp(here, there, self.factors[nearest]).astype(np.float32)

    def plane(
        self, lines: Float32[np.ndarray, "b n w"], gap: int, *, across_mm: float, along_mm: float
    ) -> tuple[Float32[np.ndarray, "b t m w"], Float32[np.ndarray, "b t m w"]]:
        """Returns the mean and the calibrated variance between the lines of images.

        Args:
            lines: Normalised intensities.
            gap: From one line to the next, in voxels.
            across_mm: Size of such a voxel.
            along_mm: Size of the pixels of a line.
        """
        mean, std = predict(
            self.network,
            np.ascontiguousarray(lines),
            gap,
            gap_mm=gap * across_mm,
            along_mm=along_mm,
            thickness=self._share(gap * across_mm),
        )
        std *= self.factor(gap)[:, None, None]
        return mean, np.square(std, out=std)

    def errors(self, scan: SliceScan, gap: int) -> ErrorSums:
        """Returns what is wrong on lines hidden inside slices of a scan.

        They are standardised errors, where the head is; none, where slices are too small.
        """
        sums = ErrorSums(gap)
        middle = (np.arange(1, gap, dtype=np.float32) / gap)[:, None, None]
        probes = scan.slices[:: _every(scan)].astype(np.float32)
        for images, turn in ((probes, False), (probes.transpose(0, 2, 1), True)):
            across_mm, along_mm = scan.pixel_mm[:: -1 if turn else 1]
            across_mm *= scan.steps[turn]
            share = self._share(gap * across_mm)
            pairs = [hide(image, gap, scan.steps[turn], share) for image in images]
            kept, hidden = (np.stack(part) for part in zip(*pairs, strict=True))
            if kept.shape[1] < 2:
                continue
            mean, variance = self.plane(kept, gap, across_mm=across_mm, along_mm=along_mm)
            before, after = kept[:, None, :-1], kept[:, None, 1:]
            # Not where the hidden pixel is bright: that selects by its error, too.
            head = before + middle * (after - before) > scan.foreground
            sums.add((hidden - mean) / np.sqrt(variance), head)
        return sums

    def corrected(self, errors: Mapping[int, ErrorSums]) -> "LinePredictor":
        """Returns the predictor with the spread that errors on the scan itself show.

        Args:
            errors: By size of the gap.
        """
        own = {
            gap: (self.factor(gap) * sums.deviation()).astype(np.float32)
            for gap, sums in errors.items()
            if sums.fewest() >= FEWEST_ERRORS
        }
        return dataclasses.replace(self, factors={**self.factors, **own})

    def _share(self, gap_mm: float) -> float:
        return min(self.thickness_mm / gap_mm, 1.0)


def without_probes(scan: SliceScan) -> SliceScan | None:
    """Returns the slices that errors are not measured on; None where there are none."""
    rest = np.arange(len(scan.slices)) % _every(scan) > 0
    return dataclasses.replace(scan, slices=scan.slices[rest]) if rest.any() else None


def _every(scan: SliceScan) -> int:
    return max(2, -(-len(scan.slices) // PROBES))
