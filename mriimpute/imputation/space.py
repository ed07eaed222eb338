"""Where results are written: the scan's own frame, or the common grid of the template."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
from jaxtyping import Float, UInt8

from mriimpute.cohort.target_grid import TargetGrid
from mriimpute.errors import VolumeError
from mriimpute.geometry import resample
from mriimpute.imputation.coding import PLAIN, Coding, coding_of
from mriimpute.io import Scan, write_grid, write_image

__all__ = ["TEMPLATE_SHAPE", "Space", "Write", "writer"]

Space = Literal["native", "template"]
Image = Float[np.ndarray, "i j k"] | UInt8[np.ndarray, "i j k"]
Write = Callable[[Path, Image], None]

TEMPLATE_SHAPE = (192, 224, 176)
"""Of the common grid of 1 mm."""


def writer(space: Space, scan: Scan, grid: TargetGrid, mean: Float[np.ndarray, "i j k"]) -> Write:
    """Returns what writes an image of the imputed grid in a space.

    Native space is the scan's own frame and changes no voxel. Template space is the common 1 mm
    grid (192 mm right-left, 224 mm back-front, 176 mm bottom-top) after an affine registration
    of `mean`: intensities, standard deviations included, are interpolated linearly there, so a
    voxel between two others is as uncertain as they are on average.

    Raises:
        VolumeError: If the scan cannot be registered to the template.
    """
    match space:
        case "native":
            return partial(write_image, like=scan, refine=(grid.axis, grid.factor))
        case "template":
            return _in_template(grid, mean, name=scan.path.name)
        case _:
            assert_never(space)


def _in_template(grid: TargetGrid, mean: Float[np.ndarray, "i j k"], *, name: str) -> Write:
    from mriimpute.simulation.acquisition import Box, SimulationConfig, on_grid
    from mriimpute.simulation.registration import register
    from mriimpute.simulation.template import load_template, mni152

    template = load_template(mni152())
    affine = grid.volume.affine
    try:
        to_scan = register(_coding(mean).code(mean), affine, template, name=name)
    except VolumeError as error:  # it knows options of another command
        hint = "check the orientation in its header, or leave --space template out"
        raise VolumeError(str(error), hint=hint) from error
    common = on_grid(SimulationConfig(), Box(template.centre_ras, np.eye(3)), side_mm=1.0)

    def write(path: Path, image: Image) -> None:
        coding = _coding(image)
        moved = resample(
            coding.code(image),
            affine,
            to_shape=common.shape,
            to_affine=to_scan @ common.affine,
            order=0 if image.dtype == np.uint8 else 1,
            fill=float(coding.code(np.zeros(1))[0]),
        )
        write_grid(path, coding.decode(moved).astype(image.dtype), common.affine, frame="mni152")

    return write


def _coding(image: Image) -> Coding:
    """Returns how an image is resampled in single precision."""
    return coding_of(image.ravel()) if image.dtype == np.float64 else PLAIN
