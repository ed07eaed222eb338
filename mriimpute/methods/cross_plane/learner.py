"""The training loop of the cross-plane network: lines hidden inside acquired slices teach it."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mriimpute.checkpoint import understood
from mriimpute.cohort.prefetch import prefetched
from mriimpute.cohort.slices import SliceScan, gaps_of
from mriimpute.config import parse
from mriimpute.distributed import ALONE, World
from mriimpute.errors import ConfigError, TrainingError
from mriimpute.methods.cross_plane.hidden_lines import Lines, draw_lines
from mriimpute.methods.cross_plane.latent import network_of, objective
from mriimpute.methods.cross_plane.loss import conditions, scale_of
from mriimpute.methods.cross_plane.network import LineNetwork
from mriimpute.methods.cross_plane.validation import GapScore, Watched
from mriimpute.methods.cross_plane.weights import (
    Scores,
    adopt,
    as_started,
    gain_db,
    kept,
    nats,
    scores_of,
    start_of,
)
from mriimpute.optim.descent import Descent
from mriimpute.optim.schedule import rate
from mriimpute.progress import Track
from mriimpute.seeds import numpy_stream
from mriimpute.train.run_folder import RunFolder
from mriimpute.train.settings import LATENT, LineSettings
from mriimpute.train.stop import Stop

__all__ = ["finished", "learn_lines"]

log = logging.getLogger(__name__)


def finished(folder: RunFolder, settings: LineSettings, identity: Mapping[str, Any]) -> bool:
    """Tells whether a folder holds the whole run, without a look at any scan."""
    saved = folder.saved(identity)
    if saved is None or saved[1].get("step", 0) < settings.train.steps:
        return False
    log.info("%s is finished: %d crops", folder.path, settings.train.steps * settings.train.batch)
    return True


def learn_lines(
    train: Sequence[SliceScan],
    watch: Mapping[int, Sequence[Watched]],
    folder: RunFolder,
    settings: LineSettings,
    identity: Mapping[str, Any],
    *,
    device: str,
    stop: Stop,
    track: Track,
    world: World = ALONE,
) -> bool:
    """Trains the network, or goes on training it, and tells whether it is finished.

    Args:
        train: To learn from.
        watch: To judge by, for each gap; what `read_lines` returns.
        folder: Where the run lives.
        settings: Of the run.
        identity: What the checkpoint and the model file say about the run.
        device: Torch device.
        stop: When to stop early.
        track: Shows progress.
        world: The processes that share each batch. They take the steps of a process that is
            alone, and all come to the same parameters; only the main one watches.

    Raises:
        ConfigError: If the weights of the package are missing, or of another size.
        TrainingError: If the loss is not finite.
    """
    # Begin, or go on from the checkpoint.
    config, own = settings.train, gaps_of(train)
    watch = watch if world.main else {}
    start = start_of(settings)
    identity = {**identity, "start": start.checksum if start else None}
    network = network_of(settings.name, settings.model, seed=settings.seed)
    start = adopt(network, start) if start else None
    state = Descent(network, config, device)
    losses: list[list[float]] = []  # since the last report
    before: dict[int, GapScore] = {}  # of the start
    saved = folder.saved(identity)
    if saved:
        losses, before = _resumed(state, *saved, identity, folder)
    if state.step >= config.steps:
        return True
    folder.rewind("patches", state.step * config.batch if saved else -1)
    if state.step:
        log.info("going on after %d of %d steps", state.step, config.steps)
    elif start:
        before = scores_of(as_started(state.average, start), watch)
        folder.append({"step": 0, "patches": 0, **_watched(before)})
        log.info("the weights of the package: %s", _told(before, own))

    scores: dict[int, GapScore] = {}
    begun = saved_at = time.monotonic()
    first = state.step

    def draw(step: int) -> Lines:
        # Its randomness is named after the step, so nothing about it needs to be stored.
        return draw_lines(
            train,
            config.batch,
            config=settings.lines,
            generator=numpy_stream(settings.seed, "lines", step),
            rows=world.share(config.batch),
        )

    left = range(state.step, config.steps)
    for step, lines in track(prefetched(draw, left), total=len(left), label="training"):
        # One step.
        losses.append(_step(state, lines, rate(config, step), settings, world))

        # Report.
        last = state.step == config.steps
        every = max(1, config.report // config.batch)
        if last or state.step % every == 0:
            seconds = time.monotonic() - begun
            relative, density = np.mean(losses, axis=0).tolist()
            scores = scores_of(state.average, watch)
            log.info("after %d crops: %s", state.step * config.batch, _told(scores, own))
            folder.append(
                {
                    "step": state.step,
                    "patches": state.step * config.batch,
                    "loss": relative,
                    "nats": density,
                    **_watched(scores),
                    "rate": rate(config, step),
                    "seconds": round(seconds, 3),
                    "steps_per_second": round((state.step - first) / seconds, 3),
                }
            )
            losses.clear()

        # Save. Asked once: a wish that comes in between would end the run unsaved.
        stopping = world.any(stop.wanted)
        if last or stopping or time.monotonic() - saved_at > 60 * config.save_minutes:
            # Who stops a run waits: the factors of the last report are good enough for it.
            scores = scores or scores_of(state.average, watch)
            numbers = {
                "step": state.step,
                "losses": losses,
                "start": identity["start"],
                "before": {str(gap): asdict(scored) for gap, scored in before.items()},
            }
            model = kept(state.average, scores, start, before, own)
            folder.save(model, state.tensors(), identity, numbers)
            saved_at = time.monotonic()
        if stopping:
            break

    done = state.step >= config.steps
    if done and start and world.main:
        if settings.name == LATENT:
            _compare_nats(nats(before, own), nats(scores, own))
        else:
            _compare(gain_db(before, own), gain_db(scores, own))
    return done


def _resumed(
    state: Descent[LineNetwork],
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Any],
    identity: Mapping[str, Any],
    folder: RunFolder,
) -> tuple[list[list[float]], dict[int, GapScore]]:
    """Brings `state` to the checkpoint; returns the losses since the report, and `before`."""
    with understood(folder.checkpoint):
        step, losses = int(numbers["step"]), list(numbers["losses"])
        stored = numbers.get("before", {}).items()
        before = {int(gap): parse(GapScore, scored) for gap, scored in stored}
    if numbers.get("start") != identity["start"] and step < state.config.steps:
        raise ConfigError(
            f"{folder.path} was begun from other weights of the package",
            hint="choose another folder with -o, or pass --overwrite to begin anew",
        )
    state.load(tensors, step, where=str(folder.checkpoint))
    return losses, before


def _compare(before: float, after: float) -> None:
    """Tells what tuning gave."""
    if after >= before:
        log.info("gain on lines hidden in watched scans: %.2f -> %.2f dB", before, after)
    else:
        log.warning(
            "tuned weights are worse than those of the package on the scans that are watched, "
            "%.2f -> %.2f dB: those of the package are kept; a lower --set train.rate may help",
            before,
            after,
        )


def _compare_nats(before: float, after: float) -> None:
    """Tells what latent numbers give: without them, pixels are independent given the lines."""
    log.info("nats of each pixel hidden in watched scans: %.3f -> at most %.3f", before, after)
    if not after <= before:
        log.warning(
            "latent numbers explain nothing on the scans that are watched: the model is left "
            "without them; a lower --set train.rate may help"
        )


def _step(
    state: Descent[LineNetwork],
    lines: Lines,
    speed: float,
    settings: LineSettings,
    world: World,
) -> list[float]:
    """Takes one step and returns the two terms of the loss."""
    device = next(state.model.parameters()).device
    share, scale = len(lines.kept) / settings.train.batch, None
    if world.size > 1:  # as of the whole batch; found on the CPU, nobody has to wait for a GPU
        own = scale_of(
            torch.from_numpy(lines.kept), torch.from_numpy(lines.hidden), settings.train.loss
        )
        scale = torch.tensor(world.total(share * float(own)), dtype=own.dtype, device=device)
    kept, hidden = (torch.from_numpy(x).to(device) for x in (lines.kept, lines.hidden))
    sizes = lines.gap_mm, lines.along_mm, lines.thickness
    told = torch.from_numpy(conditions(lines.gap, *sizes)).to(device)
    mixed = device.type == "cuda" and settings.train.precision == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        terms = objective(state.model, kept, hidden, told, loss=settings.train.loss, scale=scale)

    (share * terms.total).backward()
    loss = share * torch.stack([terms.relative, terms.nats]).detach()
    state.add_up(world, loss)
    values = loss.tolist()
    norm = float(state.descend(speed))
    if not np.isfinite([*values, norm]).all():
        raise TrainingError(
            f"the loss is {values[0]:g}, {values[1]:g} and its gradient {norm:g} at step "
            f"{state.step}, with slices of {', '.join(sorted(set(lines.names)))}",
            hint="look at these scans; or lower --set train.rate, or train.precision=float32",
        )
    return values


def _watched(scores: Scores) -> dict[str, dict[str, float]]:
    """Returns what the journal says about scans that are watched, by gap."""
    return {
        "val_gain_db": {str(gap): round(scored.gain_db, 4) for gap, scored in scores.items()},
        "val_nats": {str(gap): round(scored.nats, 4) for gap, scored in scores.items()},
    }


def _told(scores: Scores, own: Sequence[int]) -> str:
    """Returns scores in words: those of the scans' own gaps first, then the gain of each."""
    each = ", ".join(f"{gap}: {scored.gain_db:+.2f}" for gap, scored in scores.items())
    return (
        f"{gain_db(scores, own):+.2f} dB over interpolation, {nats(scores, own):.3f} nats a pixel "
        f"(dB by gap in voxels: {each})"
    )
