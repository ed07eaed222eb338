"""What a trained line network says about one scan, and how wrong it is on the scan's own slices.

The spread of the network is multiplied by factors that were measured on the cohort, and then by
what lines hidden inside the scan's own acquired slices show: one scan is noisier than another. The
same lines say whether the network is any better there than interpolation.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, t = offsets in an interval,
s = slices, x and y = inside a slice.
"""

import dataclasses
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
from mriimpute.methods.cross_plane.hidden_lines import hide, monotone
from mriimpute.methods.cross_plane.network import LineNetwork
from mriimpute.methods.cross_plane.predict import predicted
from mriimpute.methods.noise import ErrorSums

__all__ = ["Factors", "LinePredictor", "Probed", "without_probes"]

Factors = Mapping[int, NDArray[np.float32]]

PROBES = 8
"""Slices on which errors are measured."""

FEWEST_ERRORS = 2000
"""Hidden pixels of the head at each offset from which on a scan corrects its own spread."""

INNER_MM = 10.0
"""From the surface of the head on: about where skin and skull end."""

FARTHEST = 1.5
"""The network serves gaps up to so many times the widest that it was calibrated on."""


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """How a predictor does on lines hidden inside the slices of a scan.

    Attributes:
        errors: Standardised, of the head.
        inner: Those deep inside the head: errors at its surface are rougher than in the brain.
        trust: How far to go from interpolation to the network, at each offset.
    """

    errors: ErrorSums
    inner: ErrorSums
    trust: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """Images of which lines were hidden, and what is said about these.

    Attributes:
        hidden: The lines.
        mean: What the network says.
        variance: How sure it is.
        smooth: What monotone interpolation says.
        head: Which pixels count.
        inner: Which of these lie deep inside.
    """

    hidden: Float32[np.ndarray, "b t m w"]
    mean: Float32[np.ndarray, "b t m w"]
    variance: Float32[np.ndarray, "b t m w"]
    smooth: Float32[np.ndarray, "b t m w"]
    head: Bool[np.ndarray, "b t m w"]
    inner: Bool[np.ndarray, "b t m w"]


