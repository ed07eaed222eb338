"""How much intensities differ over a distance: the std where nothing better is known.

With gamma(h) = 1/2 E[(y(p + h) - y(p))^2] over pairs of observed voxels of the head, a voxel that
copies its nearest neighbour at distance h misses by sqrt(2 gamma(h)) in the root mean square.
Where no two voxels of the head lie on one grid line, 2 gamma is twice the variance of what was
observed: values far apart have nothing to do with each other.

References:
    Matheron, Principles of Geostatistics, 1963.
"""

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from mriimpute.cohort import normalisation
from mriimpute.cohort.foreground import foreground_level
from mriimpute.errors import VolumeError
from mriimpute.volume import Volume

__all__ = ["std_by_distance"]

LARGEST_LAG = 8


def std_by_distance(
    volume: Volume, where: Bool[np.ndarray, "i j k"]
) -> Float32[np.ndarray, "i j k"]:
    """Returns sqrt(2 gamma(h)), h the distance to the nearest observed voxel; zero off `where`.

    Raises:
        VolumeError: If a single voxel is observed, which says nothing about any std.
    """
    out = np.zeros(volume.shape, np.float32)
    if not where.any():
        return out
    distance = ndimage.distance_transform_edt(~volume.observed, sampling=volume.spacing_mm)
    lags_mm, twice_gamma = _measured(volume)
    out[where] = np.sqrt(np.interp(distance[where], lags_mm, twice_gamma))
    return out


def _measured(volume: Volume) -> tuple[list[float], list[float]]:
    """Returns distances in mm, increasing, and the mean squared difference over each."""
    data = np.where(volume.observed, volume.data, 0.0)
    norm = normalisation(volume)
    level = norm.low + norm.scale * foreground_level(norm.apply(volume.data[volume.observed]))
    head = volume.observed & (data > level)  # background air would dilute the head
    found = {0.0: 0.0}
    for axis, spacing in enumerate(volume.spacing_mm):
        for lag in range(1, min(LARGEST_LAG, volume.shape[axis] - 1) + 1):
            ahead = np.take(data, range(lag, data.shape[axis]), axis)
            behind = np.take(data, range(data.shape[axis] - lag), axis)
            both = np.take(head, range(lag, data.shape[axis]), axis) & np.take(
                head, range(data.shape[axis] - lag), axis
            )
            if both.any():
                found[lag * spacing] = float(np.square(ahead[both] - behind[both]).mean())
    if len(found) == 1:
        found[min(volume.spacing_mm)] = _twice_variance(volume)
    lags = sorted(found)
    return lags, np.maximum.accumulate([found[lag] for lag in lags]).tolist()


def _twice_variance(volume: Volume) -> float:
    values = volume.data[volume.observed]
    if values.size < 2:
        raise VolumeError(
            "a single voxel is observed: nothing tells how far intensities spread",
            hint="check the observed image; --model linear gives a mean without a std",
        )
    return 2 * float(values.var(dtype=np.float64))
