"""What a trained line network says about images, on the device that holds them.

On a CPU few images share a batch, so that it stays in the cache: see `predict`. On a GPU as many
do as a fixed workspace holds, which is all lines of a plane of a head, and convolutions run in
float16. Its 10 bits, emulated on a head, move what one plane says by 7e-5 (root mean square, in
normalised intensities), where the 7 bits of bfloat16 move it by 6e-4 at the same speed; the mean
over planes moves by 2e-5 of the range. Nothing comes near the largest float16.

A kernel may be wrong for one shape alone, and says nothing. So some images of every batch are
computed again in float32, with other kernels, and all of it where both do not agree.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, t = offsets inside an
interval.
"""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from mriimpute.methods.cross_plane.loss import conditions, offsets_of, predict
from mriimpute.methods.cross_plane.network import LineNetwork
from mriimpute.stopwatch import stage

__all__ = ["checked", "in_batches", "predicted"]

log = logging.getLogger(__name__)

Lines = Float32[Tensor, "b n w"]
Said = tuple[Float32[Tensor, "b t m w"], Float32[Tensor, "b t m w"]]
Run = Callable[[Lines, torch.dtype], Said]

WORKSPACE = 4 * 2**30
"""Bytes for the layers of a batch on a GPU. Not what is free there: results may depend on it."""

HELD = 4
"""Features of all hidden pixels that are there at once, in float16."""

CHECKED = 4
"""Images of a batch that are computed in float32, too."""

SAME = 5e-4
"""Root mean square by which both may differ, in normalised intensities: three times what rounding
makes of a head."""

TENSOR_CORES = (7, 0)
"""Compute capability of the first GPUs on which float16 is faster."""


def predicted(
    network: LineNetwork,
    kept: Lines,
    gap: int,
    *,
    gap_mm: float,
    along_mm: float,
    thickness: float = 0.0,
) -> Said:
    """Returns the mean and the standard deviation between the lines of images.

    Args:
        network: Trained, on the device of the images.
        kept: Finite normalised intensities.
        gap: From one line to the next, in voxels.
        gap_mm: The same in mm.
        along_mm: Size of the pixels of a line.
        thickness: Of the slice profile, as a share of the gap; 0: point samples.
    """
    device = kept.device
    if device.type == "cpu":
        lines = np.ascontiguousarray(kept.numpy())
        said = predict(network, lines, gap, gap_mm=gap_mm, along_mm=along_mm, thickness=thickness)
        return torch.from_numpy(said[0]), torch.from_numpy(said[1])

    one = np.ones(1, np.float32)
    sizes = (one * np.float32(x) for x in (gap_mm, along_mm, thickness))
    told = torch.from_numpy(conditions(gap, *sizes)).to(device)
    run = partial(_computed, network, told, offsets_of(gap, device))
    half = torch.cuda.get_device_capability(device) >= TENSOR_CORES
    _, count, width = kept.shape
    image = HELD * network.mean.middle.out_channels * (gap - 1) * (count - 1) * width
    batch = max(1, WORKSPACE // (image * (2 if half else 4)))
    with stage("network"):
        return in_batches(partial(checked if half else _exact, run), kept, batch)


def in_batches(run: Callable[[Lines], Said], images: Lines, batch: int) -> Said:
    """Returns what `run` says about images, at most `batch` at once.

    Where memory runs out, half as many are tried from there on.

    Raises:
        torch.OutOfMemoryError: If it does for a single image.
    """
    found: list[Said] = []
    start = 0
    while start < len(images):
        said = _attempted(run, images[start : start + batch], last=batch == 1)
        if said is not None:
            found.append(said)
            start += batch
        else:
            batch = -(-batch // 2)
            log.info("out of memory on the GPU: on with %d images at once", batch)
            torch.cuda.empty_cache()
    mean, std = (torch.cat(parts) for parts in zip(*found, strict=True))
    return mean, std


def checked(run: Run, lines: Lines) -> Said:
    """Returns what `run` says in float16; in float32, where both differ by more than rounding."""
    if len(lines) <= CHECKED:
        return run(lines, torch.float32)
    said = run(lines, torch.float16)
    # The first and the last one, too: kernels go wrong where numbers of elements get large.
    some = torch.linspace(0, len(lines) - 1, CHECKED, device=lines.device).long()
    expected = run(lines[some], torch.float32)
    apart = max(_apart(ours[some], theirs) for ours, theirs in zip(said, expected, strict=True))
    log.debug("float16 and float32 differ by %.1e", apart)
    # Any image may overflow. NaN is not less than anything.
    if apart <= SAME and all(bool(part.isfinite().all()) for part in said):
        return said
    del said  # make room
    _warn(str(lines.device))
    return run(lines, torch.float32)


def _attempted(run: Callable[[Lines], Said], images: Lines, *, last: bool) -> Said | None:
    """Returns what `run` says; None where memory ran out and this is no last attempt.

    In a function of its own: an exception that is being handled keeps its tensors alive.
    """
    try:
        return run(images)
    except torch.OutOfMemoryError:
        if last:
            raise
        return None


@torch.no_grad()
def _computed(
    network: LineNetwork,
    told: Float32[Tensor, "1 q"],
    offsets: Float32[Tensor, " t"],
    lines: Lines,
    kind: torch.dtype,
) -> Said:
    """Runs the network. The same kernels are chosen each time, and float32 is no TF32."""
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    plain = kind == torch.float32
    with exact, nullcontext() if plain else torch.autocast(lines.device.type, kind):
        mean, log_sigma = network(lines[:, None], told.expand(len(lines), -1), offsets)
    return mean.float(), log_sigma.float().exp()


def _exact(run: Run, lines: Lines) -> Said:
    return run(lines, torch.float32)


def _apart(ours: Float32[Tensor, "b t m w"], theirs: Float32[Tensor, "b t m w"]) -> float:
    return float((ours - theirs).square().mean().sqrt())


@cache  # once for a device
def _warn(device: str) -> None:
    log.warning("%s computes float16 wrong here: on in float32, which is slower", device)
