"""What a trained line network says about images, on the device that holds them.

Air is not looked at, see `mriimpute.methods.cross_plane.air`. On a CPU images are cut to the head,
and few of equal size share a batch, so that it stays in the cache. On a GPU as many do as a fixed
workspace holds, which is all lines of a plane of a head, and convolutions run in float16. Its 10
bits, emulated on a head, move the mean of one plane by 7e-5 (root mean square, in normalised
intensities), where the 7 bits of bfloat16 move it by 6e-4 at the same speed; the mean over planes
moves by 2e-5 of the range. Nothing comes near the largest float16.

A kernel may be wrong for one shape alone, and says nothing. So some images of every batch are
computed again in float32, with other kernels, and all of it where both do not agree.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, q = conditions,
t = offsets inside an interval.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from mriimpute.methods.cross_plane.air import in_air, located
from mriimpute.methods.cross_plane.conditioning import conditioning, offsets
from mriimpute.methods.cross_plane.network import LineNetwork, smoothness
from mriimpute.stopwatch import stage

__all__ = ["checked", "in_batches", "predict"]

log = logging.getLogger(__name__)

Images = Float32[Tensor, "b n w"]
Moments = tuple[Float32[Tensor, "b t m w"], Float32[Tensor, "..."]]
"""Mean and standard deviation; the latter is empty where nobody asked for it."""

Compute = Callable[[Images, torch.dtype], Moments]

CPU_BATCH = 8
"""Images of a batch on a CPU."""

WORKSPACE = 4 * 2**30
"""Bytes for the layers of a batch on a GPU. Not what is free there: results may depend on it."""

HELD = 4
"""Features of all target pixels that are there at once, in float16."""

CHECKED = 4
"""Images of a batch that are computed in float32, too."""

SAME = 5e-4
"""Root mean square by which both may differ, in normalised intensities: three times what rounding
makes of a head."""

TENSOR_CORES = (7, 0)
"""Compute capability of the first GPUs on which float16 is faster."""


def predict(
    network: LineNetwork,
    lines: Images,
    gap: int,
    *,
    gap_mm: float,
    along_mm: float,
    thickness: float = 0.0,
    air: float = -math.inf,
    with_std: bool = True,
) -> Moments:
    """Returns the mean and the standard deviation between the lines of images.

    Args:
        network: Trained, on the device of the images.
        lines: Finite normalised intensities.
        gap: From one line to the next, in voxels.
        gap_mm: The same in mm.
        along_mm: Size of the pixels of a line.
        thickness: Of the slice profile, as a fraction of the gap; 0: point samples.
        air: Intensity up to which there is nothing but air, which is interpolated.
        with_std: Otherwise the std is empty.
    """
    device = lines.device
    one = np.ones(1, np.float32)
    sizes = (one * np.float32(x) for x in (gap_mm, along_mm, thickness))
    conditions = torch.from_numpy(conditioning(gap, *sizes)).to(device)
    places = offsets(gap, device)
    run = partial(_computed, network, conditions, places, with_std=with_std)
    if device.type == "cpu":
        return _cut(run, lines, places, air, network.reach, with_std=with_std)

    half = torch.cuda.get_device_capability(device) >= TENSOR_CORES
    _, count, width = lines.shape
    image = HELD * network.mean.middle.out_channels * (gap - 1) * (count - 1) * width
    most = max(1, WORKSPACE // (image * (2 if half else 4)))
    with stage("network"):
        mean, std = in_batches(partial(checked if half else _exact, run), lines, most)
    if air == -math.inf:
        return mean, std
    head = located(lines, air)
    linear, noise = in_air(lines, head, places)
    inside = head.inside(count - 1, width)[:, None]
    return mean.where(inside, linear), std.where(inside, noise[:, None, None]) if with_std else std


def in_batches(run: Callable[[Images], Moments], images: Images, batch: int) -> Moments:
    """Returns what `run` makes of images, at most `batch` at once.

    Where memory runs out, half as many are tried from there on.

    Raises:
        torch.OutOfMemoryError: If it does for a single image.
    """
    parts: list[Moments] = []
    start = 0
    while start < len(images):
        moments = _attempted(run, images[start : start + batch], last=batch == 1)
        if moments is not None:
            parts.append(moments)
            start += batch
        else:
            batch = -(-batch // 2)
            log.info("out of memory on the GPU: on with %d images at once", batch)
            torch.cuda.empty_cache()
    mean, std = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return mean, std


def checked(run: Compute, lines: Images) -> Moments:
    """Returns what `run` makes of lines in float16; in float32, where rounding is no excuse."""
    if len(lines) <= CHECKED:
        return run(lines, torch.float32)
    moments = run(lines, torch.float16)
    # The first and the last one, too: kernels go wrong where numbers of elements get large.
    some = torch.linspace(0, len(lines) - 1, CHECKED, device=lines.device).long()
    expected = run(lines[some], torch.float32)
    pairs = [pair for pair in zip(moments, expected, strict=True) if pair[0].numel()]
    difference = max(_rms_difference(half[some], exact) for half, exact in pairs)
    log.debug("float16 and float32 differ by %.1e", difference)
    # Any image may overflow. NaN is not less than anything.
    if difference <= SAME and all(bool(part.isfinite().all()) for part in moments):
        return moments
    del moments  # make room
    _warn(str(lines.device))
    return run(lines, torch.float32)


def _cut(
    run: Callable[..., Moments],
    lines: Images,
    places: Float32[Tensor, " t"],
    air: float,
    reach: int,
    *,
    with_std: bool,
) -> Moments:
    """Returns what `run` makes of lines, where the head is, and interpolation elsewhere."""
    _, rows, width = lines.shape
    smooth = smoothness(lines[:, None])
    head = located(lines, air)
    mean, noise = in_air(lines, head, places)
    std = noise[:, None, None].expand_as(mean).contiguous() if with_std else lines.new_empty(0)
    (top, bottom), (begin, end) = head.lines(reach, rows), head.intervals
    windows = head.windows(reach, width)
    spans = list(zip(head.first.tolist(), head.last.tolist(), strict=True))
    for some, size in _alike(windows):
        images = lines.new_zeros(max(len(some), 2), bottom - top, size)  # one alone is slow
        for image, n in zip(images, some, strict=False):
            image.copy_(lines[n, top:bottom, windows[n][0] :][:, :size])
        of_each = smooth[some + some[-1:]] if len(some) == 1 else smooth[some]
        with stage("network"):
            parts = run(images, torch.float32, of_each)
        for whole, part in zip((mean, std) if with_std else (mean,), parts, strict=False):
            for n, image in zip(some, part, strict=False):
                (first, last), start = spans[n], windows[n][0]
                cut = image[:, begin - top : end - top, first - start : last - start]
                whole[n, :, begin:end, first:last] = cut
    return mean, std


def _alike(windows: list[tuple[int, int]]) -> Iterator[tuple[list[int], int]]:
    """Yields numbers of images that are cut to the same size, few at once, and that size."""
    for size in sorted({size for _, size in windows if size}):
        numbers = [n for n, window in enumerate(windows) if window[1] == size]
        for start in range(0, len(numbers), CPU_BATCH):
            yield numbers[start : start + CPU_BATCH], size


def _attempted(run: Callable[[Images], Moments], images: Images, *, last: bool) -> Moments | None:
    """Returns what `run` makes of images; None where memory ran out, and not for the last time.

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
    conditions: Float32[Tensor, "1 q"],
    places: Float32[Tensor, " t"],
    lines: Images,
    kind: torch.dtype,
    smooth: Float32[Tensor, "b 2"] | None = None,
    *,
    with_std: bool = True,
) -> Moments:
    """Runs the network. The same kernels are chosen each time, and float32 is no TF32."""
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    plain = kind == torch.float32
    with exact, nullcontext() if plain else torch.autocast(lines.device.type, kind):
        shown = lines[:, None]
        h, described = network.features(shown, conditions.expand(len(lines), -1), smooth)
        if not with_std:
            return network.means(shown, h, described, places).float(), lines.new_empty(0)
        mean, log_sigma = network.moments(shown, h, described, places)
    return mean.float(), log_sigma.float().exp()


def _exact(run: Compute, lines: Images) -> Moments:
    return run(lines, torch.float32)


def _rms_difference(ours: Float32[Tensor, "b t m w"], theirs: Float32[Tensor, "b t m w"]) -> float:
    return float((ours - theirs).square().mean().sqrt())


@cache  # once for a device
def _warn(device: str) -> None:
    log.warning("%s computes float16 wrong here: on in float32, which is slower", device)
