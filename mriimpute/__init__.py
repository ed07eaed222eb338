"""Fills in the slices that a brain MRI skipped, learning from sparse scans alone."""

__version__ = "0.1.0"
