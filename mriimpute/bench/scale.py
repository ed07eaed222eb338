"""What a cohort of thousands takes, computed from what was measured on one scan.

An epoch shows the network as many crops as it takes to cover every acquired slice once, one scale
of each. Processors share the steps evenly and wait for nobody: a lower bound.

References:
    Dalca et al., Unsupervised Data Imputation via Variational Inference of Deep Subspaces, 2019,
    section 4: 7829 scans.
"""

from dataclasses import dataclass

from mriimpute.bench.phantom import GAP, Shape, fine_shape
from mriimpute.bench.training import Step
from mriimpute.data.lines import LineConfig

__all__ = ["SCANS", "Scale", "scale_of"]

SCANS = 7829
"""Of the cohort of Dalca et al."""

HALF_BYTES = 2
"""Of a pixel in memory, and of one on disk before gzip."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A cohort on one processor and on several.

    Attributes:
        scans: Of the cohort.
        shape: Of each, when imputed.
        disk_bytes: Of the acquired slices, 16 bits a voxel, before gzip.
        memory_bytes: Of the acquired slices as they are held for training, at every scale.
        steps: Of an epoch.
        minutes: Of an epoch, by number of processors.
        impute_hours: Of one imputation of each scan, from file to file, by processors.
        bends: What would not fit first, in words.
    """

    scans: int
    shape: Shape
    disk_bytes: int
    memory_bytes: int
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
        step: Of training, measured.
        seconds_per_scan: Of imputation, measured.
        room: Bytes of main memory that there are; None where nobody knows.
        scans: Of the cohort.
        processors: Numbers of devices like the one that was measured.
    """
    shape = fine_shape(wanted)
    lines = LineConfig()
    pixels = scans * shape[0] * shape[1] * ((shape[2] - 1) // GAP + 1)
    memory = round(HALF_BYTES * pixels * sum(1 / scale**2 for scale in lines.scales))
    crop = min(1 + (lines.lines - 1) * GAP, shape[0]) * min(lines.edge, shape[1])
    steps = -(-pixels // (crop * step.items))
    return Scale(
        scans=scans,
        shape=shape,
        disk_bytes=HALF_BYTES * pixels,
        memory_bytes=memory,
        steps=steps,
        minutes={n: steps * step.seconds / n / 60 for n in processors},
        impute_hours={n: scans * seconds_per_scan / n / 3600 for n in processors},
        bends=_bends(memory, room, step),
    )


def _bends(memory: int, room: int | None, step: Step) -> str:
    if room is not None and memory > room:
        return "memory: the slices of the cohort are held by every process and do not fit"
    if step.data.median > step.descent.median:
        return "data: crops are drawn more slowly than they are learnt from"
    return "none here: arithmetic is the limit, and more processors share it"
