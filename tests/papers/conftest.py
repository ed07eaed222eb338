"""Made-up data in the formats of the real ones: tiny, but read by the same code."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SIZES = {"train": 340, "t10k": 60}
EDGE = 8


def write_idx(path: Path, array: np.ndarray) -> Path:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes(), compresslevel=1))
    return path


def smooth_images(count: int, rng: np.random.Generator) -> np.ndarray:
    """Bytes of images in a subspace of 6 smooth patterns."""
    row, column = np.indices((EDGE, EDGE)) / EDGE
    patterns = [np.cos(np.pi * (a * row + b * column)) for a in range(2) for b in range(3)]
    images = 0.5 + np.tensordot(rng.normal(size=(count, 6)) / 8, np.stack(patterns), axes=1)
    return (255 * images.clip(0, 1)).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder with both image data sets, activity windows and depth maps."""
    folder = tmp_path / "data"
    for name in ("digits", "fashion-mnist"):
        for prefix, count in SIZES.items():
            images, labels = smooth_images(count, rng), rng.integers(10, size=count)
            write_idx(folder / name / f"{prefix}-images-idx3-ubyte.gz", images)
            write_idx(folder / name / f"{prefix}-labels-idx1-ubyte.gz", labels)
    np.savez(
        folder / "har_inertial.npz",
        halves=rng.normal(3, 2, (9, 9, 64)).astype(np.float16),
        index=np.stack([np.arange(8), np.arange(1, 9)], axis=1),
        is_test=np.arange(8) >= 5,
    )
    depth = rng.integers(500, 4000, (3, 6, 10)).astype(np.uint16)
    depth[:, 2, 3] = 0
    np.savez(folder / "frames.npz", depth=depth)
    return folder


@pytest.fixture
def scans(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Six heads of noise; their brain is a block, off the middle of the grid."""
    folder = tmp_path / "scans"
    for n in range(6):
        place = folder / f"sub-{n}" / "anat"
        place.mkdir(parents=True)
        head = rng.uniform(50, 100, (12, 14, 16)).astype(np.float32)
        brain = np.zeros(head.shape, np.uint8)
        brain[1:7, 3:9, 4:14] = 1
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        nib.Nifti1Image(head, affine).to_filename(place / f"sub-{n}_T1w.nii.gz")
        nib.Nifti1Image(brain, affine).to_filename(place / f"sub-{n}_desc-x_dseg.nii.gz")
    return folder
