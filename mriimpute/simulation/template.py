"""The common space: the MNI152 brain that comes with the package, or any other head."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from scipy import ndimage

from mriimpute.geometry import Affine, spacing_mm, transform
from mriimpute.io import read_scan
from mriimpute.simulation.brain import find_labels, foreground, read_labels

__all__ = ["Template", "load_template", "mni152"]


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A head, or a brain, in the common space.

    Attributes:
        path: Where it was read.
        data: Intensities.
        brain: True inside the brain.
        outside_mm: Distance to the brain.
        affine: From voxel indices to mm right, anterior, superior.
        centre_ras: Middle of the brain's bounding box, in mm.
    """

    path: Path
    data: Float32[np.ndarray, "i j k"]
    brain: Bool[np.ndarray, "i j k"]
    outside_mm: Float[np.ndarray, "i j k"]
    affine: Affine
    centre_ras: Float64[np.ndarray, " 3"]


def mni152() -> Path:
    """Returns the skull-stripped T1 of MNI ICBM152 2009a, symmetric, 1 mm."""
    name = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    return Path(__file__).with_name("mni152") / name


def load_template(path: Path) -> Template:
    """Returns the template at `path`; a brain mask or label map beside it is used where found."""
    volume = read_scan(path).volume
    data = np.where(volume.observed, volume.data, np.float32(0))
    labels = find_labels(path)
    brain = (
        read_labels(labels[0], shape=volume.shape, affine=volume.affine) > 0
        if labels
        else foreground(data)
    )
    corners = np.argwhere(brain)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    return Template(
        path=path,
        data=data,
        brain=brain,
        outside_mm=ndimage.distance_transform_edt(~brain, sampling=spacing_mm(volume.affine)),
        affine=volume.affine,
        centre_ras=transform(volume.affine, middle),
    )
