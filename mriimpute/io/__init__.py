"""Scans in and out; the only package that imports nibabel and pydicom."""

from mriimpute.io.dicom.series import checksum, container_of
from mriimpute.io.grid import Frame, write_grid
from mriimpute.io.nifti import Form, write_image
from mriimpute.io.read import read_scan
from mriimpute.io.scan import Scan
from mriimpute.io.tree import find_scans, stem

__all__ = [
    "Form",
    "Frame",
    "Scan",
    "checksum",
    "container_of",
    "find_scans",
    "read_scan",
    "stem",
    "write_grid",
    "write_image",
]
