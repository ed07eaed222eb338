"""A scan and its companions, on the grid of the scan.

Axes: p = along the slice axis, x and y = inside a slice, s = acquired slices without holes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from mriimpute.cohort.normalisation import PERCENTILES
from mriimpute.cohort.slices import BRIGHTEST, SliceScan
from mriimpute.methods.cross_plane.calibration import LinePredictor
from mriimpute.methods.cross_plane.planes import Steps
from mriimpute.volume import Companion

__all__ = ["Exam", "on_slabs"]

Slabs = Float32[np.ndarray, "p x y"]


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """A scan and its companions.

    Attributes:
        scan: The acquired slices without holes.
        places: Where these lie along the slice axis.
        companions: Normalised, see `on_slabs`; NaN where they saw nothing.
        steps_mm: See `mriimpute.methods.cross_plane.planes.crossing`.
        predictor: Calibrated on the scan.
        seed: Names all random streams.
        case: Names the scan in them.
    """

    scan: SliceScan
    places: Sequence[int]
    companions: Sequence[Slabs]
    steps_mm: Steps
    predictor: LinePredictor
    seed: int
    case: str

    @property
    def shown(self) -> list[Float32[np.ndarray, "s x y"]]:
        """The companions where the scan has its slices."""
        return [one[list(self.places)] for one in self.companions]

    @property
    def seen_share(self) -> float:
        """Which share of the head in the slices of the scan any companion saw."""
        head = np.asarray(self.scan.slices) > self.scan.foreground
        seen = np.isfinite(np.stack(self.shown)).any(axis=0) & head
        return float(seen.sum() / max(head.sum(), 1))


def on_slabs(companion: Companion, axis: int) -> Slabs:
    """Returns the intensities of a companion, mostly in [0, 1], slices first; NaN stays NaN.

    Its own extremes decide, as for a scan.
    """
    data = np.moveaxis(companion.data, axis, 0)
    seen = data[np.isfinite(data)]
    if not len(seen):
        return data
    low, high = np.percentile(seen, PERCENTILES).tolist()
    scale = high - low if high > low else 1.0
    shown = ((data.astype(np.float64) - low) / scale).clip(-BRIGHTEST, BRIGHTEST)
    return shown.astype(np.float16).astype(np.float32)  # as slices are: what is learnt is the same
