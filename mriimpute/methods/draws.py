"""Correlated noise, and draws that scatter by it, made where the model computes.

The noise is a sum of parts, each of which has a filter of its own inside slices and a root of its
covariance along the slice axis, see `mriimpute.methods.noise`. All parts are drawn as frequencies,
so one transform serves them. Their random numbers are the same on every device: so are draws, but
for rounding.

Axes: p = along the slice axis, x and y = inside a slice, f = half of the frequencies of y,
c = parts of the noise.
"""

import math
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Complex64, Float32
from torch import Tensor

from mriimpute.device import on_device
from mriimpute.seeds import normals
from mriimpute.stopwatch import stage

__all__ = ["CorrelatedNoise", "Draws"]

Image = Float32[np.ndarray, "i j k"]


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
        self.axis, self.device = axis, device
        self.edges = tuple(size for n, size in enumerate(shape) if n != axis)
        self.parts = [
            (number, on_device(root, device), on_device(passed, device))
            for number, (root, passed) in enumerate(zip(roots, filters, strict=True))
            if root.any()
        ]

    def field(self, seed: int, *purpose: str | int) -> Float32[Tensor, "i j k"]:
        """Returns the noise that is named so."""
        x, y = self.edges
        waves: Complex64[Tensor, "p x f"] | float = 0.0
        for number, root, passed in self.parts:
            length, (_, half) = len(root), passed.shape
            count = 2 * length * x * half
            white = normals(count, seed, *purpose, number, device=self.device)
            part = (root @ white.view(length, -1)).view(length, x, half, 2)
            waves = waves + torch.view_as_complex(part).mul_(passed)
        waves = cast(Tensor, waves)
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
    """

    def __init__(
        self, noise: CorrelatedNoise, mean: Image, std: Image, observed: Bool[np.ndarray, "i j k"]
    ) -> None:
        self.noise = noise
        self.mean, self.std, self.observed = (
            on_device(array, noise.device) for array in (mean, std, observed)
        )

    def draw(self, seed: int, *purpose: str | int) -> Image:
        """Returns the draw that is named so."""
        with stage("draws"), torch.no_grad():
            noise = self.noise.field(seed, *purpose)
            drawn = torch.where(self.observed, self.mean, self.mean + self.std * noise)
            return drawn.cpu().numpy()
