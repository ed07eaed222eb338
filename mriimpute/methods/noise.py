"""Correlated noise of unit variance: errors of neighbouring voxels are alike, and draws must be.

Standardised errors are measured on lines hidden inside the scan's own slices, and their noise is
a sum of independent Gaussian parts, each with a filter of its own width inside slices:

    C(d; k, t, s) = sum_c r_c(d) B_c(k, t, s)

is the correlation of two pixels d apart along a line, at offsets t and s of two gaps of which the
second is the k-th after the first, and r_c is what the filter makes of white noise. Narrow parts
carry edges, wide ones regions that are wrong as a whole; on both sides of an acquired slice errors
tend to have opposite signs (k = 1). Wider apart, gaps are independent.

Axes: p = along the slice axis, x and y = inside a slice, f = half of the frequencies of y,
b = images, t = offsets inside a gap, m = gaps, w = pixels of a line, c = parts of the noise,
k = 0 and 1, l = lags along a line, g = gaps of a ring.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from numpy.typing import NDArray

from mriimpute.geometry import Stack
from mriimpute.methods.base import Imputation
from mriimpute.volume import Volume

__all__ = ["ErrorCorrelation", "ErrorSums", "unit_noise", "white", "with_noise"]

WIDTHS = (0.0, 0.8, 1.8, 5.0)
"""Of the filters of the parts, in pixels; 0: none."""

LINE_LAGS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24)
"""Along lines, in pixels, at which the correlation of errors is measured."""

FEWEST_ERRORS = 100
"""Errors at each offset that say how errors go together."""

ROUNDS, RING = 100, 6
"""Of the search for covariances, and the gaps that it looks at."""

WHITE = 1e-3
"""Share of white noise that is always there: no variance may vanish."""


@dataclass(frozen=True, slots=True, eq=False)
class ErrorCorrelation:
    """How standardised errors of equal gaps go together.

    Attributes:
        parts: B above, for two offsets of one gap and for those of a gap and the next.
    """

    parts: Float64[np.ndarray, "c 2 t t"]


def white(gap: int) -> ErrorCorrelation:
    """Returns the correlation of errors that have nothing to do with each other."""
    parts = np.zeros((len(WIDTHS), 2, gap - 1, gap - 1))
    parts[0, 0] = np.eye(gap - 1)
    return ErrorCorrelation(parts)


class ErrorSums:
    """Sums over standardised errors on lines hidden in slices.

    Args:
        gap: From one kept line to the next, in voxels.
    """

    def __init__(self, gap: int) -> None:
        shape = (2, len(LINE_LAGS), gap - 1, gap - 1)
        self.products: Float64[np.ndarray, "2 l t t"] = np.zeros(shape)
        self.counts: Float64[np.ndarray, "2 l t t"] = np.zeros(shape)

    def add(
        self, error: Float32[np.ndarray, "b t m w"], counted: Bool[np.ndarray, "b t m w"]
    ) -> None:
        """Adds the errors of images where they count."""
        weight = counted.astype(np.float32)
        self.products += _products(np.where(counted, error, np.float32(0)))
        self.counts += _products(weight)

    def fewest(self) -> int:
        """Returns how many errors there are at an offset, at least."""
        return int(np.diag(_mirrored(self.counts)[0, 0]).min() / 4)

    def deviation(self) -> Float64[np.ndarray, " t"]:
        """Returns the root mean square of the errors at each offset; mirrored ones are alike."""
        return np.sqrt(np.diag(self._mean()[0, 0]))

    def correlation(self) -> ErrorCorrelation | None:
        """Returns the correlation; None where there are too few errors at some offset, or none.

        Mirrored offsets are alike.
        """
        deviation = self.deviation()
        if self.fewest() < FEWEST_ERRORS or not deviation.all():
            return None
        correlation = self._mean() / np.outer(deviation, deviation)
        # Each lag stands for those between it and the next one.
        weights = np.sqrt(np.gradient(np.array(LINE_LAGS, np.float64)))
        filters = np.array([[_correlation(width, lag) for width in WIDTHS] for lag in LINE_LAGS])
        measured = np.moveaxis(correlation, 1, 0)
        return ErrorCorrelation(
            _parts(weights[:, None] * filters, weights[:, None, None, None] * measured)
        )

    def _mean(self) -> Float64[np.ndarray, "2 l t t"]:
        return _mirrored(self.products) / np.maximum(_mirrored(self.counts), 1)


def with_noise(
    volume: Volume,
    filled: Float32[np.ndarray, "i j k"],
    std: Float32[np.ndarray, "i j k"],
    stack: Stack,
    correlations: Mapping[int, ErrorCorrelation],
    seed: int,
    case: str,
    *,
    device: str = "cpu",
    scale_dof: int = 0,
) -> Imputation:
    """Returns an imputation whose draws scatter about the mean by the std.

    How wide all errors of a scan are is not known for certain, and does not average out as noise
    does over many voxels: all of a draw has a scale of its own, of mean square 1, and draws are
    those of a multivariate Student's t.

    Args:
        volume: Its observed voxels are kept.
        filled: The mean elsewhere.
        std: The standard deviation elsewhere.
        stack: Where slices were acquired.
        correlations: By size of the gap; noise is white where there is none.
        seed: Names all random streams; from 0.
        case: Name of the scan.
        device: Where draws are made, "cpu" or "cuda:N".
        scale_dof: Degrees of freedom of the t, above 2: by how many errors the std is as good as
            measured; 0: it is certain.

    References:
        Kotz & Nadarajah, Multivariate t Distributions and Their Applications, 2004, section 1.1.
    """
    mean = np.where(volume.observed, volume.data, filled)
    std = np.where(volume.observed, np.float32(0), std)

    @cache  # only if there is a draw, and once for all
    def draws() -> Any:
        from mriimpute.methods.draws import Draws  # loads torch

        noise = _noise(mean.shape, stack, correlations, device)
        return Draws(noise, mean, std, volume.observed, scale_dof)

    def draw(number: int) -> Float32[np.ndarray, "i j k"]:
        return draws().draw(seed, "impute", case, "draw", number)

    return Imputation(mean=mean, std=std, draw=draw)


def unit_noise(
    shape: tuple[int, int, int],
    stack: Stack,
    correlations: Mapping[int, ErrorCorrelation],
    *,
    seed: int,
    case: str,
    draw: int,
) -> Float32[np.ndarray, "i j k"]:
    """Returns N(0, 1) noise on the whole grid, correlated inside slices and along their axis.

    It depends on the seed, the case and the number of the draw, and on nothing else that is
    drawn.

    Args:
        shape: Of the grid.
        stack: Where slices were acquired.
        correlations: By size of the gap; noise is white where there is none.
        seed: Names all random streams; from 0.
        case: Name of the scan.
        draw: Number of the draw.
    """
    noise = _noise(shape, stack, correlations, device="cpu")
    return noise.field(seed, "impute", case, "draw", draw).numpy()


def _products(values: Float32[np.ndarray, "b t m w"]) -> Float64[np.ndarray, "2 l t t"]:
    """Returns sums of products, by distance in gaps, by lag and by both offsets."""
    _, offsets, gaps, width = values.shape
    found = np.zeros((2, len(LINE_LAGS), offsets, offsets))
    for distance in range(min(2, gaps)):
        for index, lag in enumerate(lag for lag in LINE_LAGS if lag < width):
            first = values[:, :, : gaps - distance, : width - lag]
            second = values[:, :, distance:, lag:]
            found[distance, index] = np.tensordot(first, second, axes=((0, 2, 3), (0, 2, 3)))
    return found


def _mirrored(sums: Float64[np.ndarray, "2 l t t"]) -> Float64[np.ndarray, "2 l t t"]:
    """Returns sums over a slice and over the same one upside down."""
    same, following = sums
    same = same + same.swapaxes(-1, -2)
    return np.stack(
        [same + same[:, ::-1, ::-1], following + following[:, ::-1, ::-1].swapaxes(-1, -2)]
    )


def _parts(
    filters: Float64[np.ndarray, "l c"], measured: Float64[np.ndarray, "l 2 t t"]
) -> Float64[np.ndarray, "c 2 t t"]:
    """Returns the covariances of the parts that explain best what was measured at all lags.

    Where filters are much alike, least squares alone finds parts that are no covariances. To make
    covariances of them afterwards adds white noise, and smooth errors would get grain. Found by
    turns: least squares, and the nearest covariances of a ring of gaps.

    References:
        Boyd et al., Distributed Optimization and Statistical Learning via ADMM, 2011, section 5.
    """
    gram = filters.T @ filters
    wanted = np.tensordot(filters.T, measured, axes=1)
    weight = 0.1 * np.trace(gram) / len(gram)
    solve = np.linalg.inv(gram + weight * np.eye(len(gram)))
    ring = lack = np.zeros((len(wanted), RING, *wanted.shape[2:]))
    for _ in range(ROUNDS):
        free = np.tensordot(solve, wanted + weight * (ring - lack)[:, :2], axes=1)
        lack = lack + _closed(free)
        ring = _nearest_covariances(lack)
        lack = lack - ring
    return ring[:, :2]


def _closed(parts: Float64[np.ndarray, "c 2 t t"]) -> Float64[np.ndarray, "c g t t"]:
    """Returns the covariances of a gap with all gaps of a ring."""
    same, following = parts[:, 0], parts[:, 1]
    ring = np.zeros((len(parts), RING, *same.shape[1:]))
    ring[:, 0], ring[:, 1], ring[:, -1] = same, following, following.swapaxes(-1, -2)
    return ring


def _nearest_covariances(ring: Float64[np.ndarray, "c g t t"]) -> Float64[np.ndarray, "c g t t"]:
    """Returns what is nearest and has no negative eigenvalues: waves around the ring have none."""
    values, vectors = np.linalg.eigh(np.fft.rfft(ring, axis=1))
    positive = np.maximum(values, 0)[..., None, :]
    waves = np.matmul(vectors * positive, vectors.conj().swapaxes(-1, -2))
    return np.asarray(np.fft.irfft(waves, n=RING, axis=1))


def _roots(
    length: int, stack: Stack, correlations: Mapping[int, ErrorCorrelation]
) -> Float32[np.ndarray, "c p p"]:
    """Returns square roots of the covariances of the parts along the slice axis.

    What was measured is the covariance of nothing, quite: the nearest that is has no negative
    eigenvalues. It is scaled so that parts keep their shares and their sum has unit variance.
    """
    covariances = _covariances(length, stack, correlations)
    values, vectors = np.linalg.eigh(covariances)
    positive = np.maximum(values, 0)
    shares = np.maximum(values.sum(axis=1), 0) / np.maximum(positive.sum(axis=1), 1e-30)
    shares[0] = max(shares[0], WHITE)  # acquired slices have no other part; one may have holes
    roots = vectors * np.sqrt(shares[:, None] * positive)[:, None]
    variance = np.square(roots).sum(axis=(0, 2))
    # The symmetric roots: those do not depend on the signs of the eigenvectors.
    roots = np.matmul(roots, vectors.swapaxes(1, 2)) / np.sqrt(variance)[:, None]
    return roots.astype(np.float32)


def _covariances(
    length: int, stack: Stack, correlations: Mapping[int, ErrorCorrelation]
) -> Float64[np.ndarray, "c p p"]:
    """Returns what the correlations say about any two positions along the slice axis."""
    found = np.zeros((len(WIDTHS), length, length))
    found[0] = np.eye(length)
    pairs = list(zip(stack.positions, stack.gaps, strict=False))
    for number, (start, gap) in enumerate(pairs):
        if gap not in correlations:
            continue
        here, following = (slice(at + 1, at + gap) for at in (start, start + gap))
        same, next_one = np.moveaxis(correlations[gap].parts, 1, 0)
        found[:, here, here] = same
        if number + 1 < len(pairs) and pairs[number + 1][1] == gap:
            found[:, here, following] = next_one
            found[:, following, here] = next_one.swapaxes(1, 2)
    found[0] += WHITE * np.eye(length)
    return found


def _noise(
    shape: tuple[int, ...], stack: Stack, correlations: Mapping[int, ErrorCorrelation], device: str
) -> Any:
    from mriimpute.methods.draws import CorrelatedNoise  # loads torch

    x, y = (size for n, size in enumerate(shape) if n != stack.axis)
    roots = _roots(shape[stack.axis], stack, correlations)
    filters = np.stack([_response(width, x, y) for width in WIDTHS])
    return CorrelatedNoise(shape, stack.axis, roots, filters, device=device)


def _response(width: float, x: int, y: int) -> Float32[np.ndarray, "x f"]:
    """Returns what a filter of `width` makes of each frequency of a slice that has no borders."""
    along_x, along_y = _spectrum(width, x), _spectrum(width, y)[: y // 2 + 1]
    return np.outer(along_x, along_y).astype(np.float32)


def _spectrum(width: float, size: int) -> Float64[np.ndarray, " n"]:
    """Returns the spectrum of the filter, wrapped around `size` pixels and of unit variance."""
    kernel = _kernel(width)
    wrapped = np.zeros(size)
    np.add.at(wrapped, (np.arange(len(kernel)) - len(kernel) // 2) % size, kernel)
    spectrum: NDArray[np.float64] = np.fft.fft(wrapped).real
    return spectrum / np.sqrt(np.square(spectrum).mean())


def _kernel(width: float) -> Float[np.ndarray, " n"]:
    """Returns a Gaussian of `width` pixels that makes unit variance out of unit variance."""
    reach = math.ceil(4 * width)
    places = np.arange(-reach, reach + 1) / max(width, 1e-30)
    kernel: NDArray[np.float64] = np.exp(-0.5 * np.square(places))
    return kernel / np.sqrt(np.square(kernel).sum())


def _correlation(width: float, lag: int) -> float:
    """Returns the correlation of pixels `lag` apart after filtering white noise."""
    kernel = _kernel(width)
    return float((kernel[lag:] * kernel[: max(len(kernel) - lag, 0)]).sum())
