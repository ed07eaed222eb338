"""Training a model on sparse images, as `mriimpute.training` does on patches of scans."""

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from mriimpute.cohort import Cache, Cohort, Patches
from mriimpute.errors import TrainingError
from mriimpute.methods.patches.config import PatchTrainingConfig
from mriimpute.methods.patches.hidden import NOTHING_HIDDEN, HiddenConfig, with_hidden
from mriimpute.methods.patches.learner import PatchLearner
from mriimpute.methods.patches.model import Model
from mriimpute.papers.sparse import Sparse
from mriimpute.progress import Track, silent
from mriimpute.seeds import numpy_stream
from mriimpute.training.folder import RunFolder
from mriimpute.training.loop import learn
from mriimpute.training.stop import Stop

__all__ = ["Journal", "batch_of", "fit"]

Journal = list[dict[str, Any]]

NOWHERE = Path("in memory")


def fit(
    name: str,
    model_settings: Mapping[str, Any],
    train: PatchTrainingConfig,
    sparse: Sparse,
    *,
    seed: int,
    device: str,
    track: Track = silent,
    validation: Sparse | None = None,
    hidden: HiddenConfig = NOTHING_HIDDEN,
) -> tuple[Model, Journal]:
    """Trains a model on what was observed of sparse images.

    Args:
        name: Of the model, as `--model` takes it.
        model_settings: Of its `Config`; `patch` is that of the images unless given.
        train: How long and how fast; a "patch" is an image.
        sparse: The images; their truth is not looked at.
        seed: Names the streams of initial parameters, the order of the images and draws.
        device: "cpu" or "cuda:N".
        track: Shows progress.
        validation: Further images for `val_loss`, which is over their observed pixels.
        hidden: What encoders do not see of what was observed.

    Returns:
        The moving average of the model, in evaluation mode, and one line of the journal per
        `train.report` images: step, epoch, loss, sigma, seconds, and val_loss with `validation`.

    Raises:
        TrainingError: If loss or gradient is not finite.
    """
    patch = {"patch": sparse.grid, **model_settings}
    learner = ImageLearner(name, model=patch, train=train, hidden=hidden, seed=seed, device=device)
    learner.label = f"training {name}"
    learner.show(sparse, validation)
    folder = Unsaved(NOWHERE)
    nothing = Cohort(()), Cache(NOWHERE)
    try:
        learn(learner, *nothing, folder, {}, stop=Stop(None), track=track)
    except TrainingError as error:
        raise TrainingError(
            f"{name}: {error}", hint="lower the learning rate of the experiment"
        ) from error
    return learner.state.average.eval(), folder.lines


def batch_of(images: int, batch: int, step: int, seed: int) -> Int64[np.ndarray, " b"]:
    """Returns which images a step sees: every image once per epoch, shuffled for each."""
    places = np.arange(step * batch, (step + 1) * batch)
    epochs = places // images
    pairs = zip(epochs.tolist(), (places % images).tolist(), strict=True)
    return np.array([_order(images, epoch, seed)[place] for epoch, place in pairs], dtype=np.int64)


@lru_cache(maxsize=2)  # a batch may reach from one epoch into the next
def _order(images: int, epoch: int, seed: int) -> Int64[np.ndarray, " n"]:
    return numpy_stream(seed, "images", epoch).permutation(images)


class ImageLearner(PatchLearner):
    """Learns from whole images in place of patches of scans."""

    def show(self, sparse: Sparse, validation: Sparse | None) -> None:
        """Sets what there is to learn from, and to validate on."""
        self.images = sparse
        validation = sparse.take(slice(0)) if validation is None else validation
        size, count = self.config.batch, min(len(validation), self.config.val_patches)
        self.validation = [
            _patches(validation, slice(n, min(n + size, count))) for n in range(0, count, size)
        ]

    def prepare(self, scans: Cohort, cache: Cache) -> None:
        """Leaves scans alone: images are there."""
        self.settle_noise()

    def batch(self, step: int) -> Patches:
        """Returns the images of a step."""
        which = batch_of(len(self.images), self.config.batch, step, self.seed)
        images = _patches(self.images, which)
        if not self.hidden.hides:
            return images
        streams = partial(numpy_stream, self.seed, "hidden", step)
        return with_hidden(images, self.hidden, streams)

    def report(self, seconds: float) -> dict[str, Any]:
        """Returns a line of the journal."""
        line = super().report(seconds)
        line["epoch"] = line["patches"] / len(self.images)
        keys = ["step", "epoch", "loss", "sigma", "seconds"]
        if self.validation:
            keys.append("val_loss")
        return {key: line[key] for key in keys}


class Unsaved(RunFolder):
    """Keeps the journal, and no checkpoint: an experiment is done again or not at all."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lines: Journal = []

    def saved(self, identity: Mapping[str, Any]) -> None:
        """Returns nothing: each run is new."""

    def begin(self) -> None:
        """Does nothing: there is no folder."""

    def rewind(self, key: str, upto: int) -> None:
        """Does nothing: there are no lines yet."""

    def append(self, line: Mapping[str, Any]) -> None:
        """Adds one line to the journal."""
        self.lines.append(dict(line))

    def save(self, *parts: Any) -> None:
        """Saves nothing."""


def _patches(sparse: Sparse, which: slice | Int64[np.ndarray, " b"]) -> Patches:
    y = sparse.y[which]
    return Patches(y, np.isfinite(y), ())
