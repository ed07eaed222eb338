"""Scans in and out; the only package that imports nibabel and pydicom."""

from pathlib import Path

from mriimpute.io.contents import held_otherwise, warn_of_contents
from mriimpute.io.dicom.series import checksum, container_of, holds_dicom, read_series
from mriimpute.io.nifti import Form, Frame, read_nifti, write_grid, write_image
from mriimpute.io.scan import Scan
from mriimpute.io.tree import find_scans, stem

__all__ = [
    "Form",
    "Frame",
    "Scan",
    "checksum",
    "container_of",
    "find_scans",
    "held_otherwise",
    "read_scan",
    "stem",
    "warn_of_contents",
    "write_grid",
    "write_image",
]


def read_scan(path: Path, *, observed: Path | None = None, form: Form = "auto") -> Scan:
    """Returns the scan at `path`.

    Args:
        path: A NIfTI or MGZ file, or a DICOM series: its folder, a zip that holds it, one
            multi-frame file, or `FOLDER/series-NNN` as `find_scans` names one of several.
            Scaling slope and intercept are applied. A non-finite voxel counts as missing.
        observed: An image on the same grid, non-zero where the scan was acquired.
        form: Which NIfTI form gives the affine; "auto" takes the sform where its code is set.

    Raises:
        VolumeError: If it cannot be read or holds something else than one volume.
        GeometryError: If slices lie where no volume can be made of them, the affine is degenerate
            or `observed` lies elsewhere.
    """
    if holds_dicom(path):
        return read_series(path, observed=observed)
    return read_nifti(path, observed=observed, form=form)
