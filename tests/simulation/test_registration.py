"""Tests for mriimpute.simulation.registration and its template."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from mriimpute.errors import VolumeError
from mriimpute.geometry import resample, rotation, transform
from mriimpute.simulation.registration import register
from mriimpute.simulation.template import Template, load_template, mni152

SHAPE = (48, 56, 48)
AFFINE = np.array([[4.0, 0, 0, -94], [0, 4, 0, -127], [0, 0, 4, -89], [0, 0, 0, 1]])


@pytest.fixture
def template(tmp_path: Path, rng: np.random.Generator) -> Template:
    """A brain-sized egg with an inside, at 4 mm."""
    ras = transform(AFFINE, np.moveaxis(np.indices(SHAPE) * 1.0, 0, -1)) - [0, -17, 5]
    egg = ((ras / [68.0, 85.0, 70.0]) ** 2).sum(axis=-1) < 1
    folds = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2.0)
    data = np.where(egg, np.where(folds > 0, 200, 100), 0).astype(np.float32)
    nib.Nifti1Image(data, AFFINE).to_filename(tmp_path / "egg.nii.gz")
    return load_template(tmp_path / "egg.nii.gz")


def moved(template: Template, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The template as a scan in which template mm x lies at `motion` x; flipped and at 3 mm."""
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = [110.0, -140.0, -130.0]
    data = resample(
        template.data,
        template.affine,
        to_shape=(74, 84, 84),
        to_affine=np.linalg.inv(motion) @ affine,
        order=1,
    )
    return data, affine


def test_a_planted_affine_is_found(template: Template) -> None:
    motion = np.eye(4)
    motion[:3, :3] = rotation((9.0, -4.0, 6.0)) @ np.diag([0.9, 0.85, 0.95])
    motion[:3, 3] = [4.0, 12.0, -15.0]
    data, affine = moved(template, motion)

    found = register(data, affine, template)

    places = transform(template.affine, np.argwhere(template.brain).astype(np.float64))
    error = np.linalg.norm(transform(found, places) - transform(motion, places), axis=1)
    assert error.max() < 0.5


@pytest.mark.slow
def test_registering_twice_gives_the_same_bits(template: Template) -> None:
    data, affine = moved(template, np.diag([0.9, 0.9, 0.9, 1.0]))

    first, second = (register(data, affine, template) for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_the_brain_of_a_template_is_found_with_distances_to_it(template: Template) -> None:
    np.testing.assert_array_equal(template.brain, template.data > 0)
    np.testing.assert_allclose(template.centre_ras, [0, -17, 5], atol=4)
    np.testing.assert_array_equal(template.outside_mm == 0, template.brain)
    assert template.outside_mm[~template.brain].min() == pytest.approx(4)


def test_nothing_to_register_is_an_error_that_names_the_scan(template: Template) -> None:
    data = np.zeros((20, 20, 20), np.float32)
    data[:2, :2, :2] = 1

    with pytest.raises(VolumeError, match=r"sub-7 could not be registered") as caught:
        register(data, np.diag([0.1, 0.1, 0.1, 1.0]), template, name="sub-7")

    assert "--no-register" in caught.value.hint


def test_the_mni_template_is_found_in_the_environment() -> None:
    template = nib.load(mni152())

    assert template.shape == (197, 233, 189)
