"""A made-up head to measure on: as large as a real one, as noisy, and nobody's.

What a network, a transform or gzip costs depends on the shape and hardly on what is in it; the
noise is there because a smooth file would shrink to nothing and be written in no time.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int16
from scipy import ndimage

from mriimpute.io import write_grid
from mriimpute.seeds import numpy_stream
from mriimpute.volume import Volume

__all__ = ["GAP", "TINY", "Shape", "sparse_head", "target_shape", "write_head"]

GAP = 6
"""Voxels from one acquired slice to the next: 6 mm, as in the clinic of Dalca et al."""

NOISE = 0.02
"""Standard deviation, as a fraction of the brightest tissue."""

WIDTHS = (1.5, 4.0, 10.0)
"""Of the texture, in mm."""

TEXTURE = 0.1
"""Standard deviation of the texture at each width, as a fraction of the brightest tissue."""

BRIGHTEST = 1000.0

Shape = tuple[int, int, int]

TINY: Shape = (24, 24, 13)
"""Grid of calls that are not counted."""


def target_shape(size: Shape) -> Shape:
    """Returns the grid next to `size` that begins and ends with an acquired slice.

    Example:
        >>> target_shape((192, 176, 224))
        (192, 176, 223)
    """
    i, j, k = size
    return i, j, GAP * max(2, round((k - 1) / GAP)) + 1


def sparse_head(size: Shape, *, seed: int = 0) -> Volume:
    """Returns a head of 1 mm of which every sixth slice was acquired."""
    shape = target_shape(size)
    observed = np.zeros(shape, bool)
    observed[:, :, ::GAP] = True
    data = np.full(shape, np.nan, np.float32)
    data[:, :, ::GAP] = _slices(shape, seed)
    return Volume(data, observed, np.eye(4))


def write_head(path: Path, size: Shape, *, seed: int = 0) -> None:
    """Writes the acquired slices as a scanner would: thick voxels, whole numbers."""
    affine = np.diag([1.0, 1.0, float(GAP), 1.0])
    write_grid(path, _slices(target_shape(size), seed), affine, frame="scanner")


def _slices(shape: Shape, seed: int) -> Int16[np.ndarray, "i j s"]:
    """Returns an ellipsoid with a random texture, one slice in `GAP`."""
    i, j, k = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    x, y, z = i[:, None, None], j[:, None], k[::GAP]
    radius = np.sqrt(x**2 + y**2 + z**2)
    rng = numpy_stream(seed, "bench", "head")
    texture = np.ones(radius.shape, np.float32)
    for width in WIDTHS:
        white = rng.standard_normal(radius.shape, np.float32)
        smooth = ndimage.gaussian_filter(white, (width, width, width / GAP), mode="wrap")
        texture += np.float32(TEXTURE / smooth.std()) * smooth
    head: Float32[np.ndarray, "i j s"] = texture / (1 + np.exp(30 * (radius - 0.85)))
    noise = rng.standard_normal(head.shape, np.float32)
    return np.rint(BRIGHTEST * np.abs(0.7 * head + NOISE * noise)).astype(np.int16)
