"""Training a model on sparse images, as `mriimpute.train` does on patches of scans.

Axes: b = batch, (h, w) = rows and columns.
"""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from mriimpute.errors import TrainingError
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.objective import objective
from mriimpute.methods.patches.state import State
from mriimpute.optim.schedule import rate, weight
from mriimpute.papers._corrupt import Sparse
from mriimpute.progress import Track, silent
from mriimpute.seeds import numpy_stream, stream
from mriimpute.train.settings import Settings, TrainConfig

__all__ = ["fit"]

Journal = list[dict[str, Any]]


def fit(
    name: str,
    model_settings: Mapping[str, Any],
    train: TrainConfig,
    sparse: Sparse,
    *,
    seed: int,
    device: str,
    track: Track = silent,
    watched: Sparse | None = None,
    fused: bool = False,
) -> tuple[Model, Journal]:
    """Trains a model on what was observed of sparse images.

    Args:
        name: Of the model.
        model_settings: Of its `Config`; `patch` is that of the images unless given.
        train: How long and how fast; a "patch" is an image.
        sparse: The images; their truth is not looked at.
        seed: Of the initial parameters, the order of the images and the draws.
        device: "cpu" or "cuda:N".
        track: Shows progress.
        watched: Further images for `val_loss`, which is over their observed pixels.
        fused: See `mriimpute.optim.descent.Descent`.

    Returns:
        The moving average of the model, in evaluation mode, and one line of the journal per
        `train.report` images: step, epoch, loss, sigma, seconds, and val_loss of what is watched.

    Raises:
        TrainingError: If loss or gradient is not finite.
    """
    patch = {"patch": sparse.grid, **model_settings}
    state = State(Settings(name=name, seed=seed, model=patch, train=train), device, fused=fused)
    images = torch.from_numpy(sparse.y).to(device)
    journal: Journal = []
    begun, nats, pixels = time.monotonic(), 0.0, 0

    for step in track(range(train.steps), total=train.steps, label=f"training {name}"):
        which = torch.from_numpy(batch_of(len(sparse), train.batch, step, seed)).to(device)
        generator = stream(seed, "train", step, device=device)
        loss, count = _loss(state.model, images[which], train, weight(train, step), generator)
        (loss / max(count, 1)).backward()
        value, norm = float(loss.detach()), float(state.descend(rate(train, step)))
        if not (abs(value) < float("inf") and norm < float("inf")):
            raise TrainingError(
                f"{name}: the loss is {value:g} and its gradient {norm:g} at step {step}",
                hint="lower the learning rate of the experiment",
            )
        nats, pixels = nats + value, pixels + count

        if state.step == train.steps or state.patches % train.report < train.batch:
            line = {
                "step": state.step,
                "epoch": state.patches / len(sparse),
                "loss": nats / max(pixels, 1),
                "sigma": float(state.average.sigma),
                "seconds": round(time.monotonic() - begun, 3),
            }
            if watched is not None:
                line["val_loss"] = _watch(state.average, watched, train, seed, device)
            journal.append(line)
            nats, pixels = 0.0, 0

    return state.average.eval(), journal


def batch_of(images: int, batch: int, step: int, seed: int) -> Int64[np.ndarray, " b"]:
    """Returns which images a step sees: every image once per epoch, in an order of its own."""
    places = np.arange(step * batch, (step + 1) * batch)
    epochs = places // images
    pairs = zip(epochs.tolist(), (places % images).tolist(), strict=True)
    return np.array([_order(images, epoch, seed)[place] for epoch, place in pairs], dtype=np.int64)


@lru_cache(maxsize=2)  # a batch may reach from one epoch into the next
def _order(images: int, epoch: int, seed: int) -> Int64[np.ndarray, " n"]:
    return numpy_stream(seed, "images", epoch).permutation(images)


def _loss(
    model: Model, y: Tensor, config: TrainConfig, prior_weight: float, generator: torch.Generator
) -> tuple[Tensor, int]:
    """Returns the objective summed over images, and how many pixels it explains."""
    observed = y.isfinite()
    mixed = y.device.type == "cuda" and config.precision == "bfloat16"
    with torch.autocast(y.device.type, torch.bfloat16, enabled=mixed):
        nats = objective(model, y, observed, config, weight=prior_weight, generator=generator)
    return nats.sum(), int(observed.sum())


@torch.no_grad()
def _watch(model: Model, watched: Sparse, config: TrainConfig, seed: int, device: str) -> float:
    total, pixels = 0.0, 0
    for n, start in enumerate(range(0, min(len(watched), config.val_patches), config.batch)):
        stop = min(start + config.batch, config.val_patches)
        y = torch.from_numpy(watched.y[start:stop]).to(device)
        generator = stream(seed, "watch", n, device=device)
        nats, count = _loss(model, y, config, 1.0, generator)
        total, pixels = total + float(nats), pixels + count
    return total / max(pixels, 1)
