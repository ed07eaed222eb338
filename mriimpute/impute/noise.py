"""Correlated noise of unit variance: errors of neighbouring voxels are alike, and draws must be.

Axes: p = along the slice axis, x and y = inside a slice, t = distances inside a gap.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from scipy import ndimage, optimize

from mriimpute.geometry import Stack
from mriimpute.impute._contract import Imputation
from mriimpute.seeds import numpy_stream
from mriimpute.volume import Volume

__all__ = ["Texture", "texture", "textured", "unit_noise"]


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """How standardised errors of one gap go together.

    Attributes:
        along: Correlation of neighbouring pixels of a slice, in [0, 1).
        within: Correlation matrix over the distances inside a gap.
    """

    along: float
    within: Float[np.ndarray, "t t"]


def texture(within: Float[np.ndarray, "t t"], beside: float) -> Texture | None:
    """Returns the texture of errors; None where there are none.

    Args:
        within: Sums of products of errors at two distances inside a gap.
        beside: Sum of products of neighbours, over all distances.
    """
    if not within.any():
        return None
    deviation = np.sqrt(np.maximum(np.diag(within), 1e-30))
    along = float(np.clip(beside / np.trace(within), 0.0, 0.95))
    # A share of white noise keeps the matrix positive definite whatever the rounding.
    correlation = 0.999 * within / np.outer(deviation, deviation) + 0.001 * np.eye(len(within))
    return Texture(along, correlation)


def textured(
    volume: Volume,
    filled: Float32[np.ndarray, "i j k"],
    std: Float32[np.ndarray, "i j k"],
    stack: Stack,
    textures: dict[int, Texture],
    seed: int,
    case: str,
) -> Imputation:
    """Returns an imputation whose draws scatter about the mean by the spread, as textures say.

    Args:
        volume: Its observed voxels are kept.
        filled: The mean elsewhere.
        std: The spread elsewhere.
        stack: Where slices were acquired.
        textures: By size of the gap.
        seed: Of the run.
        case: Name of the scan.
    """
    mean = np.where(volume.observed, volume.data, filled)
    std = np.where(volume.observed, np.float32(0), std)

    def draw(number: int) -> Float32[np.ndarray, "i j k"]:
        noise = unit_noise(mean.shape, stack, textures, seed=seed, case=case, draw=number)
        return np.where(volume.observed, volume.data, mean + std * noise)

    return Imputation(mean=mean, std=std, draw=draw)


def unit_noise(
    shape: tuple[int, int, int],
    stack: Stack,
    textures: dict[int, Texture],
    *,
    seed: int,
    case: str,
    draw: int,
) -> Float32[np.ndarray, "i j k"]:
    """Returns N(0, 1) noise on the whole grid, correlated inside slices and gaps.

    It depends on the seed, the case and the number of the draw, and on nothing else that is
    drawn. Different gaps are independent.

    Args:
        shape: Of the grid.
        stack: Where slices were acquired.
        textures: By size of the gap.
        seed: Of the run.
        case: Name of the scan.
        draw: Number of the draw.
    """
    generator = numpy_stream(seed, "impute", case, "draw", draw)
    white = np.moveaxis(generator.standard_normal(shape, np.float32), stack.axis, 0)
    along = max((texture.along for texture in textures.values()), default=0.0)
    smooth = _smoothed(white, along)
    for start, gap in zip(stack.positions, stack.gaps, strict=False):
        if gap > 1:
            inside = slice(start + 1, start + gap)
            root = np.linalg.cholesky(textures[gap].within).astype(np.float32)
            smooth[inside] = np.einsum("ts,sxy->txy", root, smooth[inside])
    return np.moveaxis(smooth, 0, stack.axis)


def _smoothed(white: Float32[np.ndarray, "p x y"], along: float) -> NDArray[np.float32]:
    """Returns `white` filtered inside slices so that neighbours correlate by `along`."""
    if along < 0.01:
        return np.array(white)
    width = optimize.brentq(lambda w: _neighbours(_kernel(w)) - along, 0.1, 20.0)
    kernel = _kernel(width)
    rows = ndimage.correlate1d(white, kernel, axis=1, mode="wrap")
    return ndimage.correlate1d(rows, kernel, axis=2, mode="wrap")


def _kernel(width: float) -> NDArray[np.float64]:
    """Returns a Gaussian of `width` pixels that makes unit variance out of unit variance."""
    reach = math.ceil(4 * width)
    kernel: NDArray[np.float64] = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / width))
    return kernel / np.sqrt(np.square(kernel).sum())


def _neighbours(kernel: NDArray[np.float64]) -> float:
    """Returns the correlation of neighbouring pixels after filtering white noise."""
    return float((kernel[1:] * kernel[:-1]).sum())
