"""How well a line network knows lines that it was not shown, and how well it knows that.

Per gap, over whole slices: by how much its mean beats interpolation, and by which factor its std
is too small at each offset. The factors calibrate the std of later predictions.

Axes: t = offsets inside an interval, n = lines, m = intervals, w = pixels of a line,
p = all pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64

from mriimpute.methods.cross_plane.conditioning import offsets
from mriimpute.methods.cross_plane.hidden_lines import Lines
from mriimpute.methods.cross_plane.latent_bound import nll_of
from mriimpute.methods.cross_plane.latent_network import LatentLineNetwork
from mriimpute.methods.cross_plane.network import LineNetwork, linear_between
from mriimpute.methods.cross_plane.predict import predict
from mriimpute.methods.lines import pchip_between

__all__ = ["GapScore", "ValidationSlice", "score", "validation_slices"]

Z90 = 1.645
"""Standard deviations from the middle of a Gaussian to either end of its 90 % interval."""


@dataclass(frozen=True, slots=True, eq=False)
class ValidationSlice:
    """A slice with hidden lines, and what interpolation makes of it.

    Attributes:
        lines: The slice, a batch of one.
        head: Which target pixels count.
        squares: Sum over them of the squared errors of linear or of PCHIP interpolation,
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
        factor: By which to multiply the std, at each offset.
        coverage: Fraction of target pixels of the head inside calibrated 90 % intervals.
        nats: Negative log-likelihood per target pixel, on average and before calibration; of a
            network with latent errors, an upper bound of it.
    """

    gain_db: float
    factor: tuple[float, ...]
    coverage: float
    nats: float


@dataclass(frozen=True, slots=True, eq=False)
class _Errors:
    """What a network gets wrong in one slice."""

    gain_db: float
    nll: float
    error: Float32[np.ndarray, "t p"]
    std: Float32[np.ndarray, "t p"]
    head: Bool[np.ndarray, "t p"]


def validation_slices(images: Sequence[Lines]) -> list[ValidationSlice]:
    """Returns the slices, each on its own, that have lines hidden in the head."""
    slices = []
    for lines in images:
        target = lines.target[0]
        linear = _linear(lines.context[0], lines.gap)
        pchip = pchip_between(lines.context, lines.gap)[0]
        # Not where the target pixel is bright: that selects by its error, too.
        head = linear > lines.foreground[0]
        errors = linear - target, pchip - target
        squares = min(float(np.square(e[head]).sum(dtype=np.float64)) for e in errors)
        if squares > 0:
            slices.append(ValidationSlice(lines, head, squares))
    return slices


def score(network: LineNetwork, slices: Sequence[ValidationSlice]) -> GapScore | None:
    """Returns how good predictions for one gap are; None without slices.

    Args:
        network: Trained.
        slices: All of one gap.
    """
    if not slices:
        return None
    each = [_errors(network, image) for image in slices]
    error, std, head = (
        np.concatenate([getattr(errors, name) for errors in each], axis=1)
        for name in ("error", "std", "head")
    )
    factor = _factors(error / std, head)
    inside = np.abs(error) < Z90 * factor[:, None] * std
    return GapScore(
        gain_db=float(np.mean([errors.gain_db for errors in each])),
        factor=tuple(factor.tolist()),
        coverage=float(inside[head].mean()),
        nats=float(np.mean([errors.nll for errors in each])),
    )


def _errors(network: LineNetwork, image: ValidationSlice) -> _Errors:
    lines = image.lines
    device = next(network.parameters()).device
    moments = predict(
        network,
        torch.from_numpy(lines.context).to(device),
        lines.gap,
        gap_mm=float(lines.gap_mm[0]),
        along_mm=float(lines.along_mm[0]),
        directions=lines.directions[0].tolist(),
    )
    mean, std = (part[0].cpu().numpy() for part in moments)
    error = mean - lines.target[0]
    squares = float(np.square(error[image.head]).sum(dtype=np.float64))
    if isinstance(network, LatentLineNetwork):
        nll = nll_of(network, lines)
    else:  # what `nll_of` returns, without another look at the image
        density = 0.5 * np.square(error / std) + np.log(std)
        nll = float(density.mean(dtype=np.float64)) + 0.5 * math.log(2 * math.pi)
    flat = len(error), -1
    return _Errors(
        gain_db=float(10 * np.log10(image.squares / max(squares, 1e-12))),
        nll=nll,
        error=error.reshape(flat),
        std=std.reshape(flat),
        head=image.head.reshape(flat),
    )


def _factors(
    white: Float32[np.ndarray, "t p"], head: Bool[np.ndarray, "t p"]
) -> Float64[np.ndarray, " t"]:
    """Returns the root mean square at each offset; mirrored offsets are alike."""
    squares = np.where(head, np.square(white), 0).sum(axis=1, dtype=np.float64)
    count = head.sum(axis=1)
    both, counts = squares + squares[::-1], count + count[::-1]
    return np.sqrt(np.where(counts > 0, both / np.maximum(counts, 1), 1.0))


def _linear(context: Float32[np.ndarray, "n w"], gap: int) -> Float32[np.ndarray, "t m w"]:
    lines = torch.from_numpy(context)
    linear = linear_between(lines[:-1], lines[1:], offsets(gap)[:, None, None])
    return np.asarray(linear.numpy())
