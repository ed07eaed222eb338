"""What a cohort of thousands takes, computed from what one scan and one step of training take.

An epoch shows the network as many crops as it takes to cover every acquired slice once, one scale
of each. The next crops are drawn while the last ones are learnt from, so the slower of both
counts. Processors share the steps evenly and wait for nobody: a lower bound. Each has a process of
its own, which maps the cache: slices are in memory once, or read from disk where they do not fit.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    section 4: 7829 scans.
"""

import math
from dataclasses import dataclass

from mriimpute.bench.phantom import GAP, Shape, fine_shape
from mriimpute.bench.training import Step
from mriimpute.methods.cross_plane.hidden_lines import LineConfig

__all__ = ["SCANS", "Scale", "scale_of"]

SCANS = 7829
"""Of the cohort of Dalca et al."""

HALF_BYTES = 2
"""Of a pixel in the cache, and of one of a scan before gzip."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A cohort on one processor and on several.

    Attributes:
        scans: Of the cohort.
        shape: Of each, when imputed.
        disk_bytes: Of the acquired slices, 16 bits a voxel, before gzip.
        cache_bytes: Of the acquired slices in the cache, normalised, in float16, at every scale.
        steps: Of an epoch.
        minutes: Of an epoch, by number of processors.
        impute_hours: Of one imputation of each scan, by processors.
        bends: What would be the limit first, in words.
    """

    scans: int
    shape: Shape
    disk_bytes: int
    cache_bytes: int
    steps: int
    minutes: dict[int, float]
    impute_hours: dict[int, float]
    bends: str


def scale_of(
    wanted: Shape,
    step: Step,
    seconds_per_scan: float,
    room: int | None,
    *,
    scans: int = SCANS,
    processors: tuple[int, ...] = (1, 8),
) -> Scale:
    """Returns what a cohort takes.

    Args:
        wanted: Of each scan when imputed, about.
        step: Of training.
        seconds_per_scan: Of imputation.
        room: Bytes of main memory that there are; None where nobody knows.
        scans: Of the cohort.
        processors: Numbers of devices like the one that takes these seconds.
    """
    shape = fine_shape(wanted)
    lines = LineConfig()
    pixels = scans * shape[0] * shape[1] * ((shape[2] - 1) // GAP + 1)
    cache = round(HALF_BYTES * pixels * sum(1 / scale**2 for scale in lines.scales))
    crop = min(1 + (lines.lines - 1) * GAP, shape[0]) * min(lines.edge, shape[1])
    steps = -(-pixels // (crop * step.items))
    return Scale(
        scans=scans,
        shape=shape,
        disk_bytes=HALF_BYTES * pixels,
        cache_bytes=cache,
        steps=steps,
        minutes={n: steps * step.overlapped / n / 60 for n in processors},
        impute_hours={n: scans * seconds_per_scan / n / 3600 for n in processors},
        bends=_bends(cache, room, step),
    )


def _bends(cache: int, room: int | None, step: Step) -> str:
    ratio = step.data.median / step.descent.median
    if ratio > 1:
        return f"data: {math.ceil(ratio)} threads would draw crops as fast as they are learnt from"
    if room is not None and cache > room:
        return "memory: the cache does not fit, so slices are read from disk in each epoch"
    return "arithmetic, which more processors share"
