"""What a trained line network says about one scan, and how wrong it is on the scan's own slices.

The std of the network is multiplied by factors that were measured on the cohort, and then by what
lines hidden inside the scan's own acquired slices show: one scan is noisier than another. The same
lines say whether the network is any better there than interpolation: its departure from that is
shrunk as far as they ask for.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, t = offsets in an interval,
s = slices, x and y = inside a slice.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor

from mriimpute.cohort.slices import SliceScan
from mriimpute.device import on_device
from mriimpute.methods.cross_plane.conditioning import Directions
from mriimpute.methods.cross_plane.network import LineNetwork
from mriimpute.methods.cross_plane.predict import Fast, predict
from mriimpute.methods.cross_plane.work import CALIBRATION, PLANES, network_seconds
from mriimpute.methods.self_calibration import (
    FEWEST_ERRORS,
    Predict,
    Predictions,
    SelfCalibration,
    calibrate,
    hidden_predictions,
)
from mriimpute.progress import SILENT, Progress

__all__ = ["Factors", "LinePredictor"]

Factors = Mapping[int, NDArray[np.float32]]

Context = Float32[np.ndarray, "b n w"]
Images = Float32[np.ndarray, "b t m w"]

WIDEST_GAP = 1.5
"""The network serves gaps up to so many times the widest that it was calibrated on."""


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
        shown: Share of the pixels of lines that the network is shown, about: the work for those.
    """

    network: LineNetwork
    factors: Factors
    widest: int
    thickness_mm: float = 0.0
    shrinkages: Factors = field(default_factory=dict)
    fast: Fast | None = None
    progress: Progress = SILENT
    shown: float = 1.0

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
        work = network_seconds(self.shown * lines.numel(), gap, self.device)
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
        return calibrate(list(self.predictions(scan, gap)), gap)

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

    def predictions(self, scan: SliceScan, gap: int) -> Iterator[Predictions]:
        """Yields what it says of hidden lines of slices, in both directions."""
        return hidden_predictions(
            scan, gap, self.inside(scan, gap), thickness_mm=self.thickness_mm
        )

    def inside(
        self, scan: SliceScan, gap: int, *, air: float | None = None, with_variance: bool = True
    ) -> Predict:
        """Returns what predicts lines that are hidden inside slices.

        Args:
            scan: Says how large pixels are, and which way they run.
            gap: From one shown line to the next, in voxels.
            air: Intensity up to which there is nothing but air; None: that of the scan.
            with_variance: Otherwise the variance is empty.
        """

        def predict(context: Context, turn: bool) -> tuple[Images, Images]:
            across_mm, along_mm = scan.pixel_mm[:: -1 if turn else 1]
            mean, variance = self.plane(
                on_device(context, self.device),
                gap,
                across_mm=across_mm * scan.steps[turn],
                along_mm=along_mm,
                directions=scan.cosines[turn] + scan.cosines[not turn],
                air=scan.foreground if air is None else air,
                with_variance=with_variance,
                stage=CALIBRATION,
            )
            return mean.cpu().numpy(), variance.cpu().numpy()

        return predict

    def _thickness(self, gap_mm: float) -> float:
        """Returns the slice profile as a fraction of a gap."""
        return min(self.thickness_mm / gap_mm, 1.0)
