"""How well the cross-plane network knows lines that it was not shown, and how well it knows that.

Per gap, over whole slices: by how much its mean beats interpolation, and by which factor
its spread is too small at each offset. The factors calibrate the spread of later predictions.

Axes: t = offsets inside an interval, m = intervals, w = pixels of a line, p = all pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.interpolate import make_interp_spline

from mriimpute.methods.cross_plane.hidden_lines import Lines, monotone
from mriimpute.methods.cross_plane.latent import nats_of
from mriimpute.methods.cross_plane.latent_network import LatentLineNetwork
from mriimpute.methods.cross_plane.loss import predict
from mriimpute.methods.cross_plane.network import LineNetwork

__all__ = ["GapScore", "Watched", "score", "watched"]


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A slice with hidden lines, and what interpolation makes of it.

    Attributes:
        lines: The slice, a batch of one.
        head: Which hidden pixels count.
        squares: Sum over them of the squared errors of linear or of monotone interpolation,
            whichever is better.
    """

    lines: Lines
    head: Bool[np.ndarray, "t m w"]
    squares: float


@dataclass(frozen=True, slots=True)
class GapScore:
    """How good predictions are for one gap.

    Attributes:
        gain_db: Mean over slices of the gain in PSNR over interpolation, in the head.
        factor: By which to multiply the spread, at each offset.
        coverage: Share of hidden pixels of the head inside calibrated 90 % intervals.
        nats: Minus the log density of each hidden pixel, on average and before calibration; of a
            network with latent numbers, what that is at most.
    """

    gain_db: float
    factor: tuple[float, ...]
    coverage: float
    nats: float


def watched(images: Sequence[Lines]) -> list[Watched]:
    """Returns the slices, each on its own, that have lines hidden in the head."""
    found = []
    for lines in images:
        hidden = lines.hidden[0]
        linear = _linear(lines.kept[0], lines.gap)
        smooth = monotone(lines.kept, lines.gap)[0]
        # Not where the hidden pixel is bright: that selects by its error, too.
        head = linear > lines.foreground[0]
        errors = linear - hidden, smooth - hidden
        squares = min(float(np.square(e[head]).sum(dtype=np.float64)) for e in errors)
        if squares > 0:
            found.append(Watched(lines, head, squares))
    return found


def score(network: LineNetwork, images: Sequence[Watched]) -> GapScore | None:
    """Returns how good predictions for one gap are; None without images.

    Args:
        network: Trained.
        images: All of one gap.
    """
    if not images:
        return None
    judged = [_judged(network, image) for image in images]
    gain_db, nats = (float(np.mean([one[n] for one in judged])) for n in (0, 1))
    error, std, head = (np.concatenate(x, axis=1) for x in list(zip(*judged, strict=True))[2:])
    factor = _factors(error / std, head)
    inside = np.abs(error) < 1.645 * factor[:, None] * std
    return GapScore(gain_db, tuple(factor.tolist()), float(inside[head].mean()), nats)


def _judged(
    network: LineNetwork, image: Watched
) -> tuple[
    float, float, Float32[np.ndarray, "t p"], Float32[np.ndarray, "t p"], Bool[np.ndarray, "t p"]
]:
    """Returns gain and nats of an image; of each pixel, error, spread and whether it counts."""
    lines = image.lines
    mean, std = predict(
        network,
        lines.kept,
        lines.gap,
        gap_mm=float(lines.gap_mm[0]),
        along_mm=float(lines.along_mm[0]),
        batch=2,
    )
    error = mean[0] - lines.hidden[0]
    squares = float(np.square(error[image.head]).sum(dtype=np.float64))
    gain_db = float(10 * np.log10(image.squares / max(squares, 1e-12)))
    if isinstance(network, LatentLineNetwork):
        nats = nats_of(network, lines)
    else:  # what `nats_of` says, without another look at the image
        density = 0.5 * np.square(error / std[0]) + np.log(std[0])
        nats = float(density.mean(dtype=np.float64)) + 0.5 * math.log(2 * math.pi)
    flat = len(error), -1
    return gain_db, nats, error.reshape(flat), std[0].reshape(flat), image.head.reshape(flat)


def _factors(
    white: Float32[np.ndarray, "t p"], head: Bool[np.ndarray, "t p"]
) -> Float64[np.ndarray, " t"]:
    """Returns the root mean square at each offset; mirrored offsets are alike."""
    squares = np.where(head, np.square(white), 0).sum(axis=1, dtype=np.float64)
    count = head.sum(axis=1)
    both, counts = squares + squares[::-1], count + count[::-1]
    return np.sqrt(np.where(counts > 0, both / np.maximum(counts, 1), 1.0))


def _linear(kept: Float32[np.ndarray, "n w"], gap: int) -> Float32[np.ndarray, "t m w"]:
    places = np.arange(len(kept)) * gap
    wanted = (places[:-1] + np.arange(1, gap)[:, None]).ravel()
    values = make_interp_spline(places, kept, k=1, axis=0)(wanted)
    return values.reshape(gap - 1, len(kept) - 1, -1).astype(np.float32)
