"""Scans in and out; the only package that imports nibabel and pydicom."""

import logging
from dataclasses import replace
from pathlib import Path

from mriimpute.io.contents import held_otherwise, warn_of_contents
from mriimpute.io.dicom.addresses import container_of, holds_dicom
from mriimpute.io.dicom.series import checksum, read_series
from mriimpute.io.nifti import Form, Frame, read_nifti, write_grid, write_image
from mriimpute.io.precision import require_single
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
    "holds_dicom",
    "read_scan",
    "stem",
    "warn_of_contents",
    "write_grid",
    "write_image",
]


log = logging.getLogger(__name__)


def read_scan(
    path: Path, *, observed: Path | None = None, form: Form = "auto", exact: bool = False
) -> Scan:
    """Returns the scan at `path`.

    Args:
        path: A NIfTI or MGZ file, or a DICOM series: its folder, a zip that holds it, one
            multi-frame file, or `FOLDER/series-NNN` as `find_scans` names one of several.
            Scaling slope and intercept are applied. A non-finite voxel counts as missing.
        observed: An image on the same grid, non-zero where the scan was acquired.
        form: Which NIfTI form gives the affine; "auto" takes the sform where its code is set.
        exact: Keep what single precision cannot hold, see `Scan.exact`.

    Raises:
        VolumeError: If it cannot be read or holds something else than one volume, or values that
            are too large for single precision and not wanted exactly.
        GeometryError: If slices lie where no volume can be made of them, the affine is degenerate
            or `observed` lies elsewhere.
    """
    if holds_dicom(path):
        scan = read_series(path, observed=observed)
    else:
        scan = read_nifti(path, observed=observed, form=form)
    if exact or scan.exact is None:
        return scan
    if loss := require_single(scan.exact, path):
        log.warning("%s: %s", path.name, loss)
    return replace(scan, exact=None)
