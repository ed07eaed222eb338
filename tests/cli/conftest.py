"""Scans that no command can use, one per way of being broken."""

import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

AFFINE = np.diag([1.0, 1.0, 6.0, 1.0])

Break = Callable[[Path], Path]


def saved(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.Nifti1Image(data, AFFINE if affine is None else affine).to_filename(path)
    return path


def with_bytes(path: Path, offset: int, form: str, *values: float) -> Path:
    """Saves an ordinary scan and overwrites header bytes, as nibabel would refuse to."""
    saved(path, np.arange(120, dtype=np.int16).reshape(4, 5, 6))
    content = bytearray(path.read_bytes())
    content[offset : offset + struct.calcsize(form)] = struct.pack(form, *values)
    path.write_bytes(bytes(content))
    return path


def garbage(path: Path) -> Path:
    path.write_bytes(b"not an image " * 100)
    return path


def truncated(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 999, (16, 16, 16)).astype(np.int16)
    content = saved(path, noise).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def colour(path: Path) -> Path:
    rgb = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    return saved(path, rgb)


BROKEN: dict[str, Break] = {
    "missing file": lambda p: p / "none.nii.gz",
    "wrong ending": lambda p: garbage(p / "notes.pdf"),
    "garbage": lambda p: garbage(p / "x.nii"),
    "garbage gzip": lambda p: garbage(p / "x.nii.gz"),
    "garbage mgz": lambda p: garbage(p / "x.mgz"),
    "truncated gzip": lambda p: truncated(p / "x.nii.gz"),
    "truncated": lambda p: truncated(p / "x.nii"),
    "4D": lambda p: saved(p / "x.nii", np.zeros((4, 5, 6, 3), np.float32)),
    "RGB": lambda p: colour(p / "x.nii"),
    "complex": lambda p: saved(p / "x.nii", np.zeros((4, 5, 6), np.complex64)),
    "all NaN": lambda p: saved(p / "x.nii", np.full((4, 5, 6), np.nan, np.float32)),
    "one slice": lambda p: saved(p / "x.nii", np.zeros((4, 5, 1), np.float32)),
    "2D": lambda p: saved(p / "x.nii", np.zeros((4, 5), np.float32)),
    "zero voxel size": lambda p: with_bytes(p / "x.nii", 88, "<f", 0.0),
    "negative shape": lambda p: with_bytes(p / "x.nii", 42, "<h", -4),
    "huge shape": lambda p: with_bytes(p / "x.nii", 42, "<3h", 30000, 30000, 30000),
    "unknown datatype": lambda p: with_bytes(p / "x.nii", 70, "<h", 99),
    "singular affine": lambda p: with_bytes(p / "x.nii", 280, "<12f", *[0.0] * 12),
    "empty file": lambda p: (p / "x.nii").touch() or p / "x.nii",
    "empty folder": lambda p: folder(p / "empty"),
    "folder like a file": lambda p: folder(p / "x.nii"),
}


@pytest.fixture(params=sorted(BROKEN))
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The path of something that is not a scan."""
    return BROKEN[request.param](tmp_path)


@pytest.fixture
def thick(tmp_path: Path, rng: np.random.Generator) -> Path:
    """An ordinary thick-slice scan: 6 x 5 x 4 voxels of 1 x 1 x 6 mm, both forms set."""
    image = nib.Nifti1Image(rng.integers(0, 900, (6, 5, 4)).astype(np.int16), AFFINE)
    image.set_qform(AFFINE, code=1)
    image.set_sform(AFFINE, code=1)
    image.to_filename(tmp_path / "thick.nii.gz")
    return tmp_path / "thick.nii.gz"
