"""Scans as other tools leave them, made byte by byte where nibabel would repair them."""

import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

Field = tuple[int, str, tuple[float, ...]]


@pytest.fixture
def affine() -> np.ndarray:
    """Oblique, 0.9 x 1.1 x 6 mm."""
    axes = np.array([[0.936, -0.342, 0.087], [0.321, 0.929, 0.186], [-0.144, -0.147, 0.979]])
    q, r = np.linalg.qr(axes)
    oblique = np.eye(4)
    oblique[:3, :3] = q * np.sign(np.diag(r)) * (0.9, 1.1, 6.0)
    oblique[:3, 3] = (-31.5, 12.25, 7.0)
    return oblique


@pytest.fixture
def plain(affine: np.ndarray, rng: np.random.Generator, tmp_path: Path) -> Path:
    """An ordinary scan: int16, 6 x 5 x 4 voxels, oblique, both forms set."""
    image = nib.Nifti1Image(rng.integers(-900, 900, (6, 5, 4)).astype(np.int16), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=2)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(tmp_path / "plain.nii")
    return tmp_path / "plain.nii"


@pytest.fixture
def variant(plain: Path, tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that copies the ordinary scan with other header bytes."""

    def make(*fields: Field) -> Path:
        content = bytearray(plain.read_bytes())
        for offset, form, values in fields:
            content[offset : offset + struct.calcsize(form)] = struct.pack(form, *values)
        path = tmp_path / "variant.nii"
        path.write_bytes(bytes(content))
        return path

    return make
