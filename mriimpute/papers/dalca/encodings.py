"""Ways to encode images with missing pixels linearly: filling them in, or the sparse layer.

The protocol of figure 4 of Dalca et al., which `fig4` describes.

Axes: n = images, b = batch, (h, w) = rows and columns, p = pixels, d = coordinates.
"""

from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from mriimpute.methods.patches.layers.linear import ObservedLinear
from mriimpute.papers.dalca.methods import interpolated
from mriimpute.papers.data import Data, enough
from mriimpute.papers.experiment import Outcome
from mriimpute.papers.fit import batch_of
from mriimpute.papers.sparse import Sparse, permuted, random_missing
from mriimpute.seeds import fixed, numpy_stream

__all__ = [
    "ENCODINGS",
    "LATENTS",
    "ORDERS",
    "Encoding",
    "Learning",
    "Order",
    "Projection",
    "components",
    "filled",
    "pixel_means",
    "project",
    "respond",
    "train_autoencoder",
]

Encoding = Literal["zero", "mean", "interpolation", "sparse"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
Order = Literal["original", "permuted"]
ORDERS: tuple[Order, ...] = get_args(Order)
LATENTS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """The size of (a, b).

    Attributes:
        fitted: Training images: fully observed for the components, sparse for the pixel means.
        projected: Test images.
        repeats: Patterns of missing pixels, and orders of all pixels.
    """

    fitted: int
    projected: int
    repeats: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Learning:
    """The size of (c, d).

    Attributes:
        train: Training images.
        val: Validation images.
        epochs: Passes through the training images.
        batch: Images per step.
        rate: Learning rate of Adam.
    """

    train: int
    val: int
    epochs: int
    batch: int = 64
    rate: float = 5e-3


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
            return interpolated(sparse)
        case "sparse":
            return sparse.y
        case _ as unknown:
            assert_never(unknown)


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


def project(data: Data, size: Projection, *, order: Order, level: int, seed: int) -> Outcome:
    """Returns the error of each encoding's response, and the variance of the true one.

    Args:
        data: Gives Fashion-MNIST.
        size: How many images, how often.
        order: Of the pixels, one for all images.
        level: Missing pixels, in per cent.
        seed: Of patterns and orders.
    """
    train = data.images("fashion", "train").images[: size.fitted]
    test = data.images("fashion", "test").images[: size.projected]
    errors: dict[str, list[float]] = {encoding: [] for encoding in ENCODINGS}
    variance = 0.0
    for repeat in range(size.repeats):
        generator = numpy_stream(seed, "fig4", "subspace", level, repeat)
        sparse, fitted = (
            random_missing(images, level / 100, 0.0, generator) for images in (test, train)
        )
        if order == "permuted":
            shuffle = numpy_stream(seed, "fig4", "order", repeat).permutation(sparse.y[0].size)
            sparse, fitted = permuted(sparse, shuffle), permuted(fitted, shuffle)
        means = pixel_means(fitted)
        w, mu = components(fitted.truth)

        truth = (sparse.truth.reshape(len(sparse), -1) - mu) @ w
        variance = float(truth.var(axis=0).mean())
        for encoding in ENCODINGS:
            response = respond(encoding, sparse, w, mu, means)
            errors[encoding].append(float(np.square(response - truth).mean()))
    return Outcome({"mse": errors, "variance": variance})


def train_autoencoder(
    data: Data,
    size: Learning,
    *,
    encoding: Encoding,
    level: int,
    repeat: int,
    seed: int,
    device: str,
) -> Outcome:
    """Returns the validation error of observed pixels by epoch, and the last one of all pixels.

    Args:
        data: Gives Fashion-MNIST.
        size: How many images, how often.
        encoding: Of the encoder.
        level: Missing pixels, in per cent.
        repeat: Each has its own patterns and initial weights.
        seed: Of patterns, initial weights and order of the images.
        device: "cpu" or "cuda:N".
    """
    images = data.images("fashion", "train").images[: size.train + size.val]
    enough(len(images), size.train + size.val, "images of Fashion-MNIST to train")
    generator = numpy_stream(seed, "fig4", "autoencoder", level, repeat)
    sparse = random_missing(images, level / 100, 0.0, generator)
    train, val = sparse.take(slice(size.train)), sparse.take(slice(size.train, None))
    means = pixel_means(train)
    inputs, val_inputs = (_flat(filled(encoding, part, means), device) for part in (train, val))
    targets, val_targets = (_flat(part.y, device) for part in (train, val))

    with fixed(seed, "fig4", "autoencoder", repeat):
        model = AutoEncoder(targets.shape[1], sparse=encoding == "sparse").to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=size.rate)
    steps = -(-len(train) // size.batch)
    losses = [_observed_error(model, val_inputs, val_targets)]
    for step in range(size.epochs * steps):
        which = torch.from_numpy(batch_of(len(train), size.batch, step, seed)).to(device)
        y = targets[which]
        error = torch.where(y.isfinite(), model(inputs[which]) - y, 0.0)
        optimiser.zero_grad(set_to_none=True)
        (error.square().sum() / y.isfinite().sum()).backward()
        optimiser.step()
        if (step + 1) % steps == 0:
            losses.append(_observed_error(model, val_inputs, val_targets))

    truth = _flat(val.truth, device)
    return Outcome({"val_loss": losses, "val_mse_all": _observed_error(model, val_inputs, truth)})


def _flat(images: Float32[np.ndarray, "n 1 h w"], device: str) -> Float[Tensor, "n p"]:
    return torch.from_numpy(images).flatten(1).to(device)


@torch.no_grad()
def _observed_error(
    model: nn.Module, inputs: Float[Tensor, "n p"], y: Float[Tensor, "n p"]
) -> float:
    """Returns the mean squared error over what is not NaN in `y`."""
    error = torch.where(y.isfinite(), model(inputs) - y, 0.0)
    return float(error.square().sum() / y.isfinite().sum())
