"""Where the brain of a source is: a label map beside the scan, or else what is not background."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy import ndimage

from mriimpute.errors import GeometryError
from mriimpute.geometry import Affine, resample, transform
from mriimpute.io import container_of, read_scan
from mriimpute.io.tree import SUFFIXES, has_ending, is_label, stem
from mriimpute.otsu import otsu_thresholds

__all__ = ["entities", "find_labels", "foreground", "likely_centre", "read_labels"]

# A scan with this fraction of one exact value had its background set to it. It need not be the
# lowest: where a stripped brain was resampled, edges overshoot to below it.
EXACT_BACKGROUND = 1 / 3
# From the top of the scalp to the lower end of the cerebellum: below it a head has no brain.
BRAIN_REACH_MM = 178.0


def entities(path: Path) -> str:
    """Returns the file name without its ending and its BIDS suffix.

    Example:
        >>> entities(Path("sub-1_ses-2_T1w.nii.gz")), entities(Path("head.nii"))
        ('sub-1_ses-2', 'head')
    """
    name = stem(path)
    for suffix in SUFFIXES:
        name = name.removesuffix(f"_{suffix}")
    return name


def find_labels(scan: Path) -> list[Path]:
    """Returns the brain masks and label maps beside a scan, the most trustworthy first.

    Maps of something in the brain (`label-lesion` and the like) are left out: their voxels above
    zero are not the brain.
    """
    start = f"{entities(scan)}_"
    beside = [
        path
        for path in container_of(scan).parent.iterdir()
        if path.name.startswith(start) and has_ending(path) and is_label(path)
    ]
    endings = {path: stem(path).removeprefix(start) for path in beside}
    chosen = [
        path
        for path in beside
        if endings[path].endswith("dseg")
        or endings[path] in ("mask", "desc-brain_mask", "brain_mask")
    ]
    chosen = [path for path in chosen if "label-" not in endings[path]]
    return sorted(chosen, key=lambda path: (endings[path].endswith("dseg"), path.name))


def read_labels(
    path: Path, *, shape: tuple[int, int, int], affine: Affine
) -> Float32[np.ndarray, "i j k"]:
    """Returns a label map on the grid of its scan, by nearest neighbour where it has another."""
    volume = read_scan(path).volume
    data = np.where(volume.observed, volume.data, np.float32(0))
    if not (data > 0).any():
        raise GeometryError(f"{path} labels no voxel", hint="repair the label map or remove it")
    return resample(data, volume.affine, to_shape=shape, to_affine=affine, order=0)


def foreground(data: Float32[np.ndarray, "i j k"]) -> Bool[np.ndarray, "i j k"]:
    """Returns the largest object in a scan, holes filled: a brain if it is skull-stripped."""
    values, counts = np.unique(data, return_counts=True)
    stripped = counts.max() > EXACT_BACKGROUND * data.size
    bright = data > (values[counts.argmax()] if stripped else otsu_thresholds(data)[0])
    pieces, _ = ndimage.label(bright)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(pieces == sizes.argmax())


def likely_centre(
    data: Float32[np.ndarray, "i j k"], affine: Affine
) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]]:
    """Returns the mean position of what is not background, and where its brain is likely, in mm.

    They differ where face and neck are in the field of view: the brain is at the top of a head.
    """
    points = transform(affine, np.argwhere(foreground(data)).astype(np.float64))
    top, bottom = points[:, 2].max(), points[:, 2].min()
    reach = min(top - bottom, BRAIN_REACH_MM)
    brain = points[points[:, 2] >= top - reach].mean(axis=0)
    brain[2] = top - reach / 2
    return points.mean(axis=0), brain
