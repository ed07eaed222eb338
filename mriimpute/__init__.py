"""Fills in the slices that a brain MRI skipped, learning from sparse scans alone.

    import mriimpute
    imputed = mriimpute.impute("scan.nii.gz", samples=20)

See `mriimpute.api`. Importing this package loads nothing but itself.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mriimpute.api import Imputed, evaluate, impute, pool, simulate, train

__all__ = ["Imputed", "evaluate", "impute", "pool", "simulate", "train"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Loads the functions of `mriimpute.api` when the first of them is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'mriimpute' has no attribute {name!r}")
    from mriimpute import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
