"""Ways to encode images with missing pixels linearly: filling them in, or the sparse layer.

Axes: n = images, b = batch, (h, w) = rows and columns, p = pixels, d = coordinates.
"""

from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from mriimpute.methods.patches.layers.linear import ObservedLinear
from mriimpute.papers.scattered import linear_fill
from mriimpute.papers.sparse import Sparse

__all__ = [
    "ENCODINGS",
    "LATENTS",
    "AutoEncoder",
    "Encoding",
    "components",
    "filled",
    "observed_error",
    "pixel_means",
    "respond",
]

Encoding = Literal["zero", "mean", "interpolation", "sparse"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
LATENTS = 10


def components(
    images: Float32[np.ndarray, "n 1 h w"],
) -> tuple[Float32[np.ndarray, "p d"], Float32[np.ndarray, " p"]]:
    """Returns the first principal components of images, orthonormal, and their mean."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    mu = flat.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(flat - mu, rowvar=False))  # ascending
    return vectors[:, : -LATENTS - 1 : -1].astype(np.float32), mu.astype(np.float32)


def respond(
    encoding: Encoding,
    sparse: Sparse,
    w: Float32[np.ndarray, "p d"],
    mu: Float32[np.ndarray, " p"],
    means: Float32[np.ndarray, "h w"],
) -> Float32[np.ndarray, "n d"]:
    """Returns the response of a layer with PCA's weights to sparse images."""
    if encoding != "sparse":
        return (filled(encoding, sparse, means).reshape(len(sparse), -1) - mu) @ w
    layer = ObservedLinear(len(mu), LATENTS, ridge="relative")
    with torch.no_grad():
        layer.subspaces.w.copy_(torch.from_numpy(w)[None, None])
        layer.subspaces.mu.copy_(torch.from_numpy(mu)[None, None])
        y = torch.from_numpy(sparse.y).flatten(2)
        response: Float32[np.ndarray, "n d"] = layer(y, y.isfinite()).numpy()
    return response


def filled(
    encoding: Encoding, sparse: Sparse, means: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "n 1 h w"]:
    """Returns images whose missing pixels are filled in, or left NaN for the sparse layer."""
    match encoding:
        case "zero":
            return np.where(sparse.observed, sparse.y, np.float32(0))
        case "mean":
            return np.where(sparse.observed, sparse.y, means)
        case "interpolation":
            pairs = zip(sparse.y[:, 0], sparse.observed[:, 0], strict=True)
            return np.stack([linear_fill(y, observed)[None] for y, observed in pairs])
        case "sparse":
            return sparse.y


def pixel_means(sparse: Sparse) -> Float32[np.ndarray, "h w"]:
    """Returns the mean of what was observed at each pixel; 0 where nothing ever was."""
    observed = sparse.observed[:, 0]
    total = np.where(observed, sparse.y[:, 0], np.float32(0)).sum(axis=0, dtype=np.float64)
    return (total / np.maximum(observed.sum(axis=0), 1)).astype(np.float32)


class AutoEncoder(nn.Module):
    """A linear encoder of filled images, or the sparse layer, and a linear decoder."""

    def __init__(self, pixels: int, *, sparse: bool) -> None:
        super().__init__()
        self.encoder: ObservedLinear | nn.Linear = (
            ObservedLinear(pixels, LATENTS, ridge="relative")
            if sparse
            else nn.Linear(pixels, LATENTS)
        )
        self.decoder = nn.Linear(LATENTS, pixels)

    def forward(self, y: Float[Tensor, "b p"]) -> Float[Tensor, "b p"]:
        """Returns the reconstruction; NaN stands for missing, for the sparse layer alone."""
        if isinstance(self.encoder, ObservedLinear):
            return self.decoder(self.encoder(y[:, None], y.isfinite()[:, None]))
        return self.decoder(self.encoder(y))


@torch.no_grad()
def observed_error(
    model: nn.Module, given: Float[Tensor, "n p"], y: Float[Tensor, "n p"]
) -> float:
    """Returns the mean squared error over what is not NaN in `y`."""
    error = torch.where(y.isfinite(), model(given) - y, 0.0)
    return float(error.square().sum() / y.isfinite().sum())
