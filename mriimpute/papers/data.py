"""The data of the experiments, found by their standard names below a folder; never downloaded.

Files may be damaged: that is an expected error, and reading one never runs code.

Axes: n = images, (h, w) = rows and columns, c = channels, t = time.
"""

import gzip
import math
import struct
import tokenize
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from mriimpute.errors import ConfigError
from mriimpute.io import find_scans
from mriimpute.papers.brains import brain_beside
from mriimpute.papers.simulation import Simulation
from mriimpute.papers.slices import Part, middle_slices, random_patches

__all__ = ["DAMAGES", "Data", "ImageSet", "Labelled", "Split", "enough", "read_idx", "read_npz"]

ImageSet = Literal["mnist", "fashion"]
Split = Literal["train", "test"]
PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}
KINDS = ("images-idx3", "labels-idx1")
ACTIVITY = "*inertial*.npz"
HALF_WINDOW = (9, 64)  # channels, samples
FEWEST_MAPS = 3  # of depth: fewer cannot be split by time
WHERE = "pass the folder of the data with --data; nothing is downloaded"

DAMAGES = (
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,  # encrypted, or packed in a way that Python does not know
    TypeError,
    ValueError,
    BadZipFile,
    tokenize.TokenError,  # the header of an array
    zlib.error,
)
"""What reading a file can end with whose bytes are not those that were written."""


