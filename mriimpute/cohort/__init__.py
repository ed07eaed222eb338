"""Cohorts of sparse scans: which scans, on which grid, in which units, and patches of them."""

from mriimpute.cohort.cache import Cache
from mriimpute.cohort.noise_level import noise_level
from mriimpute.cohort.normalisation import Normalisation, normalisation
from mriimpute.cohort.patches import PatchConfig, Patches, draw_patches, in_space
from mriimpute.cohort.prefetch import prefetched
from mriimpute.cohort.sparse import SparseScan, read_sparse
from mriimpute.cohort.split import Cohort, cohort, observed_beside
from mriimpute.cohort.target_grid import TargetGrid, to_target_grid

__all__ = [
    "Cache",
    "Cohort",
    "Normalisation",
    "PatchConfig",
    "Patches",
    "SparseScan",
    "TargetGrid",
    "cohort",
    "draw_patches",
    "in_space",
    "noise_level",
    "normalisation",
    "observed_beside",
    "prefetched",
    "read_sparse",
    "to_target_grid",
]
