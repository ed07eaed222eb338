"""Scans in and out; the only package that imports nibabel."""

from mriimpute.io.nifti import Scan, read_scan, write_image
from mriimpute.io.tree import find_scans, stem

__all__ = ["Scan", "find_scans", "read_scan", "stem", "write_image"]
