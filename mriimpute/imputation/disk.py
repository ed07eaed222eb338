"""What results take on disk: found out before the work begins, and told at its end."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

from mriimpute.cohort.target_grid import TargetGrid
from mriimpute.errors import OutputError
from mriimpute.files import free_bytes
from mriimpute.imputation.dicom import export_folders
from mriimpute.imputation.jobs import Job
from mriimpute.imputation.request import Request
from mriimpute.imputation.space import TEMPLATE_SHAPE, Space
from mriimpute.io import stem
from mriimpute.memory import format_bytes
from mriimpute.methods.base import Imputer

__all__ = ["Written", "needed_bytes", "require_disk", "written"]

GZIPPED = {"mean": 0.2, "std": 0.6, "draw": 0.85}
"""What gzip leaves of the missing voxels of an image, at least; of draws, these are noise.

Of a whole head and of a brain without its skull, 0.3 to 0.5, 0.65 to 0.76, 0.94 to 0.99 are left.
Acquired voxels are integers mostly, and may shrink to nothing.
"""

FLOAT_BYTES = 4

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
    voxels = float(volume.observed.size)
    if space == "template":  # the scan may fill a part of the box alone
        voxels = min(prod(TEMPLATE_SHAPE), voxels * prod(volume.spacing_mm))
    images = GZIPPED["mean"] + request.samples * GZIPPED["draw"]
    images += GZIPPED["std"] if imputer.gives_draws else 0.0
    missing = 1 - float(volume.observed.mean())
    series = 0.0 if request.dicom == "none" else DICOM_BYTES
    return round(voxels * (FLOAT_BYTES * missing * images + series))


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
            hint="free some space, ask for fewer --samples, or choose another disk with -o",
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
