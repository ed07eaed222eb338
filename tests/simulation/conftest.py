"""Small heads: a bright, textured ball in the air, with a label map beside it."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from mriimpute.simulation import SimulationConfig

Cohort = Callable[..., Path]


@pytest.fixture
def small() -> SimulationConfig:
    """A box of 12 x 14 x 12 mm around the ball, where it lies."""
    return SimulationConfig(register=False, box_mm=(12.0, 14.0, 12.0), keep_every=3)


@pytest.fixture
def heads(tmp_path: Path, rng: np.random.Generator) -> Cohort:
    def build(subjects: int = 3, *, labels: bool = True) -> Path:
        folder = tmp_path / "heads"
        for n in range(1, subjects + 1):
            place = folder / f"sub-{n}" / "anat"
            place.mkdir(parents=True)
            offset = np.indices((16, 16, 16)) - 7.5
            ball = (offset**2).sum(axis=0) < 36
            texture = ndimage.gaussian_filter(rng.normal(size=ball.shape), 1.0)
            data = np.where(ball, 100 + 100 * texture, 0).clip(0).astype(np.float32)
            affine = np.diag([-1.0, 1.0, 1.0, 1.0])
            affine[:3, 3] = [8.0 + n, -20.0, 5.0]
            nib.Nifti1Image(data, affine).to_filename(place / f"sub-{n}_T1w.nii.gz")
            if labels:
                parts = np.where(ball, 1 + (offset[0] > 0), 0).astype(np.uint8)
                path = place / f"sub-{n}_desc-halves_dseg.nii.gz"
                nib.Nifti1Image(parts, affine).to_filename(path)
        return folder

    return build
