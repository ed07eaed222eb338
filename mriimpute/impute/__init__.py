"""Ways of imputing a volume: `load_imputer` finds one by name, run folder or file."""

from mriimpute.data.grid import FineGrid, fine_volume
from mriimpute.impute._contract import Imputation, Imputer, Trace
from mriimpute.impute.registry import DEFAULT, FITTED, METHODS, identity, load_imputer, model_file

__all__ = [
    "DEFAULT",
    "FITTED",
    "METHODS",
    "FineGrid",
    "Imputation",
    "Imputer",
    "Trace",
    "fine_volume",
    "identity",
    "load_imputer",
    "model_file",
]
