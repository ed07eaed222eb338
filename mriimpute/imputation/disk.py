"""What results take on disk: found out before the work begins, and told at its end."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mriimpute.cohort.target_grid import TargetGrid, refinement
from mriimpute.errors import MriImputeError, OutputError
from mriimpute.files import disk_of, free_bytes
from mriimpute.imputation.dicom import export_folders
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import Request
from mriimpute.imputation.space import TEMPLATE_SHAPE, Space
from mriimpute.io import stem
from mriimpute.io.image_file import open_image
from mriimpute.memory import format_bytes
from mriimpute.methods.base import Imputer
from mriimpute.volume import Volume

__all__ = [
    "Written",
    "needed_bytes",
    "require_disk",
    "require_disk_for_all",
    "stated_bytes",
    "written",
]

GZIPPED = {"mean": 0.2, "std": 0.6, "draw": 0.85}
"""What gzip leaves of the missing voxels of an image, at least; of draws, these are noise.

Of a whole head and of a brain without its skull, 0.3 to 0.5, 0.65 to 0.76, 0.94 to 0.99 are left.
Acquired voxels are integers mostly, and may shrink to nothing.
"""

FLOAT_BYTES = 4

HINT = "free some space, ask for fewer --samples, or choose another disk with -o"

DICOM_BYTES = 2 + 2 + 4
"""For each voxel, of the derived series of mean and standard deviation, and of the map."""


class Written(NamedTuple):
    """A file, a folder, or several files that are alike.

    Attributes:
        name: Of the first and the last one, where there are several.
        files: How many.
        size: Of all, in bytes.
    """

    name: str
    files: int
    size: int


def needed_bytes(
    grid: TargetGrid, imputer: Imputer, request: Request, space: Space = "native"
) -> int:
    """Returns what the images of a scan take at least.

    Args:
        grid: That is imputed.
        imputer: The method.
        request: What to make.
        space: Where results lie.
    """
    volume = grid.volume
    missing = 1 - float(volume.observed.mean())
    return _bytes(volume.shape, volume.spacing_mm, missing, imputer, request, space)


def stated_bytes(job: Job, imputer: Imputer, request: Request) -> int:
    """Returns what the images of a scan take at least, as far as its header tells.

    That is 0 for a DICOM series, for slices that are marked as missing, and for what is no scan.
    """
    try:
        image, _ = open_image(job.scan)
        if len(image.shape) < 3:
            return 0
        affine = np.asarray(image.affine, np.float64)
        # Empty: nothing is allocated for it.
        seen = np.broadcast_to(np.True_, image.shape[:3])
        volume = Volume(np.broadcast_to(np.float32(0), image.shape[:3]), seen, affine)
        stated = image.header.get_dim_info()[2] if hasattr(image.header, "get_dim_info") else None
        axis, factor = refinement(volume, request.spacing_mm, slice_axis=stated)
        slices = factor * (volume.shape[axis] - 1) + 1
        shape = [slices if n == axis else size for n, size in enumerate(volume.shape)]
        spacing_mm = [mm / factor if n == axis else mm for n, mm in enumerate(volume.spacing_mm)]
        missing = 1 - volume.shape[axis] / slices
        return _bytes(shape, spacing_mm, missing, imputer, request, job.space)
    except (MriImputeError, ValueError, ArithmeticError, LookupError):  # the scan will be told
        return 0


def _bytes(
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    missing: float,
    imputer: Imputer,
    request: Request,
    space: Space,
) -> int:
    voxels = float(prod(shape))
    if space == "template":  # the scan may fill a part of the box alone
        voxels = min(prod(TEMPLATE_SHAPE), voxels * prod(spacing_mm))
    images = GZIPPED["mean"] + request.samples * GZIPPED["draw"]
    images += GZIPPED["std"] if imputer.gives_draws else 0.0
    series = 0.0 if request.dicom == "none" else DICOM_BYTES
    return round(voxels * (FLOAT_BYTES * missing * images + series))


def require_disk_for_all(jobs: Sequence[Job], imputer: Imputer, request: Request) -> None:
    """Stops before the first scan where the results of all cannot fit on the disk, or disks.

    Headers tell what they take at least; what each takes is checked once it is read. One that
    would not fit alone stops no other: it is told when its turn comes.

    Args:
        jobs: That are to be done.
        imputer: The method.
        request: What to make of each.

    Raises:
        OutputError: If they cannot.
    """
    disks: dict[int | None, list[Job]] = {}
    for job in jobs:
        disks.setdefault(disk_of(job.folder), []).append(job)
    for alike in disks.values():
        free = free_bytes(alike[0].folder)
        if free is None:
            continue
        each = [stated_bytes(job, imputer, request) for job in alike]
        needed = sum(size for size in each if size <= free)
        if needed <= free:
            continue
        room = free + sum(one.size for job in alike for one in written(job))
        if needed > room:
            raise OutputError(
                f"the results of {len(alike)} scans take at least {format_bytes(needed)} of disk, "
                f"{format_bytes(room)} are free at {alike[0].folder}",
                hint=HINT,
            )


def require_disk(job: Job, needed: int) -> None:
    """Stops before the work begins where results cannot fit on the disk.

    Args:
        job: Whose results; earlier ones are replaced, and make room.
        needed: Bytes.

    Raises:
        OutputError: If they cannot.
    """
    free = free_bytes(job.folder)
    if free is None:
        return
    room = free + sum(each.size for each in written(job))
    if needed > room:
        raise OutputError(
            f"{job.folder}: the results take at least {format_bytes(needed)} of disk, "
            f"{format_bytes(room)} are free",
            hint=HINT,
        )


def written(job: Job) -> list[Written]:
    """Returns what there is of the results of a scan; draws count as one."""
    found = []
    for alike in _groups(job.results()):
        beside = [path.with_name(f"{stem(path)}.json") for path in alike]
        found += [_described(alike), _described([path for path in beside if path.is_file()])]
        folders = [folder for path in alike for folder in export_folders(path)]
        found += [_described([folder]) for folder in folders if folder.is_dir()]
    if job.page.is_file():
        found.append(_described([job.page]))
    return [each for each in found if each.files]


def _groups(images: Sequence[Path]) -> list[list[Path]]:
    """Returns each image alone, but all draws together."""
    draws = [path for path in images if "_desc-draw" in path.name]
    return [*([path] for path in images if path not in draws), *([draws] if draws else [])]


def _described(paths: Sequence[Path]) -> Written:
    names = [path.name + ("/" if path.is_dir() else "") for path in paths]
    files = [file for path in paths for file in (path.iterdir() if path.is_dir() else [path])]
    name = f"{names[0]} to {names[-1]}" if len(names) > 1 else "".join(names)
    return Written(name, len(files), sum(file.stat().st_size for file in files))
