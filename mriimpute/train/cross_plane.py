"""The training loop of the cross-plane network: lines hidden inside acquired slices teach it."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mriimpute.checkpoint import understood
from mriimpute.config import parse
from mriimpute.data import Cohort
from mriimpute.data.lines import Lines, draw_lines, whole_slices
from mriimpute.data.slices import SliceScan, gaps_of, read_slices
from mriimpute.errors import TrainingError
from mriimpute.inference.cross_plane_network import FLIPS, Config, build, conditions, objective
from mriimpute.inference.line_scores import GapScore, Watched, score, watched
from mriimpute.nn.lines import LineNetwork
from mriimpute.progress import Track
from mriimpute.seeds import numpy_stream
from mriimpute.train.descent import Descent
from mriimpute.train.folder import RunFolder
from mriimpute.train.schedule import rate
from mriimpute.train.settings import LineSettings
from mriimpute.train.stop import Stop

__all__ = ["learn_lines"]

log = logging.getLogger(__name__)

SPREAD_WEIGHT = 0.1
"""Of the spread's loss. It shares no parameter with the mean: only the clipping sees both."""


def learn_lines(
    scans: Cohort,
    folder: RunFolder,
    settings: LineSettings,
    identity: Mapping[str, Any],
    *,
    device: str,
    stop: Stop,
    track: Track,
) -> bool:
    """Trains the network, or goes on training it, and tells whether it is finished.

    Args:
        scans: To learn from and to watch.
        folder: Where the run lives.
        settings: Of the run.
        identity: What the checkpoint and the model file say about the run.
        device: Torch device.
        stop: When to stop early.
        track: Shows progress.

    Raises:
        TrainingError: If no scan has slices to learn from, or the loss is not finite.
    """
    # Begin, or go on from the checkpoint.
    config = settings.train
    network = build(parse(Config, settings.model, where="model"), seed=settings.seed)
    state = Descent(network, config, device)
    losses: list[list[float]] = []  # since the last report
    if saved := folder.saved(identity):
        tensors, numbers = saved
        with understood(folder.checkpoint):
            losses = list(numbers["losses"])
            step = int(numbers["step"])
        state.load(tensors, step, where=str(folder.checkpoint))
    if state.step >= config.steps:
        log.info("%s is finished: %d crops", folder.path, state.step * config.batch)
        return True
    folder.rewind("patches", state.step * config.batch)
    if state.step:
        log.info("going on after %d of %d steps", state.step, config.steps)

    train, watch = _read(scans, settings, track)
    own = gaps_of(train)
    begun = saved_at = time.monotonic()
    first = state.step
    for step in track(
        range(state.step, config.steps), total=config.steps - state.step, label="training"
    ):
        # One step. Its randomness is named after it, so nothing about it needs to be stored.
        lines = draw_lines(
            train,
            config.batch,
            config=settings.lines,
            generator=numpy_stream(settings.seed, "lines", step),
        )
        losses.append(_step(state, lines, rate(config, step), settings))

        # Report.
        last = state.step == config.steps
        every = max(1, config.report // config.batch)
        if last or state.step % every == 0:
            seconds = time.monotonic() - begun
            relative, nats = np.mean(losses, axis=0).tolist()
            scores = _scores(state.average, watch, own)
            folder.append(
                {
                    "step": state.step,
                    "patches": state.step * config.batch,
                    "loss": relative,
                    "nats": nats,
                    "val_gain_db": {str(g): round(s.gain_db, 4) for g, s in scores.items()},
                    "rate": rate(config, step),
                    "seconds": round(seconds, 3),
                    "steps_per_second": round((state.step - first) / seconds, 3),
                }
            )
            losses.clear()

        # Save. Asked once: a wish that comes in between would end the run unsaved.
        stopping = stop.wanted
        if last or stopping or time.monotonic() - saved_at > 60 * config.save_minutes:
            folder.save(
                _model(state.average, watch),
                state.tensors(),
                identity,
                {"step": state.step, "losses": losses},
            )
            saved_at = time.monotonic()
        if stopping:
            break

    return state.step >= config.steps


def _step(
    state: Descent[LineNetwork], lines: Lines, speed: float, settings: LineSettings
) -> list[float]:
    """Takes one step and returns the two terms of the loss."""
    device = next(state.model.parameters()).device
    kept, hidden = (torch.from_numpy(x).to(device) for x in (lines.kept, lines.hidden))
    told = torch.from_numpy(conditions(lines.gap, lines.gap_mm, lines.along_mm)).to(device)
    mixed = device.type == "cuda" and settings.train.precision == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        terms = objective(state.model, kept, hidden, told, loss=settings.train.loss)

    (terms.relative + SPREAD_WEIGHT * terms.nats).backward()
    values = [float(terms.relative.detach()), float(terms.nats.detach())]
    norm = float(state.descend(speed))
    if not np.isfinite([*values, norm]).all():
        raise TrainingError(
            f"the loss is {values[0]:g}, {values[1]:g} and its gradient {norm:g} at step "
            f"{state.step}, with slices of {', '.join(sorted(set(lines.names)))}",
            hint="look at these scans; or lower --set train.rate, or train.precision=float32",
        )
    return values


def _read(
    scans: Cohort, settings: LineSettings, track: Track
) -> tuple[list[SliceScan], dict[int, list[Watched]]]:
    """Returns the slices to learn from, and those to watch by size of the gap."""
    paths = (*scans.train, *scans.val)
    read = [read_slices(path) for path in track(paths, total=len(paths), label="reading")]
    train = [scan for scan in read[: len(scans.train)] if scan is not None]
    val = [scan for scan in read[len(scans.train) :] if scan is not None]
    if not any(min(scan.slices.shape[1:]) > 4 * max(scan.steps) for scan in train):
        raise TrainingError(
            "no scan of the cohort is a stack of slices without holes, large enough to hide "
            "lines in, and with gaps between them",
            hint="train another --model, which takes any pattern of missing voxels",
        )
    if not val:
        log.warning("no scans to watch: the spread is calibrated on those that were learnt from")
    watch = {}
    for gap in sorted({*settings.lines.gaps, *gaps_of(train)}):
        generator = numpy_stream(settings.seed, "validation", gap)
        images = whole_slices(val or train, gap, settings.train.val_patches, generator=generator)
        watch[gap] = watched(images)
    return train, watch


def _scores(
    network: LineNetwork, watch: Mapping[int, Sequence[Watched]], gaps: Iterable[int]
) -> dict[int, GapScore]:
    """Returns the scores of those gaps that slices could be found for."""
    found = {gap: score(network, watch[gap], flips=FLIPS) for gap in gaps}
    return {gap: scored for gap, scored in found.items() if scored is not None}


def _model(network: LineNetwork, watch: Mapping[int, Sequence[Watched]]) -> dict[str, Tensor]:
    """Returns what `impute` needs: the network, and the factors of its spread for each gap."""
    named = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for gap, scored in _scores(network, watch, watch).items():
        named[f"factor.{gap}"] = torch.tensor(scored.factor, dtype=torch.float32)
    return named
