"""Tests for mriimpute.io.grid."""

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mriimpute.geometry import rotation
from mriimpute.io import write_grid

AFFINE = np.eye(4)
AFFINE[:3, :3] = rotation((10.0, -20.0, 5.0)) @ np.diag([1.0, 1.0, 6.0])
AFFINE[:3, 3] = [-90.0, 12.5, 3.0]


def test_both_forms_and_their_codes_say_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    data = rng.normal(size=(4, 5, 6)).astype(np.float32)

    write_grid(tmp_path / "a.nii.gz", data, AFFINE, frame="mni152")

    image = nib.load(tmp_path / "a.nii.gz")
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 4
    np.testing.assert_allclose(image.get_sform(), AFFINE, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj), data)
    assert image.get_data_dtype() == np.float32


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_bytes_depend_on_neither_clock_nor_name(tmp_path: Path, ending: str) -> None:
    data = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

    write_grid(tmp_path / f"a.{ending}", data, AFFINE, frame="scanner")
    time.sleep(1.1)  # gzip counts in seconds
    write_grid(tmp_path / f"b.{ending}", data, AFFINE, frame="scanner")

    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
