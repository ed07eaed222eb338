"""Where a companion lies: where its header says, or where a registration found it.

Axes: see `mriimpute.methods.cross_plane.companions`.
"""

from collections.abc import Sequence

import numpy as np

from mriimpute.cohort.slices import SliceScan
from mriimpute.methods.cross_plane.companions import learnt
from mriimpute.methods.cross_plane.exam import on_slabs
from mriimpute.methods.cross_plane.hidden_companions import Smooth
from mriimpute.methods.cross_plane.innovation import QUICK
from mriimpute.volume import Companion

__all__ = ["placed_best"]

SETTLED_DB = 0.25
"""By which a motion must tell more of hidden lines than the headers do: one that is found in
sparse scans is off by half a millimetre itself."""

QUICK_SLICES = 16
"""By which placings of a companion are compared."""


def placed_best(
    placings: Sequence[Companion],
    scan: SliceScan,
    places: Sequence[int],
    axis: int,
    gap: int,
    *,
    seed: int,
    case: str,
) -> int:
    """Returns which placing of a companion tells most: the first, unless another clearly does.

    Interpolation stands in for the network: what counts is which of them fits best.

    Args:
        placings: The same companion where headers, or motions, put it.
        scan: The acquired slices without holes.
        places: Where these lie.
        axis: Of the grid, across the slices.
        gap: From one slice to the next, in voxels.
        seed: Names all random streams.
        case: Names the scan in them.
    """
    gains = []
    for placing in placings:
        shown = on_slabs(placing, axis)[list(places)]
        found = learnt(
            scan, [shown], gap, Smooth(), seed=seed, case=case, config=QUICK, most=QUICK_SLICES
        )
        gains.append(found.gain_db if found else 0.0)
    best = int(np.argmax(gains))
    return best if gains[best] > gains[0] + SETTLED_DB else 0
