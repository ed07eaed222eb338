"""What a trained line network says about images, on the device that holds them.

Air is not looked at, see `mriimpute.methods.cross_plane.air`. On a CPU images are cut to the head,
and few of equal size share a batch, so that it stays in the cache. On a GPU as many do as a fixed
workspace holds, which is all lines of a plane of a head, and convolutions run in float16. Its 10
bits, emulated on a head, move the mean of one plane by 7e-5 (root mean square, in normalised
intensities), where the 7 bits of bfloat16 move it by 6e-4 at the same speed; the mean over planes
moves by 2e-5 of the range. Nothing comes near the largest float16.

A kernel may be wrong for one shape alone, and says nothing. So some images of every batch are
computed again in float32, with other kernels, and all of it where both do not agree. The same is
done on a CPU that is asked for bfloat16.

Axes: b = images, n = lines, m = n - 1 intervals, w = pixels of a line, q = conditions,
t = offsets inside an interval.
"""

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from mriimpute.memory import hand_back_freed_memory
from mriimpute.methods.cross_plane.air import in_air, located
from mriimpute.methods.cross_plane.conditioning import (
    ANYWHERE,
    DIRECTIONS,
    SIZES,
    conditioning,
    offsets,
)
from mriimpute.methods.cross_plane.network import LineNetwork, smoothness
from mriimpute.stopwatch import stage
from mriimpute.workers import survives

__all__ = ["Fast", "bfloat16_works", "checked", "in_batches", "predict"]

log = logging.getLogger(__name__)

Images = Float32[Tensor, "b n w"]
Moments = tuple[Float32[Tensor, "b t m w"], Float32[Tensor, "..."]]
"""Mean and standard deviation; the latter is empty where nobody asked for it."""

Compute = Callable[[Images, torch.dtype], Moments]

CPU_BATCH = {torch.float32: 4, torch.bfloat16: 32}
"""Images of a batch on a CPU; with bfloat16 one of them is computed twice. With twice as many a
layer is 1 to 2 % faster, and twice as large."""

WORKSPACE = 4 * 2**30
"""Bytes for the layers of a batch on a GPU. Not what is free there: results may depend on it."""

HELD = 4
"""Features of all target pixels that are there at once, in float16."""

CHECKED = 4
"""Images of a batch that are computed in float32, too."""

SAME = {torch.float16: 5e-4, torch.bfloat16: 3e-3}
"""Root mean square by which both may differ, in normalised intensities: three times what rounding
makes of a head."""

ROUGHLY = 0.1
"""By which made-up lines may differ: it is about kernels that do not work at all."""

TENSOR_CORES = (7, 0)
"""Compute capability of the first GPUs on which float16 is faster."""


@dataclass(frozen=True, slots=True)
class Fast:
    """How a CPU computes faster, and less exactly.

    Attributes:
        kind: Of the numbers that convolutions multiply.
        reach: Pixels of air around the head that the network is shown.
    """

    kind: torch.dtype
    reach: int = 8


def bfloat16_works(network: LineNetwork) -> bool:
    """Tells whether this CPU multiplies bfloat16, and the network survives that here.

    Units for matrices are left alone (AMX): on some hosts they end the process.
    """
    if not torch.cpu.get_capabilities().get("avx512_bf16"):
        return False
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")  # read at the first use
    return survives(partial(_agrees, network))


def _agrees(network: LineNetwork) -> bool:
    """Tells whether a few lines are computed in bfloat16 as they are in float32."""
    torch.set_num_threads(1)
    lines = torch.linspace(0, 8, 2 * 8 * 64).sin().square().reshape(2, 8, 64)
    run = partial(_computed, network, torch.zeros(1, DIRECTIONS + SIZES), offsets(4), lines)
    half, exact = run(torch.bfloat16), run(torch.float32)
    return all(float((a - b).abs().max()) < ROUGHLY for a, b in zip(half, exact, strict=True))


