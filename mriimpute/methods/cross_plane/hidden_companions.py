"""Lines hidden inside acquired slices, and what companions show of them.

Axes: s = slices, x and y = inside a slice, b = images, n = shown lines, p = lines of an image,
shown and hidden, w = pixels of a line, t = offsets inside a gap, k = companions.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

from mriimpute.cohort.foreground import foreground_level
from mriimpute.cohort.slices import SliceScan
from mriimpute.methods.cross_plane.calibration import LinePredictor
from mriimpute.methods.cross_plane.innovation import Example, Innovations, View
from mriimpute.methods.lines import interleaved, pchip_between
from mriimpute.methods.self_calibration import (
    TINY,
    HiddenSlices,
    Predict,
    fractions,
    hidden_slices,
    with_hidden_lines,
)

__all__ = [
    "Hidden",
    "Judged",
    "Smooth",
    "energy_of",
    "gain_of",
    "hidden_lines_of",
    "hidden_of",
    "shrinkage_of",
    "slope_of",
]

Slices = Float32[np.ndarray, "s x y"]
Images = Float32[np.ndarray, "..."]


class Smooth:
    """Interpolates between lines."""

    thickness_mm = 0.0
    device = torch.device("cpu")

    def shrinkage(self, gap: int) -> NDArray[np.float32]:
        """Returns ones."""
        return np.ones(gap - 1, np.float32)

    def inside(self, scan: SliceScan, gap: int, **_: Any) -> Predict:
        """Returns what says the mean, and a variance of 1."""

        def predict(context: Images, turn: bool) -> tuple[Images, Images]:
            mean = pchip_between(context, gap)
            return mean, np.ones_like(mean)

        return predict


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """An example, and how uncertain its hidden lines are without companions.

    Attributes:
        example: To learn from, or to judge by.
        std: Of the hidden lines; 1 on others.
    """

    example: Example
    std: Float32[np.ndarray, "b p w"]


def hidden_lines_of(
    scan: SliceScan,
    others: Sequence[Slices],
    numbers: NDArray[np.int64],
    gap: int,
    predictor: LinePredictor | Smooth,
    *,
    deep_mm: float = 0.0,
) -> Iterator[Hidden]:
    """Yields slices with hidden lines, in both directions; none, where they are too small.

    Args:
        scan: The target.
        others: The same slices of companions; NaN where they saw nothing.
        numbers: Of the slices.
        gap: From one shown line to the next, in voxels.
        predictor: Fills what is hidden.
        deep_mm: How far from the surface of the head pixels count.
    """
    predict = predictor.inside(scan, gap)
    shown = [other[numbers] for other in others]
    airs = [foreground_level(np.nan_to_num(other).ravel()) for other in shown]
    fills = [predictor.inside(scan, gap, air=air, with_variance=False) for air in airs]
    thickness_mm = predictor.thickness_mm
    for one in hidden_slices(scan, numbers, gap, thickness_mm=thickness_mm):
        seen = [interleaved(*with_hidden_lines(other, scan, gap, one.turn)) for other in shown]
        mean, variance = predict(one.context, one.turn)
        told = [
            fill(np.nan_to_num(other[:, ::gap]), one.turn)[0]
            for fill, other in zip(fills, seen, strict=True)
        ]
        yield hidden_of(one, mean, variance, seen, told, predictor.shrinkage(gap), deep_mm)


def hidden_of(
    slices: HiddenSlices,
    mean: Images,
    variance: Images,
    seen: Sequence[Float32[np.ndarray, "b p w"]],
    told: Sequence[Images],
    shrinkage: NDArray[np.float32],
    deep_mm: float,
) -> Hidden:
    """Returns slices with hidden lines as something to learn from, or to judge by.

    Args:
        slices: Hidden lines that are NaN are not known.
        mean: Of hidden lines, by the network.
        variance: Of hidden lines.
        seen: By each companion; NaN where it saw nothing.
        told: What is made of the shown lines of each companion.
        shrinkage: How far to go from interpolation to the network, at each offset.
        deep_mm: How far from the surface of the head pixels count.
    """
    context, gap = slices.context, len(shrinkage) + 1
    pchip = pchip_between(context, gap)
    mean = pchip + shrinkage[:, None, None] * (mean - pchip)
    filled = [
        interleaved(np.nan_to_num(other[:, ::gap]), one)
        for other, one in zip(seen, told, strict=True)
    ]
    view = View.of(interleaved(context, mean), np.stack(seen), np.stack(filled), gap)
    nothing = np.zeros_like(context)
    known = (slices.depth > deep_mm) & np.isfinite(slices.target)
    counted = (interleaved(nothing, known.astype(np.float32)) > 0) & view.seen.any(axis=0)
    innovation = np.where(known, slices.target - mean, np.float32(0))
    std = interleaved(nothing + 1, np.sqrt(np.maximum(variance, TINY)))
    return Hidden(Example(view, interleaved(nothing, innovation), counted), std)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Hidden lines that nothing was learnt from, by their offset.

    Attributes:
        wanted: Innovation of the target.
        answer: What the network says of it.
        std: Without companions.
        counted: What counts.
    """

    wanted: Float32[np.ndarray, "b t m w"]
    answer: Float32[np.ndarray, "b t m w"]
    std: Float32[np.ndarray, "b t m w"]
    counted: Bool[np.ndarray, "b t m w"]

    @classmethod
    def by(
        cls, network: Innovations, hidden: Hidden, gap: int, *, only: int | None = None
    ) -> "Judged":
        """Returns the hidden lines of images, by their offset.

        Args:
            network: Answers.
            hidden: The images.
            gap: From one shown line to the next.
            only: A companion; the others are taken to have seen nothing.
        """
        example = hidden.example
        answer = network.of(example.view, example.counted, only=only)
        images = example.innovation, answer, hidden.std, example.counted
        # Lines 1 to gap - 1 of each gap lie between shown ones, line gap is the next of these.
        parts = (
            image[:, 1:].reshape(len(image), -1, gap, image.shape[2])[:, :, :-1].swapaxes(1, 2)
            for image in images
        )
        return cls(*parts)


