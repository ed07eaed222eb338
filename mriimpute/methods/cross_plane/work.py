"""How much work a scan is for the network: whoever waits for it is told.

In seconds of one CPU core; only ratios count, see `mriimpute.progress`.
"""

import math
from collections.abc import Collection, Sequence

import torch

from mriimpute.progress import Progress

__all__ = [
    "ADAPTING",
    "CALIBRATION",
    "FUSION",
    "PLANES",
    "fusion_seconds",
    "network_seconds",
    "plan_work",
]

ADAPTING, CALIBRATION, PLANES, FUSION = "adapting", "calibration", "planes", "fusion"
"""Stages of the work."""

LINE_SECONDS, TARGET_SECONDS = 5.4, 0.67
"""For a million pixels of the lines that are shown, and of those that are predicted."""

VOXEL_SECONDS = 0.05
"""For a million voxels of the target grid, that no network sees."""

ON_GPU = 0.01
"""Of the seconds of a CPU core. A guess: what a stage takes is measured once it runs."""

SEEN, GUARD = 4, 8
"""Planes that see each pixel of a slice, and pixels added for two of them, see `planes`."""


def network_seconds(pixels: float, gap: int, device: torch.device) -> float:
    """Returns the work of predicting what lies between lines.

    Args:
        pixels: Of the lines that are shown.
        gap: From one line to the next, in voxels.
        device: Of the network.
    """
    seconds = pixels / 1e6 * (LINE_SECONDS + (gap - 1) * TARGET_SECONDS)
    return seconds if device.type == "cpu" else ON_GPU * seconds


def fusion_seconds(voxels: int) -> float:
    """Returns the work of making one volume of all planes, of so many voxels."""
    return voxels / 1e6 * VOXEL_SECONDS


def plan_work(
    progress: Progress,
    gaps: Sequence[int],
    slice_pixels: int,
    *,
    hidden: int,
    left_out: Collection[int],
    device: torch.device,
) -> None:
    """Announces the work on a scan.

    Args:
        progress: Is told.
        gaps: Between acquired slices, of those that the network fills.
        slice_pixels: Of a slice.
        hidden: Slices in which lines are hidden, along either axis.
        left_out: Sizes of gaps of which every second slice is left out, too; of its pixels
            every seventh, or so, is looked at, along either axis.
        device: Of the network.
    """
    wide = SEEN * slice_pixels + 2 * GUARD * math.sqrt(slice_pixels)
    for gap in set(gaps):
        shown = wide * (gaps.count(gap) + 1)
        for size, part in ((gap, shown), (2 * gap, shown / 14)):
            if size == gap or gap in left_out:
                lines = 2 * hidden * slice_pixels / size
                progress.plan(CALIBRATION, network_seconds(lines, size, device))
                progress.plan(PLANES, network_seconds(part, size, device))
