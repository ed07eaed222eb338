"""Cohorts of sparse scans: which scans, on which grid, in which units, and patches of them."""

from mriimpute.data.cache import Cache
from mriimpute.data.cohort import Cohort, cohort, observed_beside
from mriimpute.data.grid import FineGrid, fine_volume
from mriimpute.data.normalise import Normalisation, normalisation
from mriimpute.data.patches import PatchConfig, Patches, draw_patches, in_space
from mriimpute.data.prefetch import prefetched
from mriimpute.data.sparse import SparseScan, read_sparse

__all__ = [
    "Cache",
    "Cohort",
    "FineGrid",
    "Normalisation",
    "PatchConfig",
    "Patches",
    "SparseScan",
    "cohort",
    "draw_patches",
    "fine_volume",
    "in_space",
    "normalisation",
    "observed_beside",
    "prefetched",
    "read_sparse",
]