@dataclass(frozen=True, slots=True, eq=False)
class LinePredictor:
    """A network, and the factors that calibrate its spread.

    Attributes:
        network: Trained.
        factors: What the spread is multiplied by, at each offset, by size of the gap in voxels.
        widest: Largest gap that it can be asked about, in voxels.
        thickness_mm: Full width at half maximum of the slice profile; 0: point samples.
        trust: How far to go from interpolation to the network, at each offset, by gap; all the
            way, where nothing is known.
    """

    network: LineNetwork
    factors: Factors
    widest: int
    thickness_mm: float = 0.0
    trust: Factors = field(default_factory=dict)

    @classmethod
    def of(cls, network: LineNetwork, factors: Factors, thickness_mm: float) -> "LinePredictor":
        """Returns the predictor for gaps up to a little beyond those with factors."""
        return cls(network, factors, int(FARTHEST * max(factors, default=0)), thickness_mm)

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

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.network.parameters()).device

    def plane(
        self, lines: Float32[Tensor, "b n w"], gap: int, *, across_mm: float, along_mm: float
    ) -> tuple[Float32[Tensor, "b t m w"], Float32[Tensor, "b t m w"]]:
        """Returns the mean and the calibrated variance between the lines of images.

        Args:
            lines: Normalised intensities, on the device of the network.
            gap: From one line to the next, in voxels.
            across_mm: Size of such a voxel.
            along_mm: Size of the pixels of a line.
        """
        mean, std = predicted(
            self.network,
            lines,
            gap,
            gap_mm=gap * across_mm,
            along_mm=along_mm,
            thickness=self._share(gap * across_mm),
        )
        factor = on_device(self.factor(gap), lines.device)[:, None, None]
        return mean, std.mul_(factor).square_()

    def probed(self, scan: SliceScan, gap: int) -> Probed:
        """Returns how it does on lines hidden inside slices of a scan, where the head is."""
        shown = list(self._shown(scan, gap))
        trust = _trust(shown, gap)
        errors, inner = ErrorSums(gap), ErrorSums(gap)
        for one in shown:
            mean = one.smooth + trust[:, None, None] * (one.mean - one.smooth)
            error = (one.hidden - mean) / np.sqrt(one.variance)
            errors.add(error, one.head)
            inner.add(error, one.inner)
        return Probed(errors, inner, trust)

    def corrected(self, probed: Mapping[int, Probed]) -> "LinePredictor":
        """Returns the predictor with the spread, and the trust, that a scan itself suggests.

        Args:
            probed: By size of the gap.
        """
        known = {g: one for g, one in probed.items() if one.errors.fewest() >= FEWEST_ERRORS}
        own = {
            gap: (self.factor(gap) * one.errors.deviation()).astype(np.float32)
            for gap, one in known.items()
        }
        trust = {gap: one.trust for gap, one in known.items()}
        return dataclasses.replace(self, factors={**self.factors, **own}, trust=trust)

    def trusted(self, gap: int) -> NDArray[np.float32]:
        """Returns how far to go from interpolation to the network at each offset, 0 to 1."""
        return self.trust.get(gap, np.ones(gap - 1, np.float32))

    def _shown(self, scan: SliceScan, gap: int) -> Iterator[_Shown]:
        """Yields slices with hidden lines, in both directions; none, where they are too small."""
        middle = (np.arange(1, gap, dtype=np.float32) / gap)[:, None, None]
        probes = scan.slices[:: _every(scan)].astype(np.float32)
        depths = np.stack([depths_mm(one, scan.foreground, scan.pixel_mm) for one in probes])
        for turn in (False, True):
            images, depth = (
                stack.transpose(0, 2, 1) if turn else stack for stack in (probes, depths)
            )
            across_mm, along_mm = scan.pixel_mm[:: -1 if turn else 1]
            across_mm *= scan.steps[turn]
            share = self._share(gap * across_mm)
            pairs = [hide(image, gap, scan.steps[turn], share) for image in images]
            kept, hidden = (np.stack(part) for part in zip(*pairs, strict=True))
            if kept.shape[1] < 2:
                continue
            shown = on_device(kept, self.device)
            said = self.plane(shown, gap, across_mm=across_mm, along_mm=along_mm)
            mean, variance = (part.cpu().numpy() for part in said)
            before, after = kept[:, None, :-1], kept[:, None, 1:]
            # Not where the hidden pixel is bright: that selects by its error, too.
            head = before + middle * (after - before) > scan.foreground
            below = np.stack([hide(one, gap, scan.steps[turn])[1] for one in depth])
            inner = head & (below > INNER_MM)
            yield _Shown(hidden, mean, variance, monotone(kept, gap), head, inner)

    def _share(self, gap_mm: float) -> float:
        return min(self.thickness_mm / gap_mm, 1.0)


def without_probes(scan: SliceScan) -> SliceScan | None:
    """Returns the slices that errors are not measured on; None where there are none."""
    rest = np.arange(len(scan.slices)) % _every(scan) > 0
    return dataclasses.replace(scan, slices=scan.slices[rest]) if rest.any() else None


def _every(scan: SliceScan) -> int:
    return max(2, -(-len(scan.slices) // PROBES))


def _trust(shown: Sequence[_Shown], gap: int) -> NDArray[np.float32]:
    """Returns the least-squares share of the network's departure from interpolation, in [0, 1].

    A scan may be unlike all that the network has learnt from: smoother, say. Mirrored offsets are
    alike.
    """
    gained, moved = np.zeros(gap - 1), np.zeros(gap - 1)
    for one in shown:
        step = np.where(one.head, one.mean - one.smooth, np.float32(0))
        gained += np.einsum("btmw,btmw->t", step, one.hidden - one.smooth, dtype=np.float64)
        moved += np.einsum("btmw,btmw->t", step, step, dtype=np.float64)
    gained, moved = gained + gained[::-1], moved + moved[::-1]
    share = np.where(moved > 0, gained / np.maximum(moved, 1e-30), 1.0)
    return np.clip(share, 0, 1).astype(np.float32)
