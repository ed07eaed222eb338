"""How much work a scan is for the network: whoever waits for it is told.

In seconds of one CPU core; only ratios count, see `mriimpute.progress`.
"""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32

from mriimpute.methods.cross_plane.air import located
from mriimpute.progress import Progress

__all__ = [
    "ADAPTING",
    "CALIBRATION",
    "FUSION",
    "HELP",
    "PLANES",
    "HelpSeconds",
    "fusion_seconds",
    "help_seconds",
    "network_seconds",
    "plan_work",
    "shown_share",
]

ADAPTING, CALIBRATION, PLANES, FUSION = "adapting", "calibration", "planes", "fusion"
HELP = "companions"
"""Stages of the work."""

LINE_SECONDS, TARGET_SECONDS = 5.5, 0.4
"""For a million pixels of the lines that are shown, and of those that are predicted; no air."""

VOXEL_SECONDS = 0.05
"""For a million voxels of the target grid, that no network sees."""

FIT_SECONDS = 5.0
LEARNING_SECONDS, FILLING_SECONDS, ASKING_SECONDS = 0.5, 1.2, 0.8
"""Of help by companions: at any size, and for a million voxels of the target grid."""

ON_GPU = 0.01
"""Of the seconds of a CPU core. A guess: what a stage takes is measured once it runs."""

GUARD = 8
"""Pixels added to slices for diagonal planes, see `planes`."""


def network_seconds(pixels: float, gap: int, device: torch.device) -> float:
    """Returns the work of predicting what lies between lines.

    Args:
        pixels: Of the lines that are shown.
        gap: From one line to the next, in voxels.
        device: Of the network.
    """
    seconds = pixels / 1e6 * (LINE_SECONDS + (gap - 1) * TARGET_SECONDS)
    return seconds if device.type == "cpu" else ON_GPU * seconds


def shown_share(
    slices: Float32[np.ndarray, "s x y"], air: float, reach: int, device: torch.device
) -> float:
    """Returns which share of the pixels of slices the network is shown: on a CPU, no air.

    Args:
        slices: Normalised.
        air: Its greatest intensity.
        reach: Pixels of air around the head that the network is shown.
        device: Of the network.
    """
    if device.type != "cpu":
        return 1.0
    shares = []
    for lines in (slices.transpose(1, 0, 2), slices.transpose(2, 0, 1)):
        images, count, width = lines.shape
        head = located(torch.from_numpy(lines), air)
        first, last = head.lines(reach, count)
        pixels = (last - first) * sum(size for _, size in head.windows(reach, width))
        shares.append(pixels / (images * count * width))
    return sum(shares) / len(shares)


def fusion_seconds(voxels: int) -> float:
    """Returns the work of making one volume of all planes, of so many voxels."""
    return voxels / 1e6 * VOXEL_SECONDS


class HelpSeconds(NamedTuple):
    """The work of being helped by companions.

    Attributes:
        learning: From lines hidden in slices.
        filling: The gaps of each companion's own slices.
        asking: What is learnt about all voxels.
    """

    learning: float
    filling: float
    asking: float


def help_seconds(voxels: int, device: torch.device) -> HelpSeconds:
    """Returns the work of being helped, on a grid of so many voxels."""
    scale = voxels / 1e6 * (1.0 if device.type == "cpu" else ON_GPU)
    return HelpSeconds(
        FIT_SECONDS + LEARNING_SECONDS * scale, FILLING_SECONDS * scale, ASKING_SECONDS * scale
    )


def plan_work(
    progress: Progress,
    gaps: Sequence[int],
    slice_pixels: float,
    *,
    diagonals: bool,
    hidden: int,
    left_out: Collection[int],
    pixel_step: int,
    device: torch.device,
) -> None:
    """Announces the work on a scan.

    Args:
        progress: Is told.
        gaps: Between acquired slices, of those that the network fills.
        slice_pixels: Of a slice, that the network is shown.
        diagonals: Whether they are asked, too: every second one where each pixel is looked at.
        hidden: Slices in which lines are hidden, along either axis.
        left_out: Sizes of gaps of which every second slice is left out, too.
        pixel_step: Of how many pixels of such a slice one is looked at, along either axis.
        device: Of the network.
    """
    slanted = 2 * (slice_pixels + GUARD * math.sqrt(slice_pixels)) if diagonals else 0.0
    for gap in set(gaps):
        slices = gaps.count(gap) + 1
        for size, count, step in ((gap, slices, 1), (2 * gap, slices / 2, pixel_step)):
            if size == gap or gap in left_out:
                lines = 2 * hidden * slice_pixels / size
                shown = count * (2 * slice_pixels / step + slanted / max(step, 2))
                progress.plan(CALIBRATION, network_seconds(lines, size, device))
                progress.plan(PLANES, network_seconds(shown, size, device))
