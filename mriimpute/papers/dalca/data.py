"""The sparse data sets of figures 5, 7 and 8 of Dalca et al.: photographs, patches and slices.

Data sets are split 50/30/20 into training, validation and test images, scans by subject. What is
missing depends on the data set and the seed alone, and is the same for all methods.

Axes: n = images, (h, w) = rows and columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from mriimpute.papers.data import Data, ImageSet, enough
from mriimpute.papers.slices import Part
from mriimpute.papers.sparse import Sparse, lines, random_missing
from mriimpute.seeds import numpy_stream

__all__ = [
    "NAMES",
    "Corpus",
    "Name",
    "Slices",
    "Splits",
    "photographs",
    "sparse_images",
    "sparse_photographs",
    "sparse_slices",
]

Name = Literal["patches", "mnist-2", "mnist-all", "mnist-rot", "fashion"]
NAMES: tuple[Name, ...] = get_args(Name)
PARTS: tuple[Part, ...] = ("train", "val", "test")
FRACTIONS = (0.5, 0.3, 0.2)  # of a data set
FEWEST = 4  # images of a data set: of three, no part would be for validation
CLASSES: dict[str, tuple[ImageSet, int]] = {"mnist-2": ("mnist", 2), "fashion-1": ("fashion", 1)}
PATCHES = 10_000  # of scans, all parts together: what "all" means, where there is no end of them


class Splits(NamedTuple):
    """A sparse data set; truth of `train` and `val` is never looked at."""

    train: Sparse
    val: Sparse
    test: Sparse


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """A sparse data set.

    Attributes:
        name: Of the data set.
        missing: Fraction of the pixels that are removed.
        train: Training images, at most.
        val: Validation images, at most.
        test: Test images, at most.
    """

    name: Name
    missing: float
    train: int
    val: int
    test: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Slices:
    """A data set of sparse slices.

    Attributes:
        every: One line in `every` is kept; in voxels.
        size: Rows and columns of a slice, in voxels.
        around: Slices on either side of the middle one that training takes, too.
        step: From one of these to the next, in voxels.
        subjects: Training and test subjects, at most; 0 for all.
    """

    every: int
    size: tuple[int, int]
    around: int
    step: int
    subjects: int = 0


@lru_cache(maxsize=2)
def sparse_images(data: Data, corpus: Corpus, seed: int) -> Splits:
    """Returns a data set without the pixels that are missing; the same for all methods."""
    images = _images(data, corpus, seed)
    return _without(images, corpus.missing, seed, corpus.name, str(corpus.missing))


def sparse_photographs(
    data: Data, name: str, percent: int, counts: Sequence[int], seed: int
) -> Splits:
    """Returns one of `CLASSES` without the pixels that are missing, in per cent."""
    parts = _divided(photographs(data, *CLASSES[name]), counts, seed, name)
    return _without(parts, percent / 100, seed, name, percent)


def _without(
    parts: Sequence[Float32[np.ndarray, "_ h w"]], missing: float, seed: int, *words: str | int
) -> Splits:
    """Returns the parts of a data set; the words of the random stream name it."""
    streams = (numpy_stream(seed, "pixels", *words, part) for part in PARTS)
    pairs = zip(parts, streams, strict=True)
    return Splits(*(random_missing(truth, missing, 0.0, stream) for truth, stream in pairs))


def photographs(data: Data, name: ImageSet, label: int | None) -> Float32[np.ndarray, "n h w"]:
    """Returns all images of a data set, or those of one class, from both of its files."""
    files = [data.images(name, "train"), data.images(name, "test")]
    return np.concatenate(
        [images if label is None else images[labels == label] for images, labels in files]
    )


def _divided(
    images: Float32[np.ndarray, "n h w"], counts: Sequence[int], seed: int, name: str
) -> list[Float32[np.ndarray, "n2 h w"]]:
    """Returns the beginnings of the parts of a data set that was shuffled and split 50/30/20."""
    enough(len(images), FEWEST, f"images of {name}")
    order = numpy_stream(seed, "split", name).permutation(len(images))
    ends = np.round(np.cumsum(FRACTIONS) * len(images)).astype(int)
    parts = np.split(order, ends[:-1])
    return [images[part[:count]] for part, count in zip(parts, counts, strict=True)]


def _images(data: Data, corpus: Corpus, seed: int) -> list[Float32[np.ndarray, "n h w"]]:
    counts = (corpus.train, corpus.val, corpus.test)
    match corpus.name:
        case "patches":
            limits = [round(fraction * PATCHES) for fraction in FRACTIONS]
            return [
                data.patches(part, count=min(count, limit), seed=seed)
                for part, count, limit in zip(PARTS, counts, limits, strict=True)
            ]
        case "mnist-2":
            return _divided(photographs(data, "mnist", 2), counts, seed, corpus.name)
        case "mnist-all":
            return _divided(photographs(data, "mnist", None), counts, seed, corpus.name)
        case "mnist-rot":
            parts = _divided(photographs(data, "mnist", None), counts, seed, corpus.name)
            return [
                _rotated(images, seed, part) for images, part in zip(parts, PARTS, strict=True)
            ]
        case "fashion":
            return _divided(photographs(data, "fashion", None), counts, seed, corpus.name)


def _rotated(
    images: Float32[np.ndarray, "n h w"], seed: int, part: str
) -> Float32[np.ndarray, "n h w"]:
    """Returns the images, each rotated by a random angle between 0 and 360 degrees."""
    angles = numpy_stream(seed, "angles", part).uniform(0, 360, len(images))
    rotated = [
        ndimage.rotate(image, angle, reshape=False, order=1)  # linear: stays in 0 to 1
        for image, angle in zip(images, angles, strict=True)
    ]
    return np.stack(rotated)


@lru_cache(maxsize=2)
def sparse_slices(data: Data, slices: Slices, seed: int) -> Splits:
    """Returns the slices of each part, without the lines that are missing.

    Raises:
        ConfigError: If there are no scans.
    """
    parts = []
    for part in PARTS:
        around = slices.around if part == "train" else 0
        truth = data.coronal(part, size=slices.size, seed=seed, around=around, step=slices.step)
        limit = slices.subjects * (2 * around + 1) or len(truth)
        generator = numpy_stream(seed, "lines", slices.every, part)
        parts.append(lines(truth[:limit], slices.every, generator))
    return Splits(*parts)
