"""Where images hold nothing but air, so that no network needs to look at it.

An image is cut to the columns that hold anything brighter than the air, and all images of a plane
to the lines that do, with the reach of the network as margin: what it says of the head is what it
says of it in the whole image. Elsewhere lines are interpolated, and the std is that of white noise

    sigma(t)^2 = (1 + t^2 + (1 - t)^2) E (y_l+1 - y_l)^2 / 2

as a pixel misses by its own noise and by that of the two that it is interpolated between.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, t = offsets.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from mriimpute.methods.cross_plane.network import LOG_SIGMA

__all__ = ["Head", "in_air", "located"]

RIM = 2
"""Pixels around what is brighter than the air: the rim of a brain is dark."""

WIDTHS = 4
"""Images are cut to multiples of so many pixels: each width has kernels of its own, and two
milliseconds are spent on them."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Where the images of a plane hold a head.

    Attributes:
        intervals: Between lines that do, first and last + 1.
        first: Pixel of each image that does.
        last: The last one, + 1; `first` where there is none.
    """

    intervals: tuple[int, int]
    first: Int64[Tensor, " b"]
    last: Int64[Tensor, " b"]

    def inside(self, count: int, width: int) -> Bool[Tensor, "b m w"]:
        """Tells which pixels between lines belong to it.

        Args:
            count: Of the intervals.
            width: Of the images.
        """
        w = torch.arange(width, device=self.first.device)
        m = torch.arange(count, device=self.first.device)[:, None]
        columns = (w >= self.first[:, None, None]) & (w < self.last[:, None, None])
        return columns & (m >= self.intervals[0]) & (m < self.intervals[1])

    def lines(self, reach: int, count: int) -> tuple[int, int]:
        """Returns the first line that its intervals depend on, and the last one, + 1.

        Args:
            reach: Of the network.
            count: Of the lines.
        """
        begin, end = self.intervals
        return max(begin - reach, 0), min(end + reach, count)

    def windows(self, reach: int, width: int) -> list[tuple[int, int]]:
        """Returns for each image where it is cut: the first pixel, and how many; 0: none.

        Args:
            reach: Of the network.
            width: Of the images.
        """
        windows = []
        for first, last in zip(self.first.tolist(), self.last.tolist(), strict=True):
            begin, end = max(first - reach, 0), min(last + reach, width)
            size = min(-(-(end - begin) // WIDTHS) * WIDTHS, width) if first < last else 0
            windows.append((min(begin, width - size), size))
        return windows


def located(lines: Float32[Tensor, "b n w"], air: float) -> Head:
    """Returns where images hold anything brighter than the air.

    Args:
        lines: Intensities.
        air: Its greatest intensity; minus infinity where there is none.
    """
    _, count, width = lines.shape
    bright = lines > air
    first, last = _ends(bright.any(dim=1))
    begin, end = (int(edge) for edge in _ends(bright.any(dim=2).any(dim=0)[None]))
    is_empty = first == last
    return Head(
        (max(begin - 1, 0), min(end, count - 1)),
        (first - RIM).clamp_min(0).where(~is_empty, 0),
        (last + RIM).clamp_max(width).where(~is_empty, 0),
    )


def in_air(
    lines: Float32[Tensor, "b n w"], head: Head, places: Float32[Tensor, " t"]
) -> tuple[Float32[Tensor, "b t m w"], Float32[Tensor, " t"]]:
    """Returns linear interpolation between lines, and how far that is off outside of the head.

    Args:
        lines: Intensities.
        head: Is left out of the std.
        places: Offsets.
    """
    before, after = lines[:, :-1], lines[:, 1:]
    outside = ~head.inside(*before.shape[1:])
    squares = (after - before).square_().mul_(outside).sum(dtype=torch.float64)
    noise = squares / (2 * outside.sum().clamp_min(1))
    std = ((1 + places.square() + (1 - places).square()) * noise).sqrt().float()
    # As `linear_between`, in the memory of the result alone.
    linear = (places[:, None, None] * (after - before)[:, None]).add_(before[:, None])
    return linear, std.clamp_min(torch.tensor(LOG_SIGMA[0]).exp().item())


def _ends(found: Bool[Tensor, "b w"]) -> tuple[Int64[Tensor, " b"], Int64[Tensor, " b"]]:
    """Returns the first place of each row that is true and the last one, + 1; 0 where none is."""
    numbers = found.byte()
    first, behind = numbers.argmax(dim=1), numbers.flip(1).argmax(dim=1)
    last = (found.shape[1] - behind).where(found.any(dim=1), 0)
    return first, last
