"""Data sets of sparse images: each image is corrupted once, and its missing pixels are gone.

Axes: n = images, (h, w) = rows and columns.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

__all__ = [
    "Sparse",
    "crop",
    "hide",
    "lines",
    "pad",
    "pad_to",
    "permuted",
    "random_missing",
    "window",
]

Stack = Float32[np.ndarray, "n h w"]


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """Sparse images and what they were made of.

    Attributes:
        y: What was observed, noise included; NaN where nothing was.
        truth: The images, without noise. Only scores look at it.
    """

    y: Float32[np.ndarray, "n 1 h w"]
    truth: Float32[np.ndarray, "n 1 h w"]

    def __post_init__(self) -> None:
        if self.y.shape != self.truth.shape:
            raise ValueError(f"y and truth must agree, got {self.y.shape} and {self.truth.shape}")

    @property
    def observed(self) -> Bool[np.ndarray, "n 1 h w"]:
        """Which pixels were observed."""
        return np.isfinite(self.y)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        h, w = self.y.shape[2:]
        return h, w

    def __len__(self) -> int:
        return len(self.y)

    def take(self, which: slice | Int64[np.ndarray, " k"]) -> "Sparse":
        """Returns some of the images."""
        return Sparse(self.y[which], self.truth[which])


def random_missing(
    images: Stack, fraction: float, noise_std: float, generator: np.random.Generator
) -> Sparse:
    """Removes each pixel with probability `fraction`, and adds Gaussian noise to the others.

    An image that would lose all its pixels keeps one of them.

    Args:
        images: The truth.
        fraction: Of pixels to be removed, in [0, 1).
        noise_std: Standard deviation of the noise; 0 for none.
        generator: Gives pattern and noise.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be in 0 to 1, got {fraction}")
    chance = generator.random(images.shape, dtype=np.float32)
    # The pixel of the largest chance stays, whatever the fraction.
    kept = (chance >= fraction) | (chance == chance.max(axis=(1, 2), keepdims=True))
    return hide(_noisy(images, noise_std, generator), images, kept)


def window(images: Stack, size: int, noise_std: float, generator: np.random.Generator) -> Sparse:
    """Keeps a square window at a random place of each image, with noise, and nothing else.

    References:
        Tonolini et al., Tomographic Auto-Encoder, 2021, supplement D.2.

    Args:
        images: The truth.
        size: Edge of the window, in pixels.
        noise_std: Standard deviation of the noise; 0 for none.
        generator: Gives places and noise.
    """
    count, h, w = images.shape
    if not 0 < size <= min(h, w):
        raise ValueError(f"size must be in 1 to {min(h, w)}, got {size}")
    top = generator.integers(h - size + 1, size=(count, 1, 1))
    left = generator.integers(w - size + 1, size=(count, 1, 1))
    row, column = np.arange(h)[None, :, None], np.arange(w)[None, None, :]
    kept = (row >= top) & (row < top + size) & (column >= left) & (column < left + size)
    return hide(_noisy(images, noise_std, generator), images, kept)


def lines(
    images: Stack, every: int, generator: np.random.Generator, *, noise_std: float = 0.0
) -> Sparse:
    """Keeps one of `every` parallel lines of each image, at a random angle and phase.

    A pixel is kept where its centre lies within half a pixel of a line, so one in `every` pixels
    is kept on average, whatever the angle.

    References:
        Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces,
        2019, section 4.4.

    Args:
        images: The truth.
        every: Distance of the lines, in pixels.
        generator: Gives angles, phases and noise.
        noise_std: Standard deviation of the noise; 0 for none.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    count, h, w = images.shape
    angle = generator.uniform(0, np.pi, (count, 1, 1))
    phase = generator.uniform(0, every, (count, 1, 1))
    row, column = np.arange(h)[None, :, None], np.arange(w)[None, None, :]
    distance = row * np.cos(angle) + column * np.sin(angle) + phase
    kept = distance % every < 1
    return hide(_noisy(images, noise_std, generator), images, kept)


def hide(y: Stack, truth: Stack, kept: Bool[np.ndarray, "n h w"]) -> Sparse:
    """Returns `y` where `kept`, and NaN elsewhere, over `truth`."""
    return Sparse(np.where(kept, y, np.float32(np.nan))[:, None], truth[:, None])


def permuted(sparse: Sparse, order: Int64[np.ndarray, " p"]) -> Sparse:
    """Returns images with their pixels, observed or not, in another order, one for all images.

    Args:
        sparse: The images.
        order: Which pixel, counted along the rows, comes to each place.
    """
    y, truth = (a.reshape(len(a), -1)[:, order].reshape(a.shape) for a in (sparse.y, sparse.truth))
    return Sparse(y, truth)


def pad(sparse: Sparse, multiple: int) -> Sparse:
    """Adds an unobserved border, so that `multiple` divides height and width.

    The border of the truth is NaN, too: `crop` before scoring.
    """
    full = tuple(-(-edge // multiple) * multiple for edge in sparse.grid)
    return Sparse(pad_to(sparse.y, full), pad_to(sparse.truth, full))


def pad_to(
    images: Float32[np.ndarray, "n 1 h w"], grid: tuple[int, ...]
) -> Float32[np.ndarray, "n 1 h2 w2"]:
    """Returns images with a border of NaN, in the middle of a larger grid."""
    extra = [full - edge for edge, full in zip(images.shape[2:], grid, strict=True)]
    widths = [(0, 0), (0, 0), *((n // 2, n - n // 2) for n in extra)]
    return np.pad(images, widths, constant_values=np.nan)


def crop(
    images: Float32[np.ndarray, "... h w"], grid: tuple[int, int]
) -> Float32[np.ndarray, "... h2 w2"]:
    """Returns the middle of images: the inverse of `pad`.

    Args:
        images: One or many, such as draws (s, n, 1, h, w).
        grid: Rows and columns before `pad`.
    """
    top, left = ((edge - kept) // 2 for edge, kept in zip(images.shape[-2:], grid, strict=True))
    return images[..., top : top + grid[0], left : left + grid[1]]


def _noisy(images: Stack, noise_std: float, generator: np.random.Generator) -> Stack:
    if noise_std == 0:
        return images
    noise = generator.standard_normal(images.shape, dtype=np.float32)
    return images + np.float32(noise_std) * noise
