"""Coronal slices of scans, for the experiments in two dimensions.

Each scan becomes numbers in 0 to 1: voxels outside of the brain are 0 where a label map or a
brain mask lies beside the scan, and 1 is the 99.5th percentile of what is left. A voxel that the
scan itself lacks is NaN: never observed, never scored. Scans are not registered; a slice is
centred on the brain instead, or on the grid where no brain is known.

Axes: n = images, (h, w) = rows from superior to inferior, columns from the patient's right to
the left; (i, j, k) = voxels towards right, anterior, superior; j = coronal slices.
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from mriimpute.errors import ConfigError
from mriimpute.io import find_scans, read_scan
from mriimpute.io.tree import subject
from mriimpute.papers.brains import brain_beside
from mriimpute.seeds import numpy_stream

__all__ = ["Part", "middle_slices", "random_patches"]

Part = Literal["train", "val", "test"]
FRACTIONS: dict[Part, tuple[float, float]] = {
    "train": (0.0, 0.5),
    "val": (0.5, 0.8),
    "test": (0.8, 1.0),
}
BRIGHT = 99.5  # percentile
LEAST_TISSUE = 0.5  # fraction of a patch
TRIES = 200


def middle_slices(
    scans: Path,
    part: Part,
    size: tuple[int, int],
    *,
    seed: int,
    around: int = 0,
    step: int = 1,
) -> Float32[np.ndarray, "n h w"]:
    """Returns the slice in the middle of the brain of every scan of a part, and some beside it.

    Args:
        scans: A folder or BIDS tree.
        part: Scans are split 50/30/20 by subject.
        size: Slices are cropped or padded with zeros about their middle to (h, w).
        seed: Decides which subjects are in which part.
        around: How many further slices on either side of the middle one.
        step: From one to the next, in voxels.
    """
    offsets = range(-around * step, around * step + 1, step)
    return np.stack(
        [
            _centred(*_read(path), size, offset)
            for path in _chosen(scans, part, seed)
            for offset in offsets
        ]
    )


def random_patches(
    scans: Path, part: Part, *, count: int, size: int, seed: int
) -> Float32[np.ndarray, "n h w"]:
    """Returns square patches at random places of coronal slices, at least half of them tissue.

    Args:
        scans: A folder or BIDS tree.
        part: Scans are split 50/30/20 by subject.
        count: How many patches.
        size: Edge, in voxels; a smaller slice is padded with zeros.
        seed: Decides which subjects are in which part, and the places.
    """
    paths = _chosen(scans, part, seed)
    return np.stack(
        [
            _patch(*_read(paths[n % len(paths)]), size, numpy_stream(seed, "places", part, n))
            for n in range(count)
        ]
    )


def _chosen(scans: Path, part: Part, seed: int) -> list[Path]:
    paths = find_scans(scans)
    subjects = sorted({subject(path) for path in paths})
    order = numpy_stream(seed, "subjects").permutation(len(subjects))
    low, high = (round(end * len(subjects)) for end in FRACTIONS[part])
    names = {subjects[index] for index in order[low:high]}
    if not names:
        raise ConfigError(
            f"{scans}: {len(subjects)} subjects leave none for {part}",
            hint="pass scans of at least five subjects",
        )
    return [path for path in paths if subject(path) in names]


@lru_cache(maxsize=128)
def _read(path: Path) -> tuple[Float32[np.ndarray, "j h w"], Bool[np.ndarray, "j h w"]]:
    """Returns all coronal slices of a scan, and where there is tissue."""
    volume = read_scan(path).volume
    data = np.where(volume.observed, volume.data, 0.0)
    brain = brain_beside(path)
    if brain is None:
        tissue = data > 0.1 * np.percentile(data, BRIGHT)
    else:
        tissue = read_scan(brain).volume.data > 0
        if tissue.shape != data.shape:
            raise ConfigError(f"{brain} lies on another grid than {path}", hint="resample it")
        data = np.where(tissue, data, 0.0)
    known = tissue & volume.observed
    bright = float(np.percentile(data[known], BRIGHT)) if known.any() else 1.0
    scaled = np.clip(data / max(bright, 1e-6), 0.0, 1.0).astype(np.float32)
    unobserved = ~volume.observed if brain is None else ~volume.observed & tissue
    return _slices(np.where(unobserved, np.float32(np.nan), scaled)), _slices(tissue)


def _slices(volume: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(volume[::-1, :, ::-1].transpose(1, 2, 0))


def _centred(
    slices: Float32[np.ndarray, "j h w"],
    tissue: Bool[np.ndarray, "j h w"],
    size: tuple[int, int],
    offset: int,
) -> Float32[np.ndarray, "h2 w2"]:
    known = not tissue[:, [0, -1]].any()  # tissue at the border is a neck: no brain was cut out
    box = ndimage.find_objects(tissue.astype(np.uint8))[0] if known and tissue.any() else ()
    middle = [(edge.start + edge.stop) // 2 for edge in box] or [n // 2 for n in slices.shape]
    place = (middle[0] + offset) % len(slices)
    return _window(
        slices[place], [m - edge // 2 for m, edge in zip(middle[1:], size, strict=True)], size
    )


def _patch(
    slices: Float32[np.ndarray, "j h w"],
    tissue: Bool[np.ndarray, "j h w"],
    size: int,
    generator: np.random.Generator,
) -> Float32[np.ndarray, "h2 w2"]:
    ranges = [max(1, edge - size + 1) for edge in slices.shape[1:]]
    best, largest = (0, [0, 0]), -1.0
    for _ in range(TRIES):
        j = int(generator.integers(len(slices)))
        corner = [int(generator.integers(n)) for n in ranges]
        fraction = float(_window(tissue[j], corner, (size, size)).mean())
        if fraction > largest:
            best, largest = (j, corner), fraction
        if largest >= LEAST_TISSUE:
            break
    return _window(slices[best[0]], best[1], (size, size))


def _window(plane: np.ndarray, corner: list[int], size: tuple[int, int]) -> np.ndarray:
    """Returns the part of a plane that begins at `corner`; zeros lie outside of the plane."""
    padded = np.pad(plane, [(edge, edge) for edge in size])
    rows, columns = (slice(c + n, c + 2 * n) for c, n in zip(corner, size, strict=True))
    return padded[rows, columns]
