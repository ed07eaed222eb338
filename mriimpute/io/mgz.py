"""MGZ out, the format of FreeSurfer: axes, spacings and the centre, in single precision."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from mriimpute.errors import OutputError
from mriimpute.geometry import Affine
from mriimpute.io.image_file import has_ending
from mriimpute.io.scan import Scan

__all__ = ["MGZ", "as_mgz", "require_writable"]

MGZ = (".mgz", ".mgh")


def require_writable(path: Path, scan: Scan) -> None:
    """Stops before any work where the images of a scan would not fit into the kind of file.

    Args:
        path: Of an image.
        scan: It is made of.

    Raises:
        OutputError: If so.
    """
    if has_ending(path, MGZ):
        _require_single(scan.values.dtype, path)


def as_mgz(image: Any, path: Path, affine: Affine | None = None) -> Any:
    """Returns a nibabel image as one that is written as MGZ.

    Args:
        image: NIfTI, slope 1 and intercept 0.
        path: For messages.
        affine: The only one that MGZ has room for; None: the best in the header.

    Raises:
        OutputError: If MGZ cannot hold it.
    """
    voxels = np.asarray(image.dataobj)
    _require_single(voxels.dtype, path)
    return nib.MGHImage(voxels, image.header.get_best_affine() if affine is None else affine)


def _require_single(dtype: np.dtype[Any], path: Path) -> None:
    if dtype == np.float64:
        raise OutputError(
            f"{path}: values need double precision, which MGZ does not have",
            hint="write NIfTI instead, with -o and a name that ends in .nii.gz",
        )
