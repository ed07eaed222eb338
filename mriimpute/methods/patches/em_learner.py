"""Training by expectation maximisation: the same patches in every iteration."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mriimpute.checkpoint import restore, understood
from mriimpute.cohort import Cache, Cohort, SparseScan, draw_patches
from mriimpute.errors import ConfigError, TrainingError
from mriimpute.methods.patches import models
from mriimpute.methods.patches.em import em_step
from mriimpute.methods.patches.mixture_em import begin_mixture, mixture_step
from mriimpute.methods.patches.models.mixture_ppca import MixturePpca
from mriimpute.methods.patches.models.ppca import Ppca
from mriimpute.methods.patches.objectives.evidence import negative_log_evidence
from mriimpute.progress import Track
from mriimpute.seeds import numpy_stream
from mriimpute.train.run_folder import RunFolder
from mriimpute.train.settings import EmSettings
from mriimpute.train.stop import Stop

__all__ = ["maximise"]

log = logging.getLogger(__name__)

Batch = tuple[Float[Tensor, "_ 1 ..."], Bool[Tensor, "_ 1 ..."]]


def maximise(
    scans: Cohort,
    cache: Cache,
    folder: RunFolder,
    settings: EmSettings,
    identity: Mapping[str, Any],
    *,
    device: str,
    stop: Stop,
    track: Track,
) -> bool:
    """Fits a model by iterations of EM, or goes on, and tells whether it is finished.

    Args:
        scans: To learn from and to watch.
        cache: Has the scans, or they are read now.
        folder: Where the run lives.
        settings: Of the run.
        identity: What the checkpoint and the model file say about the run.
        device: Torch device.
        stop: When to stop early.
        track: Shows progress.

    Raises:
        TrainingError: If the evidence is not finite.
    """
    config = settings.train
    model = _built(settings).to(device).requires_grad_(requires_grad=False)
    done = 0
    if saved := folder.saved(identity):
        tensors, numbers = saved
        restore(model, tensors, where=str(folder.checkpoint))
        with understood(folder.checkpoint):
            done = int(numbers["step"])
    if done >= config.iterations:
        log.info("%s is finished: %d iterations", folder.path, done)
        return True
    folder.rewind("iteration", done)

    begun = time.monotonic()
    train = [cache.sparse(path) for path in scans.train]
    batches = _batches(train, settings, "patches", config.patches, device)
    watched = [cache.sparse(path) for path in scans.val]
    watched_batches = _batches(watched, settings, "validation", config.val_patches, device)
    voxels = _voxels(batches) / config.patches
    if done == 0 and isinstance(model, MixturePpca):
        begin_mixture(model, batches)

    left = range(done, config.iterations)
    for iteration in track(left, total=len(left), label="training"):
        before = _step(model, batches, config.kappa)
        loss = _loss(model, watched_batches)
        if not all(math.isfinite(value) for value in (before, loss or 0.0)):
            raise TrainingError(
                f"the evidence is not finite after iteration {iteration + 1}",
                hint="raise --set train.kappa, or lower --set model.latents",
            )
        done = iteration + 1
        folder.append(
            {
                "iteration": done,
                "loss_before": -before / voxels,
                "val_loss": loss,
                "sigma": float(model.sigma),
                "seconds": round(time.monotonic() - begun, 3),
            }
        )
        folder.save(model.state_dict(), model.state_dict(), identity, {"step": done})
        if stop.wanted:
            break

    return done >= config.iterations


def _built(settings: EmSettings) -> Ppca | MixturePpca:
    try:
        model = models.build(settings.name, settings.model, seed=settings.seed)
    except ValueError as error:
        raise ConfigError(f"model: {error}", hint="change the value") from error
    if not isinstance(model, Ppca | MixturePpca):
        raise TypeError(f"{settings.name} is no Gaussian subspace")
    return model


def _step(model: Ppca | MixturePpca, batches: Sequence[Batch], kappa: float) -> float:
    """Improves the model and returns the mean evidence per patch before, in nats."""
    match model:
        case Ppca():
            return em_step(model, batches, kappa=kappa)
        case MixturePpca():
            return mixture_step(model, batches, kappa=kappa)
        case _ as unknown:
            assert_never(unknown)


def _batches(
    scans: Sequence[SparseScan], settings: EmSettings, purpose: str, count: int, device: str
) -> list[Batch]:
    """Returns so many patches, the same ones for the same seed."""
    if not scans:
        return []
    batches, size = [], settings.train.batch
    for n in range(-(-count // size)):
        patches = draw_patches(
            scans,
            settings.grid,
            min(size, count - n * size),
            config=settings.patches,
            generator=numpy_stream(settings.seed, purpose, n),
        )
        pair = (torch.from_numpy(part).to(device) for part in (patches.y, patches.observed))
        y, observed = pair
        batches.append((y, observed))
    return batches


def _loss(model: Ppca | MixturePpca, batches: Sequence[Batch]) -> float | None:
    """Returns the negative evidence per observed voxel, in nats; None without patches."""
    if not batches:
        return None
    total = sum(float(negative_log_evidence(model, *batch).double().sum()) for batch in batches)
    return total / _voxels(batches)


def _voxels(batches: Sequence[Batch]) -> int:
    return max(sum(int(observed.sum()) for _, observed in batches), 1)
