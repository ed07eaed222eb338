"""Tests for mriimpute.io.contents."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from mriimpute.io import held_otherwise, read_scan
from mriimpute.io.contents import named_otherwise

AFFINE = np.diag([1.0, 1.0, 5.0, 1.0])


def saved(path: Path, data: np.ndarray, *, intent: int = 0) -> Path:
    image = nib.Nifti1Image(data, AFFINE)
    image.header["intent_code"] = intent
    image.to_filename(path)
    return path


def labels(count: int, seed: int = 0) -> np.ndarray:
    """Regions that are nearest to one of some points, every one with a number of its own."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, (32, 32, 10), (count, 3))
    grid = np.stack(np.indices((32, 32, 10)), axis=-1).astype(float)
    nearest = np.linalg.norm(grid[..., None, :] - points, axis=-1).argmin(axis=-1)
    return nearest * 37


def head(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(32, 32, 10)), 1.5)
    return np.clip(300 + 900 * smooth + rng.normal(0, 5, smooth.shape), 0, None)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("sub-01_part-phase_T2w.nii.gz", "phase"),
        ("sub-01_phasediff.nii.gz", "phase"),
        ("s003_gre_e2_ph.nii", "phase"),
        ("sub-01_fieldmap.nii", "a field map"),
        ("mt1_seg.nii.gz", "labels or a mask"),
        ("sub-01_probseg.nii.gz", "labels or a mask"),
        ("a.dscalar.nii", "values of a surface (CIFTI or of one hemisphere)"),
        ("lh.thickness.mgh", "values of a surface (CIFTI or of one hemisphere)"),
        ("sub-01_part-mag_T2w.nii.gz", None),
        ("alph.nii", None),
        ("v1.2.label-free.nii", None),
        ("brainmask.mgz", None),  # FreeSurfer's is an image of intensities
    ],
)
def test_names_say_what_is_held(name: str, held: str | None) -> None:
    assert named_otherwise(name) == held


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("count", [2, 7])
def test_labels_are_known_by_their_values(dtype: type, count: int, tmp_path: Path) -> None:
    scan = read_scan(saved(tmp_path / "a.nii", labels(count).astype(dtype)))

    assert held_otherwise(scan) == "labels or a mask, to judge by its values"


@pytest.mark.parametrize("circle", [(-np.pi, np.pi), (-4096, 4094)])
def test_phase_is_known_by_its_full_circle(circle: tuple[float, float], tmp_path: Path) -> None:
    turns = np.random.default_rng(0).permutation(np.linspace(*circle, 32 * 32 * 10))
    data = turns.reshape(32, 32, 10)
    data = data.astype(np.float32) if circle[1] < 4 else data.round().astype(np.int16)

    scan = read_scan(saved(tmp_path / "a.nii", data))

    assert held_otherwise(scan) == "phase, to judge by its values"


@pytest.mark.parametrize("levels", [4095, 60, 12])
@pytest.mark.parametrize("stripped", [False, True])
def test_intensities_are_none_of_these_however_few_levels(
    levels: int, stripped: bool, tmp_path: Path
) -> None:
    data = np.round(head() / head().max() * levels)
    if stripped:
        data[:10] = 0

    scan = read_scan(saved(tmp_path / "a.nii", data.astype(np.int16)))

    assert held_otherwise(scan) is None


def test_a_constant_scan_and_one_with_missing_voxels_are_no_labels(tmp_path: Path) -> None:
    data = head().astype(np.float32)
    data[::2] = np.nan

    assert held_otherwise(read_scan(saved(tmp_path / "a.nii", data))) is None
    constant = np.full((6, 6, 4), 7, np.int16)
    assert held_otherwise(read_scan(saved(tmp_path / "b.nii", constant))) is None


def test_large_numbers_with_a_small_contrast_are_no_labels(tmp_path: Path) -> None:
    scan = read_scan(saved(tmp_path / "a.nii", 1e8 + head() * 1e-3), exact=True)

    assert held_otherwise(scan) is None


@pytest.mark.parametrize(
    ("said", "held"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "phase"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}, None),
        ({"Units": "Hz"}, "a field map"),
        ({"Units": "arbitrary"}, None),
        ({"Units": ["rad"], "ImageType": {"P": 1}}, None),
        ([1, 2], None),
    ],
)
def test_the_sidecar_says_what_is_held(said: object, held: str | None, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(said))

    found = held_otherwise(read_scan(saved(tmp_path / "a.nii", head().astype(np.float32))))

    assert found == (held and f"{held}, to judge by its sidecar")


def test_the_header_says_what_is_held(tmp_path: Path) -> None:
    data = head().astype(np.float32)

    statistic = held_otherwise(read_scan(saved(tmp_path / "a.nii", data, intent=3)))
    label = held_otherwise(read_scan(saved(tmp_path / "b.nii", data, intent=1002)))

    assert statistic == "a statistical map, to judge by its header"
    assert label == "labels or a mask, to judge by its header"
