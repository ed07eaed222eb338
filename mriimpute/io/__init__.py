"""Scans in and out; the only package that imports nibabel."""

from mriimpute.io.grid import Frame, write_grid
from mriimpute.io.nifti import Scan, read_scan, write_image
from mriimpute.io.tree import find_scans, stem

__all__ = ["Frame", "Scan", "find_scans", "read_scan", "stem", "write_grid", "write_image"]