def predict(
    network: LineNetwork,
    lines: Images,
    gap: int,
    *,
    gap_mm: float,
    along_mm: float,
    directions: Sequence[float] = ANYWHERE,
    thickness: float = 0.0,
    air: float = -math.inf,
    with_std: bool = True,
    fast: Fast | None = None,
    told: Callable[[float], None] = lambda share: None,
    air_std: Float32[Tensor, " t"] | float = 1.0,
) -> Moments:
    """Returns the mean and the standard deviation between the lines of images.

    Args:
        network: Trained, on the device of the images.
        lines: Finite normalised intensities.
        gap: From one line to the next, in voxels.
        gap_mm: The same in mm.
        along_mm: Size of the pixels of a line.
        directions: Which way the gap and the lines run through the head, see `Directions`.
        thickness: Of the slice profile, as a fraction of the gap; 0: point samples.
        air: Intensity up to which there is nothing but air, which is interpolated.
        with_std: Otherwise the std is empty.
        fast: How a CPU computes faster.
        told: Of each share of the work that is done; all of them add up to 1.
        air_std: The unit of the std of the air, at each offset.
    """
    device = lines.device
    sizes = (np.array([x], np.float32) for x in (gap_mm, along_mm, thickness, directions))
    conditions = torch.from_numpy(conditioning(gap, *sizes)).to(device)
    places = offsets(gap, device)
    run = partial(_computed, network, conditions, places, with_std=with_std)
    if device.type == "cpu":
        reach = network.reach if fast is None else min(fast.reach, network.reach)
        kind = torch.float32 if fast is None else fast.kind
        return _cut(run, lines, places, air, air_std, reach, kind, told, with_std=with_std)

    half = torch.cuda.get_device_capability(device) >= TENSOR_CORES
    _, count, width = lines.shape
    image = HELD * network.mean.middle.out_channels * (gap - 1) * (count - 1) * width
    most = max(1, WORKSPACE // (image * (2 if half else 4)))
    with stage("network"):
        mean, std = in_batches(partial(checked if half else _exact, run), lines, most)
    told(1.0)
    if air == -math.inf:
        return mean, std
    head = located(lines, air)
    linear, noise = in_air(lines, head, places)
    noise = noise * air_std
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
    if difference <= SAME[torch.float16] and all(bool(part.isfinite().all()) for part in moments):
        return moments
    del moments  # make room
    _warn(str(lines.device), "float16")
    return run(lines, torch.float32)


def _cut(
    run: Callable[..., Moments],
    lines: Images,
    places: Float32[Tensor, " t"],
    air: float,
    air_std: Float32[Tensor, " t"] | float,
    reach: int,
    kind: torch.dtype,
    told: Callable[[float], None],
    *,
    with_std: bool,
) -> Moments:
    """Returns what `run` makes of lines, where the head is, and interpolation elsewhere."""
    hand_back_freed_memory()
    _, rows, width = lines.shape
    smooth = smoothness(lines[:, None])
    head = located(lines, air)
    mean, noise = in_air(lines, head, places)
    std = (
        (noise * air_std)[:, None, None].expand_as(mean).contiguous()
        if with_std
        else lines.new_empty(0)
    )
    (top, bottom), (begin, end) = head.lines(reach, rows), head.intervals
    windows = head.windows(reach, width)
    spans = list(zip(head.first.tolist(), head.last.tolist(), strict=True))
    total = sum(len(some) * size for some, size in _alike(windows, CPU_BATCH[kind]))
    for some, size in _alike(windows, CPU_BATCH[kind]):
        images = lines.new_zeros(max(len(some), 2), bottom - top, size)  # one alone is slow
        starts = [min(windows[n][0], width - size) for n in some]
        for image, n, start in zip(images, some, starts, strict=False):
            image.copy_(lines[n, top:bottom, start : start + size])
        of_each = smooth[some + some[-1:]] if len(some) == 1 else smooth[some]
        with stage("network"):
            if kind == torch.float32:
                parts = run(images, kind, of_each)
            else:
                parts = _checked_on_cpu(run, images, of_each, len(some) - 1)
        for whole, part in zip((mean, std) if with_std else (mean,), parts, strict=False):
            for n, image, start in zip(some, part, starts, strict=False):
                first, last = spans[n]
                cut = image[:, begin - top : end - top, first - start : last - start]
                whole[n, :, begin:end, first:last] = cut
        told(len(some) * size / total)
    if not total:  # nothing but air
        told(1.0)
    hand_back_freed_memory()
    return mean, std


def _checked_on_cpu(
    run: Callable[..., Moments], images: Images, smooth: Float32[Tensor, "b 2"], last: int
) -> Moments:
    """Returns what `run` makes of images in bfloat16; in float32 where they differ too much.

    Each batch is judged by itself: what becomes of a scan depends on no scan before.

    Args:
        run: The network.
        images: To compute.
        smooth: How smooth the images are that these are cut of.
        last: The image to compute twice.
    """
    moments = run(images, torch.bfloat16, smooth)
    expected = run(images[last : last + 1], torch.float32, smooth[last : last + 1])
    pairs = [pair for pair in zip(moments, expected, strict=True) if pair[0].numel()]
    difference = max(_rms_difference(half[last : last + 1], exact) for half, exact in pairs)
    log.debug("bfloat16 and float32 differ by %.1e", difference)
    if difference <= SAME[torch.bfloat16] and all(bool(part.isfinite().all()) for part in moments):
        return moments
    _warn("this CPU", "bfloat16")
    return run(images, torch.float32, smooth)


def _alike(windows: list[tuple[int, int]], batch: int) -> Iterator[tuple[list[int], int]]:
    """Yields numbers of images that are cut to about the same size, few at once, and that size.

    Large ones come first, and as many at once as before: what they leave in memory has room for
    the next ones, whatever small things have come to lie beside them.
    """
    numbers = [n for n, (_, size) in enumerate(windows) if size]
    numbers.sort(key=lambda n: -windows[n][1])
    for start in range(0, len(numbers), batch):
        some = numbers[start : start + batch]
        yield some, windows[some[0]][1]


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
def _warn(device: str, kind: str) -> None:
    log.warning(
        "%s computes %s too far off for some images: these take float32, which is slower",
        device,
        kind,
    )
