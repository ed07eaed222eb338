"""Correlated noise, and draws that scatter by it, made where the model computes.

The noise is a sum of parts, each of which has a filter of its own inside slices and a root of its
covariance along the slice axis, see `mriimpute.methods.noise`. At one frequency inside slices all
parts together have one covariance along the axis, sum_c |filter_c|^2 R_c R_c^T, so frequencies are
drawn, and white noise is multiplied by a root of that: by the same one in a ring of frequencies
that filters treat nearly alike. Random numbers are the same on every device: so are draws, but for
rounding.

Axes: p = along the slice axis, x and y = inside a slice, f = half of the frequencies of y,
c = parts of the noise, r = rings, q = frequencies of a ring.
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int
from torch import Tensor

from mriimpute.device import on_device
from mriimpute.seeds import normals
from mriimpute.stopwatch import stage

__all__ = ["CorrelatedNoise", "Draws"]

Image = Float32[np.ndarray, "i j k"]

RINGS = 48
"""Of frequencies; narrow ones in the middle, where the widest filter ends."""

JITTER = 1e-6
"""Of the variance, as white noise: without it a covariance may have no root."""


class CorrelatedNoise:
    """Noise of unit variance.

    Args:
        shape: Of the grid.
        axis: Of the slices.
        roots: Of the covariances of the parts along that axis.
        filters: What each part makes of the frequencies inside slices.
        device: Where noise is made, "cpu" or "cuda:N".
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        axis: int,
        roots: Float32[np.ndarray, "c p p"],
        filters: Float32[np.ndarray, "c x f"],
        *,
        device: str,
    ) -> None:
        self.axis, self.device, self.length = axis, device, roots.shape[1]
        self.edges = tuple(size for n, size in enumerate(shape) if n != axis)
        x, y = self.edges
        covariances = np.matmul(roots, roots.swapaxes(1, 2), dtype=np.float64)
        number = _ring_numbers(x, y)
        self.rings = []
        for ring in np.unique(number):
            inside = number == ring
            power = np.square(filters[:, inside], dtype=np.float64).mean(axis=1)
            root = _root(np.tensordot(power, covariances, axes=1))
            places = np.flatnonzero(inside)
            self.rings.append((on_device(places, device), on_device(root, device)))

    def field(self, seed: int, *purpose: str | int) -> Float32[Tensor, "i j k"]:
        """Returns the noise that is named so."""
        x, y = self.edges
        half = y // 2 + 1
        white = normals(2 * self.length * x * half, seed, *purpose, device=self.device)
        waves = torch.empty(self.length, x * half, dtype=torch.complex64, device=self.device)
        start = 0
        for places, root in self.rings:
            end = start + 2 * self.length * len(places)
            part = (root @ white[start:end].view(self.length, -1)).unflatten(1, (-1, 2))
            waves.index_copy_(1, places, torch.view_as_complex(part))
            start = end
        waves = waves.view(self.length, x, half)
        # These frequencies are their own mirror images: what is imaginary there, below, is lost.
        own = [0, -1] if y % 2 == 0 else [0]
        waves[..., own] *= math.sqrt(2)
        waves *= math.sqrt(x * y / 2)
        rows = torch.fft.ifft(waves, dim=1)
        torch.view_as_real(rows)[:, :, own, 1] = 0
        return torch.fft.irfft(rows, n=y, dim=2).movedim(0, self.axis)


class Draws:
    """Draws of one imputation, which stays on the device.

    Args:
        noise: How errors go together.
        mean: Of the draws.
        std: By what they scatter.
        observed: Voxels where they do not.
        scale_dof: Degrees of freedom of their common scale; 0: it is 1.
    """

    def __init__(
        self,
        noise: CorrelatedNoise,
        mean: Image,
        std: Image,
        observed: Bool[np.ndarray, "i j k"],
        scale_dof: int = 0,
    ) -> None:
        self.noise, self.scale_dof = noise, scale_dof
        self.mean, self.std, self.observed = (
            on_device(array, noise.device) for array in (mean, std, observed)
        )

    def draw(self, seed: int, *purpose: str | int) -> Image:
        """Returns the draw that is named so."""
        with stage("draws"), torch.no_grad():
            noise = self.noise.field(seed, *purpose).mul_(self._scale(seed, *purpose))
            drawn = torch.where(self.observed, self.mean, self.mean + self.std * noise)
            return drawn.cpu().numpy()

    def _scale(self, seed: int, *purpose: str | int) -> float:
        """Returns the scale of a draw: the square is an inverse chi-square variable of mean 1."""
        if not self.scale_dof:
            return 1.0
        errors = normals(self.scale_dof, seed, *purpose, "scale").double()
        return math.sqrt((self.scale_dof - 2) / float(errors.square().sum()))


def _ring_numbers(x: int, y: int) -> Int[np.ndarray, "x f"]:
    """Returns the ring of each frequency inside slices."""
    radius = np.hypot(np.fft.fftfreq(x)[:, None], np.fft.rfftfreq(y)) / math.sqrt(0.5)
    rings: Int[np.ndarray, "x f"] = (RINGS * radius ** (2 / 3)).astype(np.int64)
    return rings


def _root(covariance: Float64[np.ndarray, "p p"]) -> Float32[np.ndarray, "p p"]:
    """Returns a root of a covariance."""
    variance = np.trace(covariance) / len(covariance)
    root = np.linalg.cholesky(covariance + JITTER * variance * np.eye(len(covariance)))
    return root.astype(np.float32)
