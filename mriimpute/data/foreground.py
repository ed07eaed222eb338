"""Which intensities belong to the head and not to the air around it."""

import numpy as np
from jaxtyping import Float32

__all__ = ["foreground_level"]


def foreground_level(values: Float32[np.ndarray, " n"]) -> float:
    """Returns Otsu's threshold of normalised intensities, halved to keep dark tissue.

    Where all are alike there is no air: minus infinity.
    """
    from skimage.filters import threshold_otsu

    clipped = np.clip(values, 0.0, 1.0)
    return 0.5 * float(threshold_otsu(clipped)) if np.ptp(clipped) > 0 else -np.inf
