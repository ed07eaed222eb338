"""The training loop of patch models."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mriimpute.cohort import Cache, Cohort, Patches, SparseScan, draw_patches, prefetched
from mriimpute.distributed import ALONE, World
from mriimpute.errors import TrainingError
from mriimpute.layers.noise import Share
from mriimpute.methods.patches.layers.fill import ObservedMean
from mriimpute.methods.patches.model import Model
from mriimpute.methods.patches.objective import objective
from mriimpute.methods.patches.state import State
from mriimpute.optim.schedule import rate, weight
from mriimpute.progress import Track
from mriimpute.seeds import numpy_stream, stream
from mriimpute.train.run_folder import RunFolder
from mriimpute.train.settings import Settings
from mriimpute.train.stop import Stop

__all__ = ["learn"]

log = logging.getLogger(__name__)


def learn(
    scans: Cohort,
    cache: Cache,
    folder: RunFolder,
    settings: Settings,
    identity: Mapping[str, Any],
    *,
    device: str,
    stop: Stop,
    track: Track,
    world: World = ALONE,
) -> bool:
    """Trains a model, or goes on training it, and tells whether it is finished.

    Args:
        scans: To learn from and to watch.
        cache: Has the scans, or they are read now.
        folder: Where the run lives.
        settings: Of the run.
        identity: What the checkpoint and the model file say about the run.
        device: Torch device.
        stop: When to stop early.
        track: Shows progress.
        world: The processes that share each batch. They take the steps of a process that is
            alone, and all come to the same parameters; only the main one watches.
    """
    # Begin, or go on from the checkpoint.
    config = settings.train
    state = State(settings, device)
    if saved := folder.saved(identity):
        state.resume(*saved, where=str(folder.checkpoint))
    if state.step >= config.steps:
        log.info("%s is finished: %d patches", folder.path, state.patches)
        return True
    folder.rewind("patches", state.patches)
    if state.step:
        log.info("going on after %d of %d patches", state.patches, config.steps * config.batch)

    train = [cache.sparse(path) for path in scans.train]
    watched = _watched([cache.sparse(path) for path in scans.val if world.main], settings)
    _share_means(state.model, world)
    rows = world.share(config.batch)
    begun = saved_at = time.monotonic()
    first = state.patches

    def draw(step: int) -> Patches:
        # Its randomness is named after the step, so nothing about it needs to be stored.
        return draw_patches(
            train,
            settings.grid,
            config.batch,
            config=settings.patches,
            generator=numpy_stream(settings.seed, "patches", step),
            rows=rows,
        )

    left = range(state.step, config.steps)
    for step, patches in track(prefetched(draw, left), total=len(left), label="training"):
        # One step.
        generator = stream(settings.seed, "train", step, device=device)
        if world.size > 1:
            generator = Share(generator, rows, config.batch)
        nats, own_voxels = _nats(state.model, patches, settings, weight(config, step), generator)
        voxels = int(world.total(own_voxels))
        (nats / max(voxels, 1)).backward()
        loss = nats.detach()
        state.add_up(world, loss)
        value = float(loss)
        norm = float(state.descend(rate(config, step)))
        if not (abs(value) < float("inf") and norm < float("inf")):
            raise TrainingError(
                f"the loss is {value:g} and its gradient {norm:g} at step {step}, "
                f"with patches of {', '.join(sorted(set(patches.names)))}",
                hint="look at these scans; or lower --set train.rate, or train.precision=float32",
            )
        state.nats += value
        state.voxels += voxels

        # Report.
        last = state.step == config.steps
        if (
            last
            or state.patches // config.report > (state.patches - config.batch) // config.report
        ):
            seconds = time.monotonic() - begun
            folder.append(
                {
                    "step": state.step,
                    "patches": state.patches,
                    "loss": state.nats / max(state.voxels, 1),
                    "val_loss": _watch(state.average, watched, settings, device),
                    "sigma": float(state.average.sigma),
                    "rate": rate(config, step),
                    "weight": weight(config, step),
                    "seconds": round(seconds, 3),
                    "patches_per_second": round((state.patches - first) / seconds, 2),
                }
            )
            state.nats, state.voxels = 0.0, 0

        # Save. A stop that is asked for after this line waits for the next step.
        stopping = world.any(stop.wanted)
        if last or stopping or time.monotonic() - saved_at > 60 * config.save_minutes:
            folder.save(state.average.state_dict(), state.tensors(), identity, state.numbers())
            saved_at = time.monotonic()
        if stopping:
            break

    return state.step >= config.steps


def _share_means(model: Model, world: World) -> None:
    """Lets a model that gathers means of its input gather them over all processes."""
    for module in model.modules():
        if isinstance(module, ObservedMean) and world.size > 1:
            module.add_up = world.add_up


def _nats(
    model: Model,
    patches: Patches,
    settings: Settings,
    prior_weight: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, ""], int]:
    """Returns the objective summed over patches, and how many voxels it explains."""
    config, device = settings.train, generator.device
    y = torch.from_numpy(patches.y).to(device)
    observed = torch.from_numpy(patches.observed).to(device)
    mixed = device.type == "cuda" and config.precision == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        nats = objective(model, y, observed, config, weight=prior_weight, generator=generator)

    return nats.sum(), int(patches.observed.sum())


def _watched(scans: Sequence[SparseScan], settings: Settings) -> list[Patches]:
    """Returns the patches of the validation loss: the same ones at every report."""
    if not scans:
        return []
    size = settings.train.batch
    return [
        draw_patches(
            scans,
            settings.grid,
            size,
            config=settings.patches,
            generator=numpy_stream(settings.seed, "validation", n),
        )
        for n in range(-(-settings.train.val_patches // size))
    ]


@torch.no_grad()
def _watch(
    model: Model, watched: Sequence[Patches], settings: Settings, device: str
) -> float | None:
    """Returns the loss per observed voxel of validation scans, in nats; None without scans."""
    total, voxels = 0.0, 0
    for n, patches in enumerate(watched):
        generator = stream(settings.seed, "watch", n, device=device)
        nats, count = _nats(model, patches, settings, 1.0, generator)
        total, voxels = total + float(nats), voxels + count
    return total / max(voxels, 1) if watched else None
