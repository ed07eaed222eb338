"""Classification of images that are known up to a posterior, with its uncertainty.

The classifier is trained on draws: every step takes fresh ones, with the labels of the images they
were drawn for. An image is then classified once per draw, and the most frequent class is taken.

Axes: n = images, b = batch, s = runs, c = classes.

References:
    Tonolini et al., Tomographic Auto-Encoder, 2021, section 4.2 and supplement C.2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mriimpute.methods.patches.model import Model
from mriimpute.papers.sparse import Sparse
from mriimpute.seeds import fixed, numpy_stream, stream

__all__ = ["ClassifierConfig", "Draw", "classify", "of_posterior", "raw"]

Draw: TypeAlias = Callable[[Tensor, int, torch.Generator], Tensor]
"""Takes images (b 1 h w) with NaN where unobserved, and draws of each to make; (s b 1 h w)."""

SLOPE = 0.2  # of the leaky ReLU: the default of the paper's TensorFlow
BATCH_TESTED = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierConfig:
    """Settings of the classifier.

    Attributes:
        steps: Training steps of Adam.
        batch: Labelled images per step.
        rate: Learning rate.
        runs: Draws of every image that are classified.
    """

    steps: int
    batch: int = 100
    rate: float = 1e-3
    runs: int


def raw(y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Returns what was observed, and 0 elsewhere, once: there is nothing to draw."""
    return torch.where(y.isfinite(), y, 0.0)[None]


def of_posterior(model: Model) -> Draw:
    """Returns what draws clean images from the recovery q(x | y) of a model."""

    @torch.no_grad()
    def draw(y: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        recovery = model.recovery(y, y.isfinite())
        p = recovery.voxels(recovery.latent.sample(draws, generator))
        white = torch.randn(p.loc.shape, generator=generator, device=y.device)
        return p.loc + p.scale * white

    return draw


def classify(
    draw: Draw,
    images: Sparse,
    labels: Int64[np.ndarray, " labelled"],
    config: ClassifierConfig,
    *,
    classes: int,
    seed: int,
    device: str,
) -> Float[np.ndarray, "n c"]:
    """Returns how often each image without a label was taken for each class.

    Args:
        draw: Makes images that can be classified.
        images: The first ones have labels.
        labels: Classes of these, from 0.
        config: Training and use of the classifier.
        classes: How many classes there are.
        seed: Of initial weights, batches and draws.
        device: Of the model that draws.
    """
    count = len(labels)
    y = torch.from_numpy(images.y).to(device)
    network = _train(draw, y[:count], torch.from_numpy(labels).to(device), config, classes, seed)
    return np.concatenate(
        [
            _frequencies(network, draw, part, config.runs, stream(seed, "runs", n, device=device))
            for n, part in enumerate(y[count:].split(BATCH_TESTED))
        ]
    )


def _train(
    draw: Draw, y: Tensor, labels: Tensor, config: ClassifierConfig, classes: int, seed: int
) -> nn.Module:
    """Returns the classifier: a single fully connected layer with leaky ReLU, and a softmax."""
    with fixed(seed, "classifier"):
        layer = nn.Linear(y[0].numel(), classes)
    network = nn.Sequential(nn.Flatten(), layer, nn.LeakyReLU(SLOPE)).to(y.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.rate)
    for step in range(config.steps):
        rows = numpy_stream(seed, "labelled", step).choice(len(y), min(config.batch, len(y)))
        which = torch.from_numpy(rows).to(y.device)
        x = draw(y[which], 1, stream(seed, "classifier", step, device=y.device))[0]
        loss = nn.functional.cross_entropy(network(x), labels[which])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return network.eval()


@torch.no_grad()
def _frequencies(
    network: nn.Module, draw: Draw, y: Tensor, runs: int, generator: torch.Generator
) -> Float[np.ndarray, "b c"]:
    x = draw(y, runs, generator)
    scores = network(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    predicted = nn.functional.one_hot(scores.argmax(-1), scores.shape[-1])
    frequencies: np.ndarray = predicted.float().mean(0).cpu().numpy()
    return frequencies
