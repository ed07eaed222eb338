"""Writing a NIfTI file that has a new grid, and so no header to inherit."""

from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from jaxtyping import Float32, Float64, Integer

from mriimpute.io._save import save

__all__ = ["FRAMES", "Frame", "write_grid"]

Frame = Literal["scanner", "aligned", "mni152"]

FRAMES: dict[Frame, int] = {"scanner": 1, "aligned": 2, "mni152": 4}


def write_grid(
    path: Path,
    data: Float32[np.ndarray, "i j k"] | Integer[np.ndarray, "i j k"],
    affine: Float64[np.ndarray, "4 4"],
    *,
    frame: Frame,
) -> None:
    """Writes `data` on a grid of its own, atomically; both forms say the same.

    The bytes depend on nothing but the arguments: neither the clock nor the temporary file's
    name enters the gzip header.

    Args:
        path: Ends in .nii or .nii.gz.
        data: Stored as it is, without slope.
        affine: From voxel indices to mm right, anterior, superior.
        frame: What the coordinates mean: NIfTI's form code.

    Raises:
        OutputError: If the file cannot be written.
    """
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, code=FRAMES[frame])
    image.set_qform(affine, code=FRAMES[frame])
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"mriimpute"
    save(image, path)
