"""Lines hidden inside acquired slices, and what companions show of them.

Axes: s = slices, x and y = inside a slice, b = images, n = shown lines, p = lines of an image,
shown and hidden, w = pixels of a line, t = offsets inside a gap, k = companions.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from torch import Tensor

from mriimpute.cohort.foreground import depths_mm
from mriimpute.cohort.slices import SliceScan
from mriimpute.device import on_device
from mriimpute.methods.cross_plane.calibration import LinePredictor
from mriimpute.methods.cross_plane.innovation import Example, View
from mriimpute.methods.lines import hide, interleaved, pchip_between
from mriimpute.methods.self_calibration import TINY

__all__ = ["Hidden", "Judged", "Smooth", "gain_of", "hidden_lines_of", "shrinkage_of"]

Slices = Float32[np.ndarray, "s x y"]


class Smooth:
    """Interpolates between lines."""

    thickness_mm = 0.0
    device = torch.device("cpu")

    def shrinkage(self, gap: int) -> NDArray[np.float32]:
        """Returns ones."""
        return np.ones(gap - 1, np.float32)

    def plane(self, lines: Float32[Tensor, "b n w"], gap: int, **_: Any) -> tuple[Tensor, Tensor]:
        """Returns the mean, and a variance of 1."""
        mean = torch.from_numpy(pchip_between(lines.numpy(), gap))
        return mean, torch.ones_like(mean)


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
    """Yields slices with hidden lines, in both directions; none, where they are too small."""
    slices = scan.slices[numbers].astype(np.float32)
    depths = np.stack([depths_mm(one, scan.foreground, scan.pixel_mm) for one in slices])
    for turn in (False, True):
        step, across_mm = scan.steps[turn], scan.steps[turn] * scan.pixel_mm[turn]
        where = {
            "across_mm": across_mm,
            "along_mm": scan.pixel_mm[not turn],
            "directions": scan.cosines[turn] + scan.cosines[not turn],
        }

        def images(stack: NDArray[Any], turn: bool = turn, step: int = step) -> NDArray[Any]:
            turned = stack.transpose(0, 2, 1) if turn else stack
            rows = (turned[:, ::step].shape[1] - 1) // gap * gap + 1
            return turned[:, ::step][:, :rows]

        target = images(slices)
        if target.shape[1] <= gap:
            continue
        thickness = min(predictor.thickness_mm / (gap * across_mm), 1.0)
        context = np.stack([hide(one, gap, 1, thickness)[0] for one in target])
        filled, std = _told(
            predictor, context, gap, where, air=scan.foreground, fraction=predictor.shrinkage(gap)
        )
        companions = np.stack([images(other[numbers]) for other in others])
        told = np.stack(
            [_told(predictor, np.nan_to_num(one[:, ::gap]), gap, where)[0] for one in companions]
        )
        view = View.of(filled, companions, told, gap)
        hidden = np.arange(target.shape[1])[:, None] % gap > 0
        counted = (images(depths) > deep_mm) & hidden & view.seen.any(axis=0)
        yield Hidden(Example(view, target - filled, counted), std)


def _told(
    predictor: LinePredictor | Smooth,
    context: Float32[np.ndarray, "b n w"],
    gap: int,
    where: Mapping[str, Any],
    *,
    air: float = -math.inf,
    fraction: NDArray[np.float32] | None = None,
) -> tuple[Float32[np.ndarray, "b p w"], Float32[np.ndarray, "b p w"]]:
    """Returns what lines tell, with them, and how uncertain that is; 1 on the lines.

    Args:
        predictor: Tells it.
        context: The lines.
        gap: From one to the next, in voxels.
        where: Sizes and directions, as `LinePredictor.plane` takes them.
        air: See there.
        fraction: How far to go from interpolation, at each offset; None: all the way.
    """
    lines = on_device(context, predictor.device)
    mean, variance = (part.cpu().numpy() for part in predictor.plane(lines, gap, **where, air=air))
    if fraction is not None:
        pchip = pchip_between(context, gap)
        mean = pchip + fraction[:, None, None] * (mean - pchip)
    std = np.sqrt(np.maximum(variance, TINY))
    return interleaved(context, mean), interleaved(np.ones_like(context), std)


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
    def of(cls, hidden: Hidden, answer: Float32[np.ndarray, "b p w"], gap: int) -> "Judged":
        """Returns the hidden lines of images, by their offset."""
        example = hidden.example
        images = example.innovation, answer, hidden.std, example.counted
        # Lines 1 to gap - 1 of each gap lie between shown ones, line gap is the next of these.
        parts = (
            image[:, 1:].reshape(len(image), -1, gap, image.shape[2])[:, :, :-1].swapaxes(1, 2)
            for image in images
        )
        return cls(*parts)


def shrinkage_of(judged: Sequence[Judged]) -> NDArray[np.float32]:
    """Returns the least-squares fraction of the answers at each offset, mirrored ones alike."""
    gained, moved = (np.zeros(judged[0].wanted.shape[1]) for _ in range(2))
    for one in judged:
        step = np.where(one.counted, one.answer, np.float32(0))
        gained += np.einsum("btmw,btmw->t", step, one.wanted, dtype=np.float64)
        moved += np.einsum("btmw,btmw->t", step, step, dtype=np.float64)
    gained, moved = gained + gained[::-1], moved + moved[::-1]
    return np.clip(gained / np.maximum(moved, 1e-30), 0, 1).astype(np.float32)


def gain_of(judged: Sequence[Judged]) -> float:
    """Returns the gain in PSNR, shrunk."""
    fractions = shrinkage_of(judged)[:, None, None]
    before = after = 0.0
    for one in judged:
        left = one.wanted - fractions * one.answer
        before += float(np.square(one.wanted[one.counted]).sum(dtype=np.float64))
        after += float(np.square(left[one.counted]).sum(dtype=np.float64))
    return 10 * math.log10(before / after) if before > 0 and after > 0 else 0.0