def shrinkage_of(judged: Sequence[Judged]) -> NDArray[np.float32]:
    """Returns the least-squares fraction of the answers at each offset, mirrored ones alike."""
    steps = ((np.where(one.counted, one.answer, np.float32(0)), one.wanted) for one in judged)
    return fractions(steps, judged[0].wanted.shape[1] + 1, unmoved=0.0)


def energy_of(judged: Sequence[Judged]) -> NDArray[np.float32]:
    """Returns the mean square of the answers at each offset."""
    squares, pixels = np.zeros((2, judged[0].wanted.shape[1]))
    for one in judged:
        squares += np.square(one.answer).sum(axis=(0, 2, 3), where=one.counted, dtype=np.float64)
        pixels += one.counted.sum(axis=(0, 2, 3))
    return (squares / np.maximum(pixels, 1)).astype(np.float32)


def gain_of(judged: Sequence[Judged]) -> float:
    """Returns the gain in PSNR, shrunk."""
    shrinkage = shrinkage_of(judged)[:, None, None]
    before = after = 0.0
    for one in judged:
        left = one.wanted - shrinkage * one.answer
        before += float(np.square(one.wanted[one.counted]).sum(dtype=np.float64))
        after += float(np.square(left[one.counted]).sum(dtype=np.float64))
    return 10 * math.log10(before / after) if before > 0 and after > 0 else 0.0


def slope_of(
    network: Innovations, judging: Sequence[Hidden], gap: int
) -> tuple[float, float, int]:
    """Returns how answers in the middle of gaps do: by what to multiply them, gain, and pixels.

    Args:
        network: Answers.
        judging: What it has learnt nothing from.
        gap: From one shown line to the next.
    """
    moved = gained = before = 0.0
    pixels = 0
    for one in (hidden.example for hidden in judging):
        middle = np.arange(one.counted.shape[1]) % gap == gap // 2
        where = one.counted & middle[:, None]
        answer = network.of(one.view, where)[where].astype(np.float64)
        wanted = one.innovation[where].astype(np.float64)
        moved, gained = moved + answer @ answer, gained + answer @ wanted
        before, pixels = before + wanted @ wanted, pixels + len(wanted)
    slope = float(gained / moved) if moved > 0 else 0.0
    left = before - max(slope, 0.0) * gained
    return slope, 10 * math.log10(before / left) if left > 0 else 0.0, pixels