class Labelled(NamedTuple):
    """Images in 0 to 1, and what they show."""

    images: Float32[np.ndarray, "n h w"]
    labels: Int64[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Data:
    """Reads what an experiment asks for.

    Every method raises `ConfigError` if a file is missing or damaged.

    Attributes:
        root: Folder below which the files lie, at any depth; None where there is none.
        scans: Folder or BIDS tree of scans, or of a simulation; None where there is none.
        runs: Folder for what a task keeps, to go on with after a stop; None where there is none.
    """

    root: Path | None
    scans: Path | None = None
    runs: Path | None = None

    def files(self, name: str) -> list[Path]:
        """Returns every file that decides a result, of what is called `name` in DATA, in order."""
        match name:
            case "mnist" | "fashion":
                folder = self._image_folder(name)
                return [folder / _idx(part, kind) for part in PREFIX for kind in KINDS]
            case "activity":
                return [self._only(self._matching(ACTIVITY), f"{ACTIVITY} (UCI HAR)")]
            case "depth":
                paths = [path for path in self._matching("*.npz") if "depth" in _names(path)]
                return [self._only(paths, "*.npz with an array `depth`")]
            case "scans":
                scans = find_scans(self._scans())
                return [*scans, *filter(None, map(brain_beside, scans))]
            case "simulation":
                return self.simulation().files()
            case _:
                raise ValueError(f"no data is called {name!r}")

    def images(self, name: ImageSet, part: Split) -> Labelled:
        """Returns MNIST or Fashion-MNIST, from the idx.gz files under their usual names.

        Both use the same file names. Those of a data set lie in one folder; that of Fashion-MNIST
        is, or lies below, one with "fashion" in its name, that of MNIST does not.
        """
        folder = self._image_folder(name)
        images, labels = (
            read_idx(folder / _idx(part, kind), axes=axes)
            for kind, axes in zip(KINDS, (3, 1), strict=True)
        )
        if len(images) != len(labels):
            raise ConfigError(
                f"{name} has {len(images)} images to {part}, but {len(labels)} labels",
                hint="fetch both files again",
            )
        return Labelled(images.astype(np.float32) / np.float32(255), labels.astype(np.int64))

    def activity(self, part: Split) -> Float32[np.ndarray, "n c t"]:
        """Returns the windows of UCI HAR: 9 inertial channels of 128 samples.

        Windows overlap by half, so the file holds `halves` (m, 9, 64), the two of each window as
        `index` (n, 2), and `is_test` (n). Test windows are of other people, and share no half.

        Each channel is shifted and divided by its range over the training windows, which
        therefore lie in 0 to 1; test windows may lie a little outside.
        """
        (path,) = self.files("activity")
        halves, index, is_test = _read(path, ("halves", "index", "is_test"))
        if not (
            halves.shape[1:] == HALF_WINDOW
            and halves.dtype.kind == "f"
            and index.shape == (len(is_test), 2)
            and index.dtype.kind in "iu"
            and 0 <= index.min(initial=0) <= index.max(initial=0) < len(halves)
        ):
            raise _refused(path, "does not hold windows of 9 channels of 2 x 64 samples")
        halves = halves.astype(np.float32)
        windows = np.concatenate([halves[index[:, 0]], halves[index[:, 1]]], axis=2)
        is_test = is_test.astype(bool)
        if is_test.all() or not is_test.any():
            raise _refused(path, "has no windows to train on, or none to test on")
        train = windows[~is_test]
        low, high = (bound(train, axis=(0, 2))[:, None] for bound in (np.min, np.max))
        chosen = windows[is_test] if part == "test" else train
        return (chosen - low) / np.maximum(high - low, np.float32(1e-6))

    def depth(self) -> Float32[np.ndarray, "n h w"]:
        """Returns depth maps in metres, in the order of the recording; NaN where a hole is.

        They are the array `depth` of an .npz file, in mm if integers, 0 where missing.
        """
        (path,) = self.files("depth")
        (depth,) = _read(path, ("depth",))
        if depth.ndim != 3 or depth.dtype.kind not in "iuf" or len(depth) < FEWEST_MAPS:
            raise _refused(path, f"does not hold {FEWEST_MAPS} or more depth maps (n, h, w)")
        metres = depth.astype(np.float32)
        if np.issubdtype(depth.dtype, np.integer):
            metres *= np.float32(1e-3)
        return np.where(metres > 0, metres, np.float32(np.nan))

    def coronal(
        self,
        part: Part,
        *,
        size: tuple[int, int] = (128, 96),
        seed: int = 0,
        around: int = 0,
        step: int = 1,
    ) -> Float32[np.ndarray, "n h w"]:
        """Returns the middle coronal slice of every scan of a part, and some beside it.

        Scans are split 50/30/20 by subject. See `mriimpute.papers.slices.middle_slices`.
        """
        return middle_slices(self._scans(), part, size, seed=seed, around=around, step=step)

    def patches(
        self, part: Part, *, count: int, size: int = 64, seed: int = 0
    ) -> Float32[np.ndarray, "n h w"]:
        """Returns square patches at random places of the coronal slices of a part.

        Scans are split 50/30/20 by subject. See `mriimpute.papers.slices`.
        """
        return random_patches(self._scans(), part, count=count, size=size, seed=seed)

    def simulation(self) -> Simulation:
        """Returns what `mriimpute simulate` wrote to the folder of the scans."""
        return Simulation(self._scans())

    def _scans(self) -> Path:
        if self.scans is None:
            raise ConfigError("this experiment needs scans", hint="pass --scans DIR")
        return self.scans

    def _image_folder(self, name: ImageSet) -> Path:
        """Returns the only folder that holds all files of a data set of images."""
        files = [_idx(part, kind) for part in PREFIX for kind in KINDS]
        folders = [
            path.parent
            for path in self._matching(files[0])
            if all((path.parent / file).is_file() for file in files)
        ]
        fashion = self._below_fashion(folders)
        told = f"{', '.join(files)} in one folder"
        if name == "fashion":
            return self._only(fashion, f'Fashion-MNIST ({told} with "fashion" in its name)')
        others = [folder for folder in folders if folder not in fashion]
        return self._only(others, f'MNIST ({told} without "fashion" in its name)')

    def _below_fashion(self, folders: Sequence[Path]) -> list[Path]:
        """Returns the folders of Fashion-MNIST.

        The name of the root counts where it tells no folders apart: it may itself be that of
        Fashion-MNIST. So does the name above the root where the files lie in the root itself,
        which may be `FashionMNIST/raw`.
        """
        root = self._root()
        below = [f for f in folders if "fashion" in str(f.relative_to(root)).lower()]
        above = root.resolve().parts[-2 if root in folders else -1 :]
        return list(folders) if not below and "fashion" in "/".join(above).lower() else below

    def _matching(self, pattern: str) -> list[Path]:
        return sorted(self._root().rglob(pattern))

    def _only(self, paths: Sequence[Path], wanted: str) -> Path:
        root = self._root()
        if not paths:
            raise ConfigError(f"{root} holds no {wanted}", hint=WHERE)
        if len(paths) > 1:
            told = ", ".join(str(path.relative_to(root)) for path in paths)
            raise ConfigError(
                f"{root} holds more than one {wanted}: {told}",
                hint="pass a folder that holds one of them with --data, or move the others away",
            )
        return paths[0]

    def _root(self) -> Path:
        if self.root is None:
            raise ConfigError("this experiment needs data", hint=WHERE)
        if not self.root.is_dir():
            raise ConfigError(f"{self.root} is no folder", hint=WHERE)
        return self.root


def _idx(part: Split, kind: str) -> str:
    return f"{PREFIX[part]}-{kind}-ubyte.gz"


def enough(found: int, wanted: int, images: str) -> None:
    """Stops where a data set is too small for a budget: parts of it would be empty.

    Args:
        found: Images that there are.
        wanted: That are needed.
        images: Which these are.

    Raises:
        ConfigError: If so.
    """
    if found < wanted:
        raise ConfigError(
            f"there are {found} {images}, and {wanted} are needed",
            hint="pass the published files with --data, or a smaller --budget",
        )


def read_idx(path: Path, *, axes: int) -> UInt8[np.ndarray, "..."]:
    """Returns the array in a gzipped idx file of unsigned bytes, the format of MNIST.

    References:
        LeCun, Cortes, Burges, The MNIST database of handwritten digits, "File formats".

    Args:
        path: Ends in .gz.
        axes: How many the array must have.

    Raises:
        ConfigError: If the file is damaged or holds something else.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise _refused(path, f"cannot be unpacked ({error})") from error
    start = 4 + 4 * axes
    if len(content) < start or content[:4] != bytes([0, 0, 8, axes]):  # 8: unsigned bytes
        raise _refused(path, f"is no idx file of bytes along {axes} axes")

    sizes = struct.unpack(f">{axes}I", content[4:start])
    if 0 in sizes:
        raise _refused(path, "is empty")
    if len(content) - start != math.prod(sizes):
        raise _refused(path, f"should hold {math.prod(sizes)} bytes, has {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def read_npz(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Returns the arrays of a NumPy archive, all of them by default.

    Raises:
        Exception: One of `DAMAGES`.
    """
    # Opened here: np.load leaves the file of a damaged archive open.
    with path.open("rb") as file, np.load(file) as stored:
        return {name: stored[name] for name in (stored.files if names is None else names)}


def _names(path: Path) -> list[str]:
    """Returns the names of the arrays of an archive; none if it is damaged."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return list(stored.files)
    except DAMAGES:
        return []


def _read(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    try:
        return list(read_npz(path, names).values())
    except DAMAGES as error:
        raise _refused(path, f"is damaged, or does not hold {', '.join(names)}") from error


def _refused(path: Path, problem: str) -> ConfigError:
    return ConfigError(f"{path} {problem}", hint="fetch the file again")
